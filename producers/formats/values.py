"""Ids, numbers and times as others write them, turned into ours."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from streamer.events.model import ID_BYTES_MAX, ITEM_IDS_MAX, Event, EventTypeName
from streamer.events.timestamps import TimestampError, timestamp_ms

Id = str | int
"""How an id may be written; ours is always text."""

Time = int | float | str
"""How a time may be written."""

Number = int | float | str
"""How a price or a quantity may be written."""

SECOND, MILLISECOND, MICROSECOND = 1_000.0, 1.0, 0.001
"""What one unit of an epoch time is in milliseconds."""

_UNITS = {SECOND: "seconds", MILLISECOND: "milliseconds", MICROSECOND: "microseconds"}
_SUFFIXES_UTC = (" UTC", "+00", " +00:00")
_CHARS_SAFE = ID_BYTES_MAX // 4
"""No text of so few characters is too long."""

_SECONDS_CHARS = len("2026-11-24T03:17:38")


def text_of(found: Id | None) -> str:
    """An id as text, "" where there is none.

    >>> text_of(7), text_of("a"), text_of(None)
    ('7', 'a', '')
    """
    return "" if found is None else str(found)


def required(name: str, *found: Id | None) -> str:
    """The first of these ids that is there. Raises ValueError that says which field is missing."""
    for one in found:
        if one is not None and one != "":
            return str(one)
    raise ValueError(f"{name} is missing, expected an id: send it")


def short(found: Id | None) -> str | None:
    """An id that may be absent; None also where it is longer than ours may be."""
    text = text_of(found)
    return text if text and (len(text) <= _CHARS_SAFE or len(text.encode(errors="replace")) <= ID_BYTES_MAX) else None


def made_id(*parts: object) -> str:
    """An event id made of what does not change from one reading to the next; hashed where it would be too long.

    >>> made_id("otto", 42, 0)
    'otto:42:0'
    """
    text = ":".join(map(str, parts))
    if len(text) <= _CHARS_SAFE:
        return text
    encoded = text.encode(errors="surrogatepass")
    return text if len(encoded) <= ID_BYTES_MAX else f"{parts[0]}:{hashlib.sha256(encoded).hexdigest()}"


def number(found: float | str | None) -> float | None:
    """A finite number; None for everything else, since no list depends on a price.

    >>> number("9.5"), number("free"), number(float("nan"))
    (9.5, None, None)
    """
    try:
        value = None if found is None else float(found)
    except (ValueError, OverflowError):
        return None
    return value if value is not None and math.isfinite(value) else None


def time_ms(name: str, found: float | str | None, unit: float = MILLISECOND) -> int:
    """Epoch milliseconds from an epoch time in ``unit``, as number or digits, or from RFC 3339; without an offset it is UTC.

    Raises ValueError that begins with the field's name.

    >>> time_ms("ts", "1465413032", SECOND), time_ms("event_time", "2019-10-01 00:00:01 UTC")
    (1465413032000, 1569888001000)
    """
    if found is None or found == "":
        raise ValueError(f"{name} is missing, expected a time: send it")
    count = _counted(found)
    try:
        if count is not None:
            return timestamp_ms(_scaled(count, unit))
        return _text_ms(str(found))
    except TimestampError as error:
        if count is None or unit == MILLISECOND:
            raise ValueError(f"{name} {error}") from error
        expected = f"expected epoch {_UNITS[unit]} of a time between 1973 and 5138: send that"
        raise ValueError(f"{name} is {str(found)[:40]}, {expected}") from error


def _counted(found: float | str) -> float | None:
    """The number that an epoch time is; None where it is text of another kind."""
    if not isinstance(found, str):
        return found
    if found[4:5] == "-":
        return None
    try:
        return int(found) if found.isdecimal() else float(found)
    except ValueError:
        return None


@lru_cache(maxsize=1_024)
def _text_ms(text: str) -> int:
    """Cached, since in a busy stream many events have one time."""
    return timestamp_ms(_zoned(text))


def _scaled(count: float, unit: float) -> float:
    if isinstance(count, int):
        return count * int(unit) if unit >= 1 else count // round(1 / unit)
    return round(count * unit) if math.isfinite(count) else count


def _zoned(text: str) -> str:
    """The same time with its offset, where it has none or one that RFC 3339 does not know."""
    for suffix in _SUFFIXES_UTC:
        text = text.removesuffix(suffix)
    has_offset = text[-1:] in "Zz" or text[-6:-5] in {"+", "-"}
    return text if has_offset or len(text) < _SECONDS_CHARS else f"{text}Z"


def unique(ids: Iterable[str]) -> list[str]:
    """Ids in their order, each once, without empty ones."""
    return [one for one in dict.fromkeys(ids) if one]


def of_items(
    kind: EventTypeName,
    items: Sequence[str],
    *,
    event_id: str,
    user_id: str,
    timestamp: int,
    session_id: str | None = None,
    request_id: str | None = None,
    quantity: float | None = None,
    price: float | None = None,
) -> Iterator[Event]:
    """The events that one record of several items becomes.

    An impression or purchase of several is one event for every ITEM_IDS_MAX of them; any other kind is one event an item.
    The first event has the record's own id, those behind it a number more. Quantity and price are kept where there is one item.
    """
    together = kind == "impression" or (kind == "purchase" and len(items) > 1)
    size = ITEM_IDS_MAX if together else 1
    for place in range(0, len(items), size):
        part = tuple(items[place : place + size])
        yield Event(
            event_id=event_id if not place else made_id(event_id, place // size),
            type=kind,
            user_id=user_id,
            item_id=None if together else part[0],
            item_ids=part if together else None,
            timestamp=timestamp,
            session_id=session_id,
            request_id=request_id,
            quantity=quantity if len(items) == 1 else None,
            price=price if len(items) == 1 else None,
        )
