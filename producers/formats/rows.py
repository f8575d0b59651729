"""Records of a file before a format has read them: lines or array members of JSON, rows of a table, rows of Parquet.

Each is streamed with bounded memory, whatever the size of the file.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from pathlib import Path

from producers.formats.base import RecordingError, Row
from producers.formats.lines import LINE_BYTES_MAX, read_lines, read_text

TAB = "\t"
_SPACES = " \t\r\n"
_BEHIND = tuple(_SPACES + ",]")
"""What may follow a member of an array."""

_JSON = json.JSONDecoder()
_KEPT = "surrogateescape"
"""What is no UTF-8 is carried along as it is, so that only a record that needs it is refused."""


def json_lines(path: Path) -> Iterator[Row]:
    """Every line that is not blank. Raises RecordingError as ``read_lines``."""
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            yield Row(number, line)


def json_array(path: Path) -> Iterator[Row]:
    """The members of the one JSON array that a file holds, each as it stands in the file, numbered from 1.

    Raises RecordingError where it is no array, is cut, or a member has more than LINE_BYTES_MAX bytes.
    """
    text = _Text(path)
    text.expect("[")
    number = 0
    closed = text.peek() == "]"
    while not closed:
        number += 1
        yield Row(number, text.value(number).encode(errors=_KEPT))
        closed = text.peek() == "]"
        if not closed:
            text.expect(",")
    text.expect("]")
    if text.peek():
        raise RecordingError(f"{path}: goes on behind the end of its array, expected one array of records: give one a file")


class _Text:
    """The text of a file, looked at from front to back; holds one value and one chunk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._chunks = read_text(path)
        self._decoder = codecs.getincrementaldecoder("utf-8")(_KEPT)
        self._held, self._at, self._whole = "", 0, False

    def _more(self, at_least: int = 1) -> bool:
        """Reads on, dropping what was looked at; whether there was more."""
        pieces, found = [self._held[self._at :]], 0
        while found < at_least and not self._whole:
            chunk = next(self._chunks, None)
            self._whole = chunk is None
            pieces.append(self._decoder.decode(chunk or b"", final=self._whole))
            found += len(pieces[-1])
        self._held, self._at = "".join(pieces), 0
        return found > 0

    def peek(self) -> str:
        """The next character that is no space, "" at the end of the file."""
        while True:
            while self._at < len(self._held):
                if self._held[self._at] not in _SPACES:
                    return self._held[self._at]
                self._at += 1
            if not self._more():
                return ""

    def expect(self, wanted: str) -> None:
        """Passes a character. Raises RecordingError where another stands there."""
        found = self.peek()
        if found != wanted:
            seen = f"{self._held[self._at : self._at + 20]!r}" if found else "the end of the file"
            raise RecordingError(
                f"{self._path}: {seen} stands where {wanted!r} was expected, in an array of records: get the whole file again, "
                "or make it one"
            )
        self._at += 1

    def value(self, number: int) -> str:
        """The text of the next JSON value; ``number`` names it in errors. Raises RecordingError."""
        self.peek()
        while True:
            try:
                found, end = _JSON.raw_decode(self._held, self._at)
            except (ValueError, RecursionError) as error:
                held = len(self._held) - self._at
                if held > LINE_BYTES_MAX or not self._more(held):
                    raise RecordingError(
                        f"{self._path}: record {number} of the array is no JSON of up to {LINE_BYTES_MAX} characters ({error}): "
                        "get the whole file again, or repair that record; those behind it cannot be told apart"
                    ) from error
                continue
            if not isinstance(found, dict | list | str) and self._held[end : end + 1] not in _BEHIND and self._more():
                continue  # a number could go on
            text = self._held[self._at : end]
            self._at = end
            return text


def table(path: Path, delimiter: str) -> Iterator[Row]:
    """The rows of a table, its header among them, without blank ones; numbered by the lines on which they begin.

    A cell may stand in quotation marks and hold delimiters and ends of lines, unless tabs delimit. Raises RecordingError as
    ``read_lines``, and for quotation marks that open and never close.
    """
    csv.field_size_limit(max(csv.field_size_limit(), 2 * LINE_BYTES_MAX))  # bounded below, with a better message
    taken: list[bytes] = []
    rows = csv.reader(
        _fed(path, taken), delimiter=delimiter, strict=True, quoting=csv.QUOTE_NONE if delimiter == TAB else csv.QUOTE_MINIMAL
    )
    while True:
        line = rows.line_num + 1
        taken.clear()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(
                line, b"\n".join(taken), (), f"is no row of a table: {error}; expected cells with {delimiter!r} between them"
            )
            continue
        raw = taken[0] if len(taken) == 1 else b"\n".join(taken)
        if raw.strip():
            yield Row(line, raw, tuple(cells))


def _fed(path: Path, taken: list[bytes]) -> Iterator[str]:
    """Lines for the csv module, each also put into ``taken``, which the caller empties before each row."""
    held = 0
    for number, line in enumerate(read_lines(path), 1):
        held = (held if taken else 0) + len(line) + 1
        taken.append(line)
        if held > LINE_BYTES_MAX and len(taken) > 1:
            raise RecordingError(
                f"{path}, line {number - len(taken) + 1}: a quotation mark opens there and does not close within "
                f"{LINE_BYTES_MAX} bytes: close it, or double it where it is meant as a character"
            )
        yield line.decode(errors=_KEPT) + "\n"
