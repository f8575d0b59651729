"""Requests to forget a user, between bytes and values: topic ``forget``, whose key is the user id."""

from __future__ import annotations

import msgspec

from streamer.events import fields as read
from streamer.events.fields import RefusedError, refuse
from streamer.events.items import key_id
from streamer.events.model import EVENT_BYTES_MAX, Forget, Reject, RejectReason

_JSON = msgspec.json.Encoder()


def encode_forget(request: Forget) -> tuple[bytes, bytes]:
    """Key and value of the record. The value is never null, since compaction would remove that and the request with it."""
    value = {"user_id": request.user_id}
    times = {} if request.timestamp_ms is None else {"timestamp": request.timestamp_ms}
    return request.user_id.encode(), _JSON.encode(value | times)


def decode_forget(key: bytes | None, value: bytes | None) -> Forget | Reject:
    """Every record becomes a request or one reject; nothing in the input raises.

    Args:
        key: the user id in UTF-8.
        value: null or empty, or a JSON object with an optional ``timestamp`` and an optional ``user_id`` equal to the key.

    """
    try:
        user_id = key_id("user_id", key)
        if not value:
            return Forget(user_id)
        fields = read.parse_object(value, bytes_max=EVENT_BYTES_MAX)
        present = {name: raw for name, raw in fields.items() if read.kind_of(raw) != "null"}
        if "user_id" in present and read.identifier("user_id", present["user_id"]) != user_id:
            found = f'the key is "{read.shown(user_id)}", but user_id is {read.shown(bytes(present["user_id"]))}'
            refuse(RejectReason.BAD_ID, f"{found}, expected the same id: send the record with the user id as its key")
        at_ms = read.instant_ms("timestamp", present["timestamp"]) if "timestamp" in present else None
        return Forget(user_id, at_ms)
    except RefusedError as refused:
        return refused.reject
