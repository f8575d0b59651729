"""Who asked to be forgotten, as topic ``forget`` has it: the one place that keeps their ids. And what is left to do of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from consumers.span import batches_between
from streamer.events.forget import decode_forget
from streamer.events.model import EVENTS, FORGET, Forget
from streamer.ports import LogReader, TopicPartition

READ_RECORDS = 4_096


class Request(NamedTuple):
    """A user's newest request: where it lies, when the log got it, and until when events of his are dropped (epoch ms)."""

    place: TopicPartition
    offset: int
    append_ms: int
    until_ms: int


class _Named(msgspec.Struct):
    """What matters of a value, whatever else it is."""

    user_id: str | None = None


_NAMED = msgspec.json.Decoder(_Named)


def requests_to_forget(reader: LogReader, bounds: Mapping[TopicPartition, tuple[int, int]]) -> dict[bytes, Request]:
    """By id the users whom partitions of ``forget`` in ``bounds`` name. Raises LogError where the log is away."""
    found: dict[bytes, Request] = {}
    for place, (beginning, end) in bounds.items():
        if place.topic != FORGET:
            continue
        for batch in batches_between(reader, place, beginning, end, READ_RECORDS):
            for at, key, value, append_ms in zip(batch.offsets, batch.keys, batch.values, batch.append_ms, strict=True):
                request = decode_forget(key, value)
                if isinstance(request, Forget):
                    user, until_ms = request.user_id.encode(), request.timestamp_ms or append_ms
                    before = found[user].until_ms if user in found else 0
                    found[user] = Request(place, at, append_ms, max(before, until_ms))
    return found


def users_named(key: bytes | None, value: bytes | None) -> set[bytes]:
    """The users of whom a record speaks: that of its key, and that of its value where it is JSON with a ``user_id``."""
    users = set() if key is None else {key}
    try:
        named = _NAMED.decode(value or b"{}").user_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        named = None
    return users if named is None else users | {named.encode()}


def is_of_forgotten(
    forgotten: Mapping[bytes, Request], topic: str, key: bytes | None, value: bytes | None, append_ms: int
) -> bool:
    """Whether a record that the log had by then is an event of somebody who asked since to be forgotten."""
    if topic != EVENTS or not forgotten:
        return False
    requests = [forgotten[user] for user in users_named(key, value) if user in forgotten]
    return any(append_ms <= max(request.until_ms, request.append_ms) for request in requests)
