"""The body of a request as records of the log: cut into values, each judged by the codec that the worker uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

import msgspec

from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import EVENTS, ITEMS, ItemDocument, Reject, RejectReason
from streamer.ports import OutRecord

JSON_TYPES = frozenset({"", "application/json", "text/plain"})
"""One record, or an array of them; ``text/plain`` is what ``navigator.sendBeacon`` sends a text as."""
LINES_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
"""A record a line."""

_SPACE = b" \t\r\n"
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the log will not get: its place in the request, the reason, and what was found and expected."""

    index: int
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The records of one request: what may go to the log, with its place in the request, and what may not."""

    records: list[tuple[int, OutRecord]]
    refused: list[Refused]


class BodyError(ValueError):
    """A body that holds no records: the reason, and what was found and expected."""

    def __init__(self, reason: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


def values_of(body: bytes, content_type: str, *, records_max: int) -> list[bytes]:
    """The values of the records in a body of this media type (without parameters, lower case). Raises BodyError."""
    if content_type in LINES_TYPES:
        values = list(islice((value for line in BytesIO(body) if (value := line.strip(_SPACE))), records_max + 1))
    elif content_type not in JSON_TYPES:
        message = f"the content type is {content_type!r}, expected application/json, application/x-ndjson or text/plain"
        raise BodyError("unsupported_media_type", message, status=415)
    elif body.lstrip()[:1] == b"[":
        values = _members(body, records_max)
    else:
        values = [body] if body.strip() else []
    if not values:
        raise BodyError("empty", "the body holds no record, expected one JSON object, an array of them, or one a line")
    if len(values) > records_max:
        raise _too_many(f"more than {records_max}", records_max)
    return values


def _members(body: bytes, records_max: int) -> list[bytes]:
    try:
        members = _ARRAY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = f"the body begins as an array but is no JSON: {error}; expected an array of objects"
        raise BodyError(RejectReason.INVALID_JSON, message) from None
    if len(members) > records_max:  # before they are copied: two bytes are enough for one
        raise _too_many(str(len(members)), records_max)
    return [bytes(member) for member in members]


def _too_many(found: str, records_max: int) -> BodyError:
    message = (
        f"the body holds {found} records, at most {records_max} are taken (gateway.batch_records_max): send several requests"
    )
    return BodyError("too_many_records", message, status=413)


def judge_events(values: Sequence[bytes]) -> Judged:
    """Records of topic ``events``, keyed by user, with the values as they came."""
    decoded = decode_events(values)
    records = [
        (index, OutRecord(EVENTS, user_id.encode(), values[index]))
        for index, user_id in zip(decoded.positions, decoded.user_ids, strict=True)
    ]
    return Judged(records, [_refused(index, reject) for index, reject in decoded.rejects])


def judge_items(values: Sequence[bytes]) -> Judged:
    """Records of topic ``items``, keyed by item, with the values as they came."""
    judged = Judged([], [])
    for index, value in enumerate(values):
        found = decode_item(None, value)
        if isinstance(found, ItemDocument):
            judged.records.append((index, OutRecord(ITEMS, found.item_id.encode(), value)))
        elif isinstance(found, Reject):
            judged.refused.append(_refused(index, found))
    return judged


Judge = Callable[[Sequence[bytes]], Judged]


def _refused(index: int, reject: Reject) -> Refused:
    return Refused(index, str(reject.reason), reject.error)
