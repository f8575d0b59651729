"""What travels on the log: events, item documents, vectors; and what becomes of a record that is none of these.

Times are event time in epoch milliseconds UTC (suffix ``_ms``). Ids are strings of 1 to 256 bytes of UTF-8.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal, NewType

import msgspec

UserId = NewType("UserId", str)
ItemId = NewType("ItemId", str)

EVENTS = "events"
ITEMS = "items"
VECTORS = "items.vectors"
FORGET = "forget"
CONTROL = "control"
DEAD = "events.dead"
"""Logical topic names; the Kafka adapter puts ``kafka.topic_prefix`` in front."""

INPUT_TOPICS = (EVENTS, ITEMS, VECTORS, FORGET, CONTROL)
"""What the owner folds, in the order in which a bounded log breaks ties."""

ID_BYTES_MAX = 256
ITEM_IDS_MAX = 200
CONTEXT_BYTES_MAX = 4096
EVENT_BYTES_MAX = 65_536
DEAD_VALUE_BYTES_MAX = 65_536
TIMESTAMP_MS_MIN = 10**11
TIMESTAMP_MS_MAX = 10**14
ITEM_BYTES_MAX = 1_048_576
NESTING_MAX = 256
"""Arrays and objects within each other that a JSON value may hold, so that a refusal never depends on the caller's stack."""

Id = Annotated[
    str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX, description="A string of 1 to 256 bytes of UTF-8, never a number.")
]
Timestamp = Annotated[
    Annotated[int, msgspec.Meta(ge=TIMESTAMP_MS_MIN, le=TIMESTAMP_MS_MAX)]
    | Annotated[float, msgspec.Meta(ge=TIMESTAMP_MS_MIN, lt=TIMESTAMP_MS_MAX + 1)]
    | Annotated[
        str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:]{8}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$")
    ],
    msgspec.Meta(
        description="Epoch milliseconds (10^11 to 10^14; a fraction is floored), or RFC 3339 text with an offset or Z.",
        examples=[1795485458344, "2026-11-24T03:17:38.344+02:00"],
    ),
]


class EventType(enum.IntEnum):
    """The closed set of event types; the number is the code used in columns and snapshots."""

    IMPRESSION = 0
    VIEW = 1
    CLICK = 2
    CART = 3
    PURCHASE = 4


EVENT_TYPE_NAMES = tuple(kind.name.lower() for kind in EventType)


EventTypeName = Literal["impression", "view", "click", "cart", "purchase"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user did, as producers write it: the value of a record of topic ``events``, whose key is the user id."""

    event_id: Annotated[
        Id | None, msgspec.Meta(description="Applied at most once a user; without it as often as it comes.")
    ] = None
    type: Annotated[EventTypeName, msgspec.Meta(description="What happened.")]
    user_id: Annotated[Id, msgspec.Meta(description="Who did it; also the key of the record.")]
    item_id: Annotated[
        Id | None,
        msgspec.Meta(description="To which item. Needed by view, click and cart; by a purchase unless it has item_ids."),
    ] = None
    item_ids: Annotated[
        Annotated[tuple[Id, ...], msgspec.Meta(max_length=ITEM_IDS_MAX)] | None,
        msgspec.Meta(description="The items shown by an impression, or bought by a purchase; without meaning elsewhere."),
    ] = None
    timestamp: Timestamp
    session_id: Annotated[Id | None, msgspec.Meta(description="The visit, in the producer's own words.")] = None
    request_id: Annotated[Id | None, msgspec.Meta(description="The request that showed the list.")] = None
    quantity: Annotated[float | None, msgspec.Meta(description="How many: a finite number.")] = None
    price: Annotated[float | None, msgspec.Meta(description="For how much: a finite number.")] = None
    context: Annotated[
        dict[str, Any] | None, msgspec.Meta(description="Anything else, as an object; over 4096 bytes it is ignored.")
    ] = None


class RejectReason(enum.StrEnum):
    """Why a record went to ``events.dead``."""

    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_TYPE = "unknown_type"
    BAD_TIMESTAMP = "bad_timestamp"
    BAD_ID = "bad_id"
    TOO_LARGE = "too_large"
    BAD_IMAGE = "bad_image"
    ENGINE_ERROR = "engine_error"


class Reject(msgspec.Struct, frozen=True):
    """A record that cannot be used: the reason, and an error that says what was found, where, what was expected."""

    reason: RejectReason
    error: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A rejected record with where it came from, ready for ``events.dead``."""

    reject: Reject
    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    attempts: int = 1


class DecodedEvents(msgspec.Struct, gc=False):
    """The accepted events of a run of records, as columns of equal length N (``item_ids`` is flat, sum of ``item_counts``).

    ``positions[n]`` is the place of event n among the values handed in; ``event_ids[n]`` is "" where the event has none.
    ``rejects`` pairs the place of each refused value with its reason.
    """

    positions: list[int]
    types: list[int]
    timestamps_ms: list[int]
    event_ids: list[str]
    user_ids: list[str]
    item_ids: list[str]
    item_counts: list[int]
    rejects: list[tuple[int, Reject]]


class ItemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an item; the value of a record of topic ``items``."""

    item_id: str
    title: str | None = None
    text: str | None = None
    image: str | None = None
    categories: tuple[str, ...] = ()
    provider: str | None = None
    available: bool = True
    timestamp_ms: int | None = None


class DeletedItem(msgspec.Struct, frozen=True):
    """An item withdrawn by a null value under its key."""

    item_id: str


class Forget(msgspec.Struct, frozen=True):
    """A user to be forgotten; ``timestamp_ms`` None stands for the time at which the log received the record."""

    user_id: str
    timestamp_ms: int | None = None


class ItemVectors(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen encoder vectors of one item: float16, little endian, one buffer a modality; a missing modality is None."""

    item_id: str
    fingerprint: str
    content_hash: str
    text: bytes | None = None
    image: bytes | None = None
