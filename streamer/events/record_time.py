"""The time that a record says it has, read without decoding the rest: the key by which a bounded log is merged."""

from __future__ import annotations

import msgspec

from streamer.events.model import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, VECTORS
from streamer.events.timestamps import TimestampError, timestamp_ms

NO_TIME_MS = 0
"""Of a record without a time of its own: it comes as soon as it is at its partition's head."""


class _Timed(msgspec.Struct, gc=False):
    timestamp: int | float | str | None = None


_decode = msgspec.json.Decoder(_Timed).decode


def record_time_ms(topic: str, value: bytes | None) -> int:
    """The record's ``timestamp`` in epoch milliseconds, as its codec reads it; 0 where it has none that can be read.

    A function of topic and value alone; never raises.

    >>> record_time_ms("events", b'{"timestamp": "2026-11-24T03:17:38.344+02:00"}'), record_time_ms("items", None)
    (1795483058344, 0)
    """
    if value is None or topic == VECTORS:
        return NO_TIME_MS
    try:
        found = _decode(value).timestamp
        if found.__class__ is int and TIMESTAMP_MS_MIN <= found <= TIMESTAMP_MS_MAX:
            return found
        return NO_TIME_MS if found is None else timestamp_ms(found)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TimestampError):
        return NO_TIME_MS
