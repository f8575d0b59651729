"""Which format a file is in, told from its beginning, and why; or why none of them fits."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from producers.formats import parquet, rows
from producers.formats.base import LeftOut, Recorded, RecordingError, Row
from producers.formats.containers import is_parquet
from producers.formats.lines import read_head, read_start
from producers.formats.reader import DELIMITERS, Fields, Format, JsonReader, Reader, TableReader
from streamer.events.model import Reject

AUTO = "auto"
"""The format is told from the file."""

LOOKED_AT_MAX = 50
"""So many of the first records are looked at; a few broken ones do not matter."""

Kind = Literal["events", "items"]
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COLUMNS_SHOWN_MAX = 8


class Match(NamedTuple):
    """A format that a file fits: by which reader, why in words, seen on which line; the header of a table that has one."""

    format: Format
    reader: Reader
    why: str
    line: int
    header: list[str] | None = None


@dataclass
class Reading:
    """A file whose format is known; iterate over it, as often as needed, for its records in their order.

    Iterating raises RecordingError where the file is cut or damaged further on.
    """

    path: Path
    format: Format
    why: str
    """How the format was told."""
    unit: Literal["line", "record"]
    """What ``Recorded.line`` counts: records where the file has no lines, or they say nothing."""
    header_lines: int
    """Lines before the first record that are none."""
    rows: Callable[[], Iterator[Row]]
    reader: Reader
    left_out: LeftOut = field(default_factory=LeftOut)
    """What the last iteration left out."""

    def fault(self, record: Recorded, reject: Reject) -> str:
        """What is wrong with a record that the codec refuses, in the words of whoever knows best."""
        return reject.error if self.format.verbatim or record.error is None else record.error

    def __iter__(self) -> Iterator[Recorded]:
        self.left_out = LeftOut()
        return self.reader.read(self.rows(), self.left_out)


class _Beginning(NamedTuple):
    """What a format is told from."""

    shape: Literal["lines", "array", "parquet"]
    objects: list[tuple[int, Fields]]
    """Those of the first records that are JSON objects, with their lines."""
    first: str
    """The first line that is not blank."""
    first_line: int
    columns: tuple[str, ...] | None = None
    """Of Parquet."""
    lines: tuple[tuple[int, str], ...] = ()
    """The first lines with their numbers, where the file has lines."""


def open_reading(path: Path, formats: Sequence[Format], kind: Kind, name: str = AUTO) -> Reading:
    """The file, ready to be read as events or items in the format named, or in the one that its beginning tells.

    Raises RecordingError for an unknown name, a file that is empty, mixed, ambiguous or in no known format, and one that is
    not what the name says.
    """
    known = formats if name == AUTO else (_named(name, formats),)
    beginning = _beginning(path)
    found = _matches(beginning, known, kind)
    if name == AUTO:
        match = _only(path, found) or _refuse(path, beginning, formats, kind)
        _require_one_delimiter(path, beginning, match)
    else:
        match = found[0] if found else _as_named(path, beginning, known[0], kind)
    return _reading(path, beginning, match)


def _named(name: str, formats: Sequence[Format]) -> Format:
    by_name = {known.name: known for known in formats}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    expected = f"expected {AUTO} or one of {', '.join(by_name)}"
    raise RecordingError(f"no format is called {name!r}, {expected}{hint}", unreadable=True)


def _beginning(path: Path) -> _Beginning:
    if is_parquet(path):
        head = list(parquet.json_rows(path, LOOKED_AT_MAX))
        columns = parquet.columns(path)
        return _Beginning("parquet", list(_objects(head)), ", ".join(columns), 1, columns)
    start = read_start(path)
    if start.startswith(b"["):
        return _Beginning("array", list(_objects(_first_members(path))), start[:100].decode(errors="replace"), 1)
    lines = [Row(number, line) for number, line in enumerate(read_head(path).split(b"\n"), 1) if line.strip()]
    if not lines:
        raise RecordingError(f"{path}: is empty, expected recorded events or items, one a line")
    first = lines[0].raw.decode(errors="replace")
    head = lines[:LOOKED_AT_MAX]
    texts = tuple((row.line, row.raw.decode(errors="replace").rstrip("\r")) for row in head)
    return _Beginning("lines", list(_objects(head)), first, lines[0].line, lines=texts)


def _first_members(path: Path) -> list[Row]:
    found: list[Row] = []
    for row in rows.json_array(path):
        found.append(row)
        if len(found) == LOOKED_AT_MAX:
            break
    if not found:
        raise RecordingError(f"{path}: is an empty array, expected recorded events or items in it")
    return found


def _objects(found: Iterable[Row]) -> Iterator[tuple[int, Fields]]:
    for row in found:
        try:
            yield row.line, _OBJECT.decode(row.raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue


def _matches(beginning: _Beginning, formats: Iterable[Format], kind: Kind) -> list[Match]:
    """Every reader that fits some record, with the first that it fits."""
    return [
        match
        for known in formats
        for reader in (known.events if kind == "events" else known.items)
        if (match := _match(beginning, known, reader)) is not None
    ]


def _match(beginning: _Beginning, known: Format, reader: Reader) -> Match | None:
    if isinstance(reader, JsonReader):
        fits = ((line, reader.recognise(fields)) for line, fields in beginning.objects)
        return next((Match(known, reader, why, line) for line, why in fits if why), None)
    if beginning.shape == "array":
        return None
    cells = beginning.columns if beginning.columns is not None else _cells(beginning.first, reader.delimiter)
    names = reader.names(cells)
    if names and not reader.missing(names):
        what = "columns of Parquet" if beginning.columns is not None else "a header"
        return Match(known, reader, f"{what} with {', '.join(reader.columns)}", beginning.first_line, names)
    if reader.bare is not None and beginning.columns is None and reader.bare.fullmatch(beginning.first):
        return Match(known, reader, reader.why, beginning.first_line)
    return None


def _cells(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        return tuple(next(csv.reader([line], delimiter=delimiter), ()))
    except csv.Error:
        return ()


def _only(path: Path, found: list[Match]) -> Match | None:
    """The match where all are of one format. Raises RecordingError where they are not."""
    if not found:
        return None
    found = sorted(found, key=lambda match: match.line)
    other = next((match for match in found if match.format is not found[0].format), None)
    if other is None:
        return found[0]
    names = f"{found[0].format.name} and {other.format.name}"
    if other.line == found[0].line:
        raise RecordingError(
            f"{path}, line {other.line}: fits {names} ({found[0].why}; {other.why}), expected one format: name it with --format"
        )
    raise RecordingError(
        f"{path}: line {found[0].line} is {found[0].format.name} ({found[0].why}), line {other.line} is {other.format.name} "
        f"({other.why}), expected one format a file: split it, or name one with --format, which rejects the other's records"
    )


def _refuse(path: Path, beginning: _Beginning, formats: Sequence[Format], kind: Kind) -> Match:
    """Raises the RecordingError that says best what is wrong with a file that fits nothing."""
    other: Kind = "items" if kind == "events" else "events"
    if _matches(beginning, formats, other):
        holds, wanted = ("item documents", "events") if kind == "events" else ("events", "item documents")
        raise RecordingError(f"{path}: holds {holds}, expected {wanted}: name a file of {wanted}, give this one as the {other}")
    _refuse_delimiter(path, beginning, formats, kind)
    what = "events" if kind == "events" else "item documents"
    names = ", ".join(known.name for known in formats if (known.events if kind == "events" else known.items))
    raise RecordingError(
        f"{path}: is in no known format ({_seen(beginning, formats, kind)}), expected {what} in one of {names}: "
        "name its format if it is one of these"
    )


def _tables(formats: Iterable[Format], kind: Kind) -> Iterator[tuple[Format, TableReader]]:
    for known in formats:
        for reader in known.events if kind == "events" else known.items:
            if isinstance(reader, TableReader):
                yield known, reader


def _refuse_delimiter(path: Path, beginning: _Beginning, formats: Iterable[Format], kind: Kind) -> None:
    if beginning.shape != "lines":
        return
    for known, reader in _tables(formats, kind):
        for delimiter, words in DELIMITERS.items():
            other = replace(reader, delimiter=delimiter, bare=None)
            if delimiter != reader.delimiter and _match(beginning, known, other):
                raise RecordingError(
                    f"{path}, line {beginning.first_line}: the columns of {known.name} stand there separated by {words}, expected "
                    f"{DELIMITERS[reader.delimiter]}: write the table again with {DELIMITERS[reader.delimiter]} between its cells"
                )


def _require_one_delimiter(path: Path, beginning: _Beginning, match: Match) -> None:
    """Returns unless a later line of a table has all its columns, separated by something else. Raises RecordingError."""
    reader = match.reader
    if not isinstance(reader, TableReader) or beginning.columns is not None:
        return
    wanted = len(match.header or reader.columns)
    for line, text in beginning.lines:
        for delimiter, words in DELIMITERS.items():
            if (
                delimiter != reader.delimiter
                and len(_cells(text, reader.delimiter)) == 1 < len(_cells(text, delimiter)) == wanted
            ):
                raise RecordingError(
                    f"{path}: line {match.line} is {match.format.name} ({match.why}), line {line} has its columns separated by {words} "
                    f"instead of {DELIMITERS[reader.delimiter]}, expected one format a file: split it, or name one with --format, which "
                    "rejects the other's records"
                )


def _seen(beginning: _Beginning, formats: Iterable[Format], kind: Kind) -> str:
    """What stands at the beginning of a file that fits nothing, and what it comes closest to."""
    begins = f"begins {beginning.first[:60]!r}"
    if beginning.objects:
        line, fields = beginning.objects[0]
        return f"{begins}; line {line} is JSON with {_listed(sorted(fields))}"
    if beginning.first.strip() == "{":
        return f"{begins}: JSON over several lines? expected a record a line, as `jq -c .` writes them, or one array"
    near: list[tuple[int, str]] = []
    for known, reader in _tables(formats, kind):
        names = reader.names(beginning.columns or _cells(beginning.first, reader.delimiter))
        missing = reader.missing(names)
        if len(missing) < len(reader.columns) - 1:
            near.append((len(missing), f"; {known.name} would need the columns {', '.join(missing)} as well"))
    return begins + (min(near)[1] if near else "")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_COLUMNS_SHOWN_MAX])
    return f"{shown}, …" if len(names) > _COLUMNS_SHOWN_MAX else shown or "no members"


def _as_named(path: Path, beginning: _Beginning, known: Format, kind: Kind) -> Match:
    """The reader for a file that does not look like the format that it is said to be in. Raises RecordingError."""
    readers = known.events if kind == "events" else known.items
    for reader in readers:
        if isinstance(reader, JsonReader) and (beginning.objects or len(readers) == 1):
            return Match(known, reader, "named", beginning.first_line)
    _refuse_delimiter(path, beginning, (known,), kind)
    for reader in readers:
        if isinstance(reader, JsonReader) or reader.bare is None or beginning.shape != "lines":
            continue
        if len(_cells(beginning.first, reader.delimiter)) == len(reader.columns):
            return Match(known, reader, "named", beginning.first_line)
    wanted = " or ".join(", ".join(reader.columns) for reader in readers if isinstance(reader, TableReader))
    raise RecordingError(
        f"{path}, line {beginning.first_line}: is no {kind} of {known.name} ({_seen(beginning, (known,), kind)}), expected "
        f"{f'the columns {wanted}' if wanted else f'a format with {kind}'}: name another format, or {AUTO}"
    )


def _reading(path: Path, beginning: _Beginning, match: Match) -> Reading:
    reader = match.reader
    has_header = match.header is not None and beginning.shape == "lines"
    if isinstance(reader, JsonReader):
        of_shape = {"lines": rows.json_lines, "array": rows.json_array, "parquet": parquet.json_rows}[beginning.shape]
        read: Callable[[], Iterator[Row]] = lambda: of_shape(path)  # noqa: E731 - so that each iteration opens the file anew
    elif beginning.shape == "parquet":
        there = [name for name in (*reader.columns, *reader.optional) if name in (match.header or ())]
        read = lambda: reader.select(parquet.table(path, there), there)  # noqa: E731 - as above
    else:
        read = lambda: reader.select(_below(rows.table(path, reader.delimiter), has_header=has_header), match.header)  # noqa: E731
    unit: Literal["line", "record"] = "line" if beginning.shape == "lines" else "record"
    return Reading(path, match.format, match.why, unit, int(has_header), read, reader)


def _below(found: Iterator[Row], *, has_header: bool) -> Iterator[Row]:
    """The rows without the header."""
    first = next(found, None)
    return found if has_header or first is None else chain((first,), found)
