"""Streamer's own recordings: events in JSON as they stand on the log, or item documents. They pass byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from producers.formats.base import LeftOut, Recorded, Row
from producers.formats.reader import Fields, Format, JsonReader
from streamer.events.model import EVENT_TYPE_NAMES
from streamer.events.timestamps import TimestampError, timestamp_ms

NAME = "streamer-jsonl"


class _Event(msgspec.Struct, gc=False):
    """What replay needs of an event; the rest goes to the log unread."""

    user_id: str
    timestamp: int | float | str


class _Item(msgspec.Struct, gc=False):
    item_id: str
    timestamp: int | float | str | None = None


class _User(msgspec.Struct, gc=False):
    user_id: str


_EVENT = msgspec.json.Decoder(_Event)
_ITEM = msgspec.json.Decoder(_Item)
_USER = msgspec.json.Decoder(_User)
_EVENT_FIELDS = frozenset({"type", "user_id", "timestamp"})
_TYPES = frozenset(f'"{name}"'.encode() for name in EVENT_TYPE_NAMES)


def _recognise(fields: Fields) -> str | None:
    found = sorted(_EVENT_FIELDS & set(fields))
    of_item = "type" in found and bytes(fields["type"]) in _TYPES and ("item_id" in fields or "item_ids" in fields)
    ours = "user_id" in found or of_item
    return f"JSON with {', '.join(found)}" if ours and len(found) > 1 else None


def _recognise_items(fields: Fields) -> str | None:
    names = set(fields)
    as_films = "title" in names and bool({"plot", "genres"} & names) and not {"text", "categories"} & names
    return "JSON with item_id and no user" if "item_id" in names and not {"user_id", "type"} & names and not as_films else None


def _events(rows: Iterable[Row], left_out: LeftOut) -> Iterator[Recorded]:
    """Every record, keyed by its user; one that is no event has no key and says why."""
    _ = left_out
    for line, raw, _, _ in rows:
        try:
            event = _EVENT.decode(raw)
            yield Recorded(line, event.user_id.encode(), raw, timestamp_ms(event.timestamp))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            yield _broken(line, raw, error)


def _broken(line: int, raw: bytes, error: Exception) -> Recorded:
    """A record that readers will refuse, still in its user's partition where it names one."""
    try:
        key = _USER.decode(raw).user_id.encode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        key = None
    return Recorded(line, key, raw, None, f"timestamp {error}" if isinstance(error, TimestampError) else str(error))


def _items(rows: Iterable[Row], left_out: LeftOut) -> Iterator[Recorded]:
    """Every record, keyed by its item; one that is no document has no key and says why."""
    _ = left_out
    for line, raw, _, _ in rows:
        try:
            item = _ITEM.decode(raw)
            when = None if item.timestamp is None else timestamp_ms(item.timestamp)
            yield Recorded(line, item.item_id.encode(), raw, when)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            yield Recorded(line, None, raw, None, str(error))


FORMAT = Format(
    name=NAME,
    title="Streamer's own events and item documents, JSON",
    source="schemas/event.schema.json",
    becomes=(*((name, name) for name in EVENT_TYPE_NAMES), ("item document", "document")),
    users="`user_id`",
    ids="`event_id`",
    verbatim=True,
    notes="Records pass byte for byte; [item.schema.json](schemas/item.schema.json) describes documents.",
    events=(JsonReader(_recognise, _events),),
    items=(JsonReader(_recognise_items, _items),),
)
