"""Values that are no events: a sound one spoilt, in several ways for every reason for which a codec refuses a value."""

from __future__ import annotations

import re
from collections.abc import Callable

from streamer.events.model import EVENT_BYTES_MAX, ID_BYTES_MAX, ITEM_IDS_MAX, RejectReason

_USER = re.compile(rb'"user_id":"([^"]*)",')
_TYPE = re.compile(rb'"type":"[a-z]*"')
_TIME = re.compile(rb'"timestamp":([0-9]+)([0-9]{3})')


def _changed(pattern: re.Pattern[bytes], by: bytes) -> Callable[[bytes], bytes]:
    return lambda value: pattern.sub(by, value, count=1)


def _with(members: bytes) -> Callable[[bytes], bytes]:
    """With more members; of members with equal names the last is read."""
    return lambda value: value[:-1] + b"," + members + b"}"


WAYS: dict[RejectReason, tuple[Callable[[bytes], bytes], ...]] = {
    RejectReason.INVALID_JSON: (
        lambda value: value[: len(value) // 2],
        lambda value: value.replace(b'"', b"'"),
        lambda value: value.replace(b'"user_id":"', b'"user_id":"\xff', 1),
    ),
    RejectReason.MISSING_FIELD: (
        _changed(_USER, b""),
        _changed(re.compile(rb'"type":"[a-z]*",'), b""),
        _changed(re.compile(rb'"timestamp":[0-9]*,'), b""),
    ),
    RejectReason.WRONG_TYPE: (
        _changed(re.compile(rb'"user_id":"u([0-9]*)"'), rb'"user_id":\1'),
        _with(b'"quantity":"three"'),
        lambda value: b"[" + value + b"]",
    ),
    RejectReason.UNKNOWN_TYPE: (
        _changed(_TYPE, b'"type":"clack"'),
        _changed(_TYPE, b'"type":"Purchase"'),
    ),
    RejectReason.BAD_TIMESTAMP: (
        _changed(_TIME, rb'"timestamp":\1'),
        _changed(_TIME, rb'"timestamp":\1\g<2>000'),
        _changed(_TIME, b'"timestamp":"yesterday"'),
    ),
    RejectReason.BAD_ID: (
        _changed(_USER, b'"user_id":"",'),
        _with(b'"request_id":"' + b"r" * (ID_BYTES_MAX + 1) + b'"'),
    ),
    RejectReason.TOO_LARGE: (
        _with(b'"item_ids":[' + b",".join(b'"i%d"' % number for number in range(ITEM_IDS_MAX + 1)) + b"]"),
        _with(b'"padding":"' + b"x" * EVENT_BYTES_MAX + b'"'),
    ),
}
"""All but ``engine_error`` and ``bad_image``, which are no faults of events."""

REASONS = tuple(WAYS)


def spoilt(value: bytes, reason: int, draw: int) -> bytes:
    """A sound value made one that is refused for ``REASONS[reason]``; ``draw`` picks the way."""
    ways = WAYS[REASONS[reason]]
    return ways[draw % len(ways)](value)
