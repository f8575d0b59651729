"""Streamer's own recordings: JSON Lines of events as they stand on the log, or of item documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath

import msgspec

from producers.formats.base import Recorded
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
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EVENT_FIELDS = frozenset({"type", "user_id", "timestamp"})
_SNIFFED_LINES_MAX = 50


def sniff(head: bytes, path: PurePath) -> str | None:
    """Why this is a file of events, in words; None where it is none. A few broken lines do not matter."""
    _ = path
    found = next((fields for fields in _objects(head) if len(_EVENT_FIELDS & fields) > 1), None)
    return f"JSON Lines with {', '.join(sorted(_EVENT_FIELDS & found))}" if found else None


def sniff_items(head: bytes, path: PurePath) -> str | None:
    """Why this is a file of item documents, in words; None where it is none."""
    _ = path
    is_items = any("item_id" in fields and not fields & {"user_id", "type"} for fields in _objects(head))
    return "JSON Lines with item_id and no user" if is_items else None


def _objects(head: bytes) -> Iterator[frozenset[str]]:
    """Field names of the JSON objects among the first lines."""
    for line in head.split(b"\n", _SNIFFED_LINES_MAX)[:_SNIFFED_LINES_MAX]:
        try:
            yield frozenset(_OBJECT.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue


def read_events(lines: Iterable[bytes]) -> Iterator[Recorded]:
    """Every line that is not blank, byte for byte, keyed by its user; one that is no event has no key and says why."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = _EVENT.decode(line)
            yield Recorded(number, event.user_id.encode(), line, timestamp_ms(event.timestamp))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            yield _broken(number, line, error)


def _broken(number: int, line: bytes, error: Exception) -> Recorded:
    """A line that readers will refuse, still in its user's partition where it names one."""
    try:
        key = _USER.decode(line).user_id.encode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        key = None
    return Recorded(number, key, line, None, f"timestamp {error}" if isinstance(error, TimestampError) else str(error))


def read_items(lines: Iterable[bytes]) -> Iterator[Recorded]:
    """Every line that is not blank, byte for byte, keyed by its item; one that is no document has no key and says why."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = _ITEM.decode(line)
            when = None if item.timestamp is None else timestamp_ms(item.timestamp)
            yield Recorded(number, item.item_id.encode(), line, when)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            yield Recorded(number, None, line, None, str(error))
