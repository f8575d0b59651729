"""What operators do to the fold, between bytes and values: topic ``control``, one partition, so that its records have one order.

A record is ``{"action": "freeze" | "unfreeze" | "rollback", "snapshot": NAME, "reason": TEXT, "by": TEXT, "timestamp": MS}``;
``snapshot`` belongs to a rollback alone, and what is not ``action`` or ``snapshot`` is for people who read the log.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from streamer.events import fields as read
from streamer.events.fields import RefusedError, refuse
from streamer.events.model import EVENT_BYTES_MAX, Reject, RejectReason, Timestamp

ACTIONS = ("freeze", "unfreeze", "rollback")
_JSON = msgspec.json.Encoder()


class ControlValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an operator does to learning: the value of a record of topic ``control``, which has no key."""

    action: Annotated[Literal["freeze", "unfreeze", "rollback"], msgspec.Meta(description="What to do.")]
    snapshot: Annotated[
        str | None, msgspec.Meta(description="The snapshot whose learned weights come back. Needed by a rollback.")
    ] = None
    reason: Annotated[str, msgspec.Meta(description="Why, in words.")] = ""
    by: Annotated[str, msgspec.Meta(description="Who asked for it.")] = ""
    timestamp: Annotated[Timestamp | None, msgspec.Meta(description="When it was asked for.")] = None


class Freeze(msgspec.Struct, frozen=True):
    """Gate and towers learn nothing from here on; counts go on."""

    reason: str = ""
    by: str = ""
    timestamp_ms: int | None = None


class Unfreeze(msgspec.Struct, frozen=True):
    """Learning goes on, whatever froze it."""

    reason: str = ""
    by: str = ""
    timestamp_ms: int | None = None


class Rollback(msgspec.Struct, frozen=True):
    """What was learned goes back to that snapshot; counts stay."""

    snapshot: str
    reason: str = ""
    by: str = ""
    timestamp_ms: int | None = None


Control = Freeze | Unfreeze | Rollback


def encode_control(control: Control) -> bytes:
    """The value of the record."""
    action: Literal["freeze", "unfreeze", "rollback"] = (
        "freeze" if isinstance(control, Freeze) else "unfreeze" if isinstance(control, Unfreeze) else "rollback"
    )
    snapshot = control.snapshot if isinstance(control, Rollback) else None
    return _JSON.encode(
        ControlValue(action=action, snapshot=snapshot, reason=control.reason, by=control.by, timestamp=control.timestamp_ms)
    )


def decode_control(value: bytes | None) -> Control | Reject:
    """Every record becomes an operator's word or one reject; nothing in the input raises. Unknown fields are ignored."""
    try:
        fields = read.parse_object(value, bytes_max=EVENT_BYTES_MAX)
        present = {name: raw for name, raw in fields.items() if read.kind_of(raw) != "null"}
        action = read.string("action", read.require(present, "action"))
        if action not in ACTIONS:
            refuse(RejectReason.UNKNOWN_TYPE, f"action is {read.shown(action)!r}, expected one of {', '.join(ACTIONS)}")
        reason, by = (read.string(name, present[name]) if name in present else "" for name in ("reason", "by"))
        at_ms = read.instant_ms("timestamp", present["timestamp"]) if "timestamp" in present else None
        if action == "rollback":
            return Rollback(read.identifier("snapshot", read.require(present, "snapshot")), reason, by, at_ms)
        return (Freeze if action == "freeze" else Unfreeze)(reason, by, at_ms)
    except RefusedError as refused:
        return refused.reject
