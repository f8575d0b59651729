"""How a format is declared: what its files look like, and what their records become."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeVar

import msgspec

from producers.formats.base import LeftOut, NotOursError, Recorded, RecordingError, Row
from streamer.events.codec import decode_events
from streamer.events.items import decode_item, encode_item
from streamer.events.model import Event, ItemDocument, Reject

Fields = Mapping[str, msgspec.Raw]
"""The undecoded members of a JSON object."""

Read = Callable[[Iterable[Row], LeftOut], Iterator[Recorded]]
"""Records out of rows, in their order: nothing in a row raises, each becomes records or is counted as left out."""

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_REFUSALS = (ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
CHUNK_ROWS = 256
"""So many rows are read ahead, since the codec judges many events faster than one by one."""

CHUNK_BYTES = 262_144
"""Or as many rows as have so many bytes: one can be a session of hundreds of events."""

_ENCODER = msgspec.json.Encoder()
_TYPED = re.compile(r"(\w+):(?:token|float|token_seq|float_seq)")


@dataclass(frozen=True)
class JsonReader:
    """Records that are JSON objects: in lines, in an array, or rows of Parquet."""

    recognise: Callable[[Fields], str | None]
    """Why an object with these members is one of this format, in words; None where it is not."""
    read: Read


@dataclass(frozen=True)
class TableReader:
    """Records that are rows of a table."""

    columns: tuple[str, ...]
    """Those that must be there, by the names in the header."""
    read: Read
    """Gets rows with the cells of ``columns``, then of ``optional``, "" for one that the file lacks."""
    optional: tuple[str, ...] = ()
    delimiter: str = ","
    typed: bool = False
    """Whether the header's cells bear types, as RecBole writes them: ``user_id:token``."""
    bare: re.Pattern[str] | None = None
    """What the first row looks like where there is no header; the columns then stand in the order of ``columns``."""
    why: str = ""
    """What is said of a file without a header."""

    def names(self, header: Iterable[str]) -> list[str]:
        """The names of the columns of a header; [] where its cells should bear types and do not."""
        cells = [cell.strip() for cell in header]
        if not self.typed:
            return cells
        found = [_TYPED.fullmatch(cell) for cell in cells]
        return [cell[1] for cell in found if cell] if all(found) else []

    def missing(self, names: Iterable[str]) -> list[str]:
        """The columns that must be there and are not."""
        there = set(names)
        return [column for column in self.columns if column not in there]

    def select(self, rows: Iterator[Row], header: list[str] | None) -> Iterator[Row]:
        """Rows with the cells that ``read`` expects; one that has too few or too many says so.

        ``header``: the names of the file's columns, None where it has no header.
        """
        names = list(self.columns) if header is None else header
        at = {name: place for place, name in enumerate(names)}
        wanted = [at[name] if name in at else len(names) for name in (*self.columns, *self.optional)]
        chosen, padded = itemgetter(*wanted), len(names) in wanted
        separated = DELIMITERS[self.delimiter]
        for row in rows:
            found = len(row.cells)
            if row.error is None and found != len(names):
                yield Row(row.line, row.raw, (), f"has {found} columns separated by {separated}, expected {len(names)}")
            else:
                yield Row(row.line, row.raw, () if row.error else chosen((*row.cells, "") if padded else row.cells), row.error)


Reader = JsonReader | TableReader


@dataclass(frozen=True)
class Format:
    """A format of recorded streams."""

    name: str
    title: str
    """What it is, in a few words."""
    source: str
    """Where its owners describe it."""
    becomes: tuple[tuple[str, str], ...]
    """Their records and ours."""
    users: str
    """Which field becomes the user."""
    ids: str
    """What event ids are made of."""
    events: tuple[Reader, ...] = ()
    items: tuple[Reader, ...] = ()
    notes: str = ""
    """What else is to be known, for the page of formats."""
    verbatim: bool = False
    """Whether records pass as they are: then the codec knows best what is wrong with one."""


def each_event(convert: Callable[[Row], Iterable[Event]]) -> Read:
    """Reads rows by a function from one row to its events.

    The function raises NotOursError for what is to be left out, and ValueError for what is wrong; its text says where. Numbers
    in its events are finite.
    """

    def read(rows: Iterable[Row], left_out: LeftOut) -> Iterator[Recorded]:
        for chunk in _chunks(rows):
            yield from _checked(list(_encoded(chunk, convert, left_out)))

    return read


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows by the CHUNK_ROWS, fewer where they are long; those before a damaged place come before its error."""
    chunk: list[Row] = []
    held = 0
    try:
        for row in rows:
            chunk.append(row)
            held += len(row.raw)
            if len(chunk) == CHUNK_ROWS or held >= CHUNK_BYTES:
                yield chunk
                chunk, held = [], 0
    except RecordingError:
        yield chunk
        raise
    yield chunk


def _encoded(chunk: list[Row], convert: Callable[[Row], Iterable[Event]], left_out: LeftOut) -> Iterator[tuple[Row, Recorded]]:
    """Records with the rows that they came of, good ones not yet looked at by the codec."""
    for row in chunk:
        refusal = row.error
        if refusal is None:
            try:
                for event in convert(row):
                    value, key = _ENCODER.encode(event), event.user_id.encode()
                    yield row, Recorded(row.line, key, value, event.timestamp)  # type: ignore[arg-type] # ours are whole numbers
            except NotOursError as kind:
                left_out.note(str(kind))
            except _REFUSALS as error:
                refusal = _said(error)
        if refusal is not None:
            yield row, Recorded(row.line, None, row.raw, None, refusal)


def _checked(found: list[tuple[Row, Recorded]]) -> Iterator[Recorded]:
    """The records, with rows that gave one that every reader would refuse kept as they are, once each. One look at all is cheap."""
    good = [place for place, (_, record) in enumerate(found) if record.error is None]
    refused = {good[place]: reject for place, reject in decode_events([found[place][1].value for place in good]).rejects}
    told = {row.line for row, record in found if record.error is not None} if refused else set()
    for place, (row, record) in enumerate(found):
        reject = refused.get(place)
        if reject is None:
            yield record
        elif row.line not in told:
            told.add(row.line)
            yield Recorded(row.line, None, row.raw, None, f"{reject.reason}: {reject.error}")


def each_item(convert: Callable[[Row], ItemDocument]) -> Read:
    """Reads rows by a function from one row to its document; it raises as that of ``each_event``."""

    def read(rows: Iterable[Row], left_out: LeftOut) -> Iterator[Recorded]:
        for row in rows:
            refusal = row.error
            if refusal is None:
                try:
                    yield recorded_item(row.line, convert(row))
                except NotOursError as kind:
                    left_out.note(str(kind))
                except _REFUSALS as error:
                    refusal = _said(error)
            if refusal is not None:
                yield Recorded(row.line, None, row.raw, None, refusal)

    return read


def recorded_item(line: int, document: ItemDocument) -> Recorded:
    """A document as it goes onto the log. Raises ValueError where readers would refuse it."""
    key, value = document.item_id.encode(), encode_item(document)
    found = decode_item(key, value)
    if isinstance(found, Reject):
        raise ValueError(f"{found.reason}: {found.error}")  # noqa: TRY004 - what is wrong is the value
    return Recorded(line, key, value, document.timestamp_ms)


T = TypeVar("T")


def member(name: str, decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T:
    """A member that was left undecoded; what is wrong with it says in which member it is. Raises ValidationError, DecodeError."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{said} - at `$.{name}{path or '`'}") from error


def _said(error: Exception) -> str:
    """The error in words that begin with the field where they can: ``properties.price: Expected ...``."""
    text = str(error)
    if isinstance(error, UnicodeError):
        return f"holds what is no valid Unicode ({text}), expected UTF-8"
    said, _, path = text.partition(" - at `$.")
    return f"{path.rstrip('`')}: {said}" if path else text


def names_of(kinds: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A table of kinds as ``Format.becomes`` has it."""
    return tuple(kinds.items())
