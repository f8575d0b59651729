"""Events between bytes and columns.

Good events take one pass through a compiled decoder. Whatever it refuses is read again, field by field, so that the
refusal has a reason and an error; the two paths accept the same events with the same result.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Annotated, cast

import msgspec

from streamer.events import fields as read
from streamer.events.fields import Fields, RefusedError, nested_too_deep, refuse
from streamer.events.model import (
    EVENT_BYTES_MAX,
    EVENT_TYPE_NAMES,
    ID_BYTES_MAX,
    ITEM_IDS_MAX,
    NESTING_MAX,
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
    DecodedEvents,
    Event,
    EventType,
    EventTypeName,
    Reject,
    RejectReason,
)
from streamer.events.timestamps import TimestampError, timestamp_ms

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]


class _Anything(msgspec.Struct, gc=False):
    """An object whose members are skipped."""


class _Slim(msgspec.Struct, gc=False):
    """What the fast path decodes: the fields that are kept, and the types of those that are only checked."""

    type: EventTypeName
    user_id: _Id
    timestamp: Annotated[int, msgspec.Meta(ge=TIMESTAMP_MS_MIN, le=TIMESTAMP_MS_MAX)] | float | str
    item_id: _Id | None = None
    item_ids: Annotated[list[_Id], msgspec.Meta(max_length=ITEM_IDS_MAX)] | None = None
    event_id: _Id | None = None
    session_id: _Id | None = None
    request_id: _Id | None = None
    quantity: float | None = None
    price: float | None = None
    context: _Anything | None = None


_DECODER = msgspec.json.Decoder(_Slim)
_ENCODER = msgspec.json.Encoder()
_CODES: dict[str, int] = {name: int(EventType[name.upper()]) for name in EVENT_TYPE_NAMES}

_PLAIN_BYTES_MAX = ID_BYTES_MAX
"""A value no longer than this can hold no id of too many bytes."""
_SHALLOW_BYTES_MAX = 2 * NESTING_MAX
"""A value no longer than this can hold no nesting that is too deep."""

_OPTIONAL_KINDS = {
    "event_id": "string",
    "session_id": "string",
    "request_id": "string",
    "quantity": "number",
    "price": "number",
    "context": "object",
    "item_id": "string",
    "item_ids": "array",
}


class InvalidEventError(ValueError):
    """The event handed to ``encode_event`` would be refused by every reader; ``reject`` says why."""

    def __init__(self, reject: Reject) -> None:
        super().__init__(f"{reject.reason}: {reject.error}")
        self.reject = reject


def encode_event(event: Event) -> bytes:
    """The JSON value of a record, which ``decode_events`` accepts.

    Raises InvalidEventError where it would not. The record's key is the user id in UTF-8.
    """
    for name in ("quantity", "price"):
        number = getattr(event, name)
        if isinstance(number, float) and not math.isfinite(number):  # would be encoded as null
            raise InvalidEventError(Reject(RejectReason.WRONG_TYPE, f"{name} is {number}, expected a finite number"))
    try:
        value = _ENCODER.encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        found = f"the event cannot be written as JSON: {error}; expected plain values and valid Unicode"
        raise InvalidEventError(Reject(RejectReason.WRONG_TYPE, found)) from error
    decoded = decode_events((value,))
    if decoded.rejects:
        raise InvalidEventError(decoded.rejects[0][1])
    return value


def decode_events(values: Sequence[bytes | None]) -> DecodedEvents:
    """Every value becomes either one accepted event or one reject; nothing in the input raises.

    Args:
        values: values of records of topic ``events``, in the order of the log.

    """
    events: list[_Slim] = []
    positions: list[int] = []
    rejects: list[tuple[int, Reject]] = []
    several = False
    decode = _DECODER.decode
    for position, value in enumerate(cast("Sequence[bytes]", values)):  # None is a TypeError to the decoder
        try:
            event = decode(value)
            if (
                len(value) <= _PLAIN_BYTES_MAX
                and event.item_id is not None
                and event.item_ids is None
                and event.timestamp.__class__ is int
                and value.isascii()
                and event.type != "impression"
            ):
                events.append(event)
                positions.append(position)
                continue
            outcome = event if _settle(value, event) else examine(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            outcome = examine(value)
        if isinstance(outcome, Reject):
            rejects.append((position, outcome))
            continue
        events.append(outcome)
        positions.append(position)
        several = several or outcome.item_ids is not None
    return _columns(events, positions, rejects, several=several)


def _columns(events: list[_Slim], positions: list[int], rejects: list[tuple[int, Reject]], *, several: bool) -> DecodedEvents:
    codes = _CODES
    if several:
        groups = [event.item_ids or (event.item_id,) for event in events]
        item_ids = [item_id for group in groups for item_id in group]
        item_counts = [len(group) for group in groups]
    else:
        item_ids = [event.item_id for event in events]
        item_counts = [1] * len(events)
    return DecodedEvents(
        positions=positions,
        types=[codes[event.type] for event in events],
        timestamps_ms=cast("list[int]", [event.timestamp for event in events]),  # settled: none is text
        event_ids=[event.event_id or "" for event in events],
        user_ids=[event.user_id for event in events],
        item_ids=cast("list[str]", item_ids),  # settled: none is None
        item_counts=item_counts,
        rejects=rejects,
    )


def _settle(value: bytes, event: _Slim) -> bool:
    """Finishes an event that the compiled decoder took but could not judge wholly; False where it must be read again."""
    if len(value) > _PLAIN_BYTES_MAX and not _within_bounds(value, event):
        return False
    if not value.isascii():
        value.decode()  # strings that are skipped are not looked into by the decoder
    if event.timestamp.__class__ is not int:
        try:
            event.timestamp = timestamp_ms(event.timestamp)
        except TimestampError:
            return False
    return _settle_items(event)


def _within_bounds(value: bytes, event: _Slim) -> bool:
    if len(value) > _SHALLOW_BYTES_MAX and (len(value) > EVENT_BYTES_MAX or nested_too_deep(value)):
        return False
    if value.isascii() and value.find(b"\\") < 0:  # find: twice as fast as ``in``
        return True  # one byte a character, and the decoder has counted characters
    ids = (event.user_id, event.item_id, event.event_id, event.session_id, event.request_id, *(event.item_ids or ()))
    return all(text is None or len(text.encode()) <= ID_BYTES_MAX for text in ids)


def _settle_items(event: _Slim) -> bool:
    """Leaves the items of the event in ``item_ids``, or in ``item_id`` alone where it has one."""
    if event.type == "impression":
        found = event.item_ids
    elif event.type == "purchase" and event.item_ids:
        found = event.item_ids if event.item_id is None else [event.item_id, *event.item_ids]
    else:
        event.item_ids = None
        return event.item_id is not None
    event.item_ids = list(dict.fromkeys(found)) if found else None
    return event.item_ids is not None


def examine(value: bytes | None) -> _Slim | Reject:
    """Reads one event field by field: the event where it is good after all, else the first thing that is wrong with it.

    Looked at in this order: size, JSON, missing fields, types of all fields, event type, items, ids, timestamp.
    """
    try:
        return _examined(read.parse_object(value, bytes_max=EVENT_BYTES_MAX))
    except RefusedError as refused:
        return refused.reject


def _examined(fields: Fields) -> _Slim:
    required = {name: read.require(fields, name) for name in ("type", "user_id", "timestamp")}
    _check_kinds(fields)
    type_name = _type_name(read.string("type", required["type"]))
    _check_items_present(type_name, fields)
    item_ids = _item_ids(fields)
    event = _Slim(
        type=type_name,
        user_id=read.identifier("user_id", required["user_id"]),
        timestamp=0,
        item_id=_optional_id(fields, "item_id"),
        item_ids=item_ids,
        event_id=_optional_id(fields, "event_id"),
        session_id=_optional_id(fields, "session_id"),
        request_id=_optional_id(fields, "request_id"),
    )
    event.timestamp = read.instant_ms("timestamp", required["timestamp"])
    _settle_items(event)
    return event


def _check_kinds(fields: Fields) -> None:
    read.expect("type", fields["type"], "string")
    read.expect("user_id", fields["user_id"], "string")
    read.expect("timestamp", fields["timestamp"], "number", "string")
    for name, kind in _OPTIONAL_KINDS.items():
        raw = fields.get(name)
        if raw is None or read.kind_of(raw) == "null":
            continue
        read.expect(name, raw, kind)
        if kind == "number":
            read.finite(name, raw)
    for raw in _elements(fields):
        read.expect("a member of item_ids", raw, "string")


def _elements(fields: Fields) -> list[msgspec.Raw]:
    raw = fields.get("item_ids")
    return [] if raw is None or read.kind_of(raw) == "null" else read.array("item_ids", raw)


def _type_name(found: str) -> EventTypeName:
    if found in _CODES:
        return found  # type: ignore[return-value]
    near = difflib.get_close_matches(read.shown(found).lower(), EVENT_TYPE_NAMES, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    expected = ", ".join(EVENT_TYPE_NAMES)
    return refuse(RejectReason.UNKNOWN_TYPE, f'type is "{read.shown(found)}", expected one of {expected}{hint}')


def _check_items_present(type_name: EventTypeName, fields: Fields) -> None:
    names = {"impression": ("item_ids",), "purchase": ("item_id", "item_ids")}.get(type_name, ("item_id",))
    if "item_id" in names and "item_id" in fields and read.kind_of(fields["item_id"]) != "null":
        return
    if "item_ids" in names and _elements(fields):
        return
    expected = " or ".join(name if name == "item_id" else "item_ids with at least one id" for name in names)
    there = [name for name in names if name in fields]
    article = "an" if type_name == "impression" else "a"
    if any(read.kind_of(fields[name]) == "null" for name in there):
        refuse(RejectReason.WRONG_TYPE, f"{' and '.join(there)} is null, but {article} {type_name} needs {expected}")
    found = "item_ids is empty" if there else f"{' and '.join(names)} missing"
    refuse(RejectReason.MISSING_FIELD, f"{found}: {article} {type_name} needs {expected}")


def _item_ids(fields: Fields) -> list[str] | None:
    elements = _elements(fields)
    if len(elements) > ITEM_IDS_MAX:
        error = f"item_ids has {len(elements)} ids, at most {ITEM_IDS_MAX} are accepted: send several events"
        refuse(RejectReason.TOO_LARGE, error)
    return [read.identifier("a member of item_ids", raw) for raw in elements] or None


def _optional_id(fields: Fields, name: str) -> str | None:
    raw = fields.get(name)
    return None if raw is None or read.kind_of(raw) == "null" else read.identifier(name, raw)
