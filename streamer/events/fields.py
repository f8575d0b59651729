"""Reading one JSON object field by field, with a precise reason for whatever is wrong with it.

This is the slow path of the codecs: it runs on what the compiled decoder refused, and on rare records.
"""

from __future__ import annotations

import json
from typing import NoReturn, cast

import msgspec

from streamer.events.model import ID_BYTES_MAX, NESTING_MAX, Reject, RejectReason
from streamer.events.timestamps import TimestampError, timestamp_ms

Fields = dict[str, msgspec.Raw]
"""The members of an object, undecoded; of members with equal names the last."""

_OBJECT = msgspec.json.Decoder(Fields)
_STRING = msgspec.json.Decoder(str)
_NUMBER = msgspec.json.Decoder(int | float)
_FLOAT = msgspec.json.Decoder(float)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])

_OPENING = ord("[")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_KINDS = {b'"': "string", b"{": "object", b"[": "array", b"t": "boolean", b"f": "boolean", b"n": "null"}
_SHOWN_CHARS_MAX = 60


class RefusedError(Exception):
    """Carries a Reject from a check to the codec's own entry; never leaves ``streamer.events``."""

    def __init__(self, reason: RejectReason, error: str) -> None:
        super().__init__(error)
        self.reject = Reject(reason, error)


def refuse(reason: RejectReason, error: str) -> NoReturn:
    """Ends the reading of a record. Raises RefusedError."""
    raise RefusedError(reason, error)


def shown(text: str | bytes) -> str:
    """What was found, shortened for a message."""
    found = text.decode(errors="replace") if isinstance(text, bytes) else text
    return found if len(found) <= _SHOWN_CHARS_MAX else f"{found[:_SHOWN_CHARS_MAX]}… ({len(found)} characters)"


def kind_of(raw: msgspec.Raw) -> str:
    """The JSON type of an undecoded value: object, array, string, number, boolean or null."""
    return _KINDS.get(bytes(memoryview(raw)[:1]), "number")


def nested_too_deep(value: bytes) -> bool:
    """Whether arrays and objects stand more than NESTING_MAX deep within each other, brackets in strings not counted.

    Exact for JSON; of what is cut short, NESTING_MAX is too deep already. The time is linear in the length, whatever the bytes.
    """
    if value.count(b"[") + value.count(b"{") <= NESTING_MAX:
        return False
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")  # what is left of quotes opens and closes strings
    brackets = b"".join(value.translate(_ONE_KIND, _NO_BRACKETS).split(b'"')[::2])
    depth = 1  # that of the innermost ones, which are taken away whole: most are such
    for byte in brackets.replace(b"[]", b""):
        depth += 1 if byte == _OPENING else -1
        if depth <= 0:  # closes what was never opened: no JSON, and refused as that
            return False
        if depth > NESTING_MAX:
            return True
    return False


def parse_object(value: bytes | None, *, bytes_max: int) -> Fields:
    """The members of the JSON object that ``value`` holds.

    Raises RefusedError: too_large over ``bytes_max`` bytes, invalid_json, or wrong_type for JSON that is no object.
    """
    if value is None:
        refuse(RejectReason.INVALID_JSON, "the value is null, expected a JSON object: send the record with a value")
    if len(value) > bytes_max:
        refuse(RejectReason.TOO_LARGE, f"the value has {len(value)} bytes, at most {bytes_max} are accepted: send less")
    if nested_too_deep(value):
        refuse(RejectReason.INVALID_JSON, f"the value nests more than {NESTING_MAX} arrays and objects: send it flatter")
    try:
        # The compiled decoder does not look into the text of members that it skips.
        value.decode()
        return _OBJECT.decode(value)
    except msgspec.ValidationError:
        refuse(RejectReason.WRONG_TYPE, f"the value is the JSON {_kind_of_text(value)} {shown(value)}, expected an object")
    except UnicodeDecodeError as error:
        refuse(RejectReason.INVALID_JSON, f"the value is no UTF-8: {error.reason} at byte {error.start} ({shown(value)})")
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        _refuse_non_finite(value)
        found = shown(value) or "nothing"
        refuse(RejectReason.INVALID_JSON, f"the value is no valid JSON: {error}; found {found}, expected an object")


def _kind_of_text(value: bytes) -> str:
    return _KINDS.get(value.lstrip()[:1], "number")


def _refuse_non_finite(value: bytes) -> None:
    """Names the field where the sender's library wrote NaN or Infinity, which JSON does not know."""
    try:
        found = json.loads(value.decode(), parse_constant=_NonFinite)
    except (ValueError, RecursionError):
        return
    for name in ("timestamp", "quantity", "price"):
        member = found.get(name) if isinstance(found, dict) else None
        if isinstance(member, _NonFinite):
            reason = RejectReason.BAD_TIMESTAMP if name == "timestamp" else RejectReason.WRONG_TYPE
            refuse(reason, f"{name} is {member}, expected a finite number: leave the field out or send a number")


class _NonFinite(str):
    """NaN, Infinity or -Infinity, written where JSON wants a number."""

    __slots__ = ()


def require(fields: Fields, name: str) -> msgspec.Raw:
    """The member ``name``. Raises RefusedError (missing_field) where there is none."""
    raw = fields.get(name)
    if raw is None:
        there = ", ".join(sorted(fields)) or "none"
        refuse(RejectReason.MISSING_FIELD, f"{name} is missing; fields found: {shown(there)}; expected {name}: send it")
    return raw


def expect(name: str, raw: msgspec.Raw, *kinds: str) -> None:
    """Checks the JSON type of a member. Raises RefusedError (wrong_type)."""
    kind = kind_of(raw)
    if kind in kinds:
        return
    hint = f': send it as "{shown(bytes(raw))}"' if kind == "number" and "string" in kinds and "number" not in kinds else ""
    expected = " or ".join(kinds)
    refuse(RejectReason.WRONG_TYPE, f"{name} is a JSON {kind} ({shown(bytes(raw))}), expected {expected}{hint}")


def string(name: str, raw: msgspec.Raw) -> str:
    """The text of a member. Raises RefusedError (wrong_type)."""
    expect(name, raw, "string")
    return _STRING.decode(raw)


def identifier(name: str, raw: msgspec.Raw) -> str:
    """The id in a member. Raises RefusedError (wrong_type, bad_id)."""
    return checked_id(name, string(name, raw))


def checked_id(name: str, text: str) -> str:
    """The id itself. Raises RefusedError (bad_id) unless it has 1 to ID_BYTES_MAX bytes of UTF-8."""
    size = len(text.encode())
    if 1 <= size <= ID_BYTES_MAX:
        return text
    refuse(RejectReason.BAD_ID, f'{name} has {size} bytes ("{shown(text)}"), expected 1 to {ID_BYTES_MAX} bytes of UTF-8')


def array(name: str, raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The undecoded elements of a member. Raises RefusedError (wrong_type)."""
    expect(name, raw, "array")
    return _ARRAY.decode(raw)


def finite(name: str, raw: msgspec.Raw) -> float:
    """The number in a member. Raises RefusedError (wrong_type), also where no float can hold it."""
    expect(name, raw, "number")
    try:
        return _FLOAT.decode(raw)
    except msgspec.MsgspecError:
        refuse(RejectReason.WRONG_TYPE, f"{name} is {shown(bytes(raw))}, expected a finite number: it exceeds a float's range")


def instant_ms(name: str, raw: msgspec.Raw) -> int:
    """The time in a member in epoch milliseconds. Raises RefusedError (wrong_type, bad_timestamp)."""
    expect(name, raw, "number", "string")
    try:
        if kind_of(raw) == "string":
            return timestamp_ms(_STRING.decode(raw))
        return timestamp_ms(cast("int | float", _NUMBER.decode(raw)))
    except TimestampError as error:
        refuse(RejectReason.BAD_TIMESTAMP, f"{name} {error}")
    except msgspec.MsgspecError:
        refuse(
            RejectReason.BAD_TIMESTAMP, f"{name} is {shown(bytes(raw))}, no number that a time can be: send epoch milliseconds"
        )
