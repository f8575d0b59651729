"""What travels on the log: events, item documents, vectors; and what becomes of a record that is none of these.

Times are event time in epoch milliseconds UTC (suffix ``_ms``). Ids are strings of 1 to 256 bytes of UTF-8.
"""

from __future__ import annotations

import enum
from typing import NewType

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


class EventType(enum.IntEnum):
    """The closed set of event types; the number is the code used in columns and snapshots."""

    IMPRESSION = 0
    VIEW = 1
    CLICK = 2
    CART = 3
    PURCHASE = 4


EVENT_TYPE_NAMES = tuple(kind.name.lower() for kind in EventType)


class RejectReason(enum.StrEnum):
    """Why a record went to ``events.dead``."""

    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_TYPE = "unknown_type"
    BAD_TIMESTAMP = "bad_timestamp"
    BAD_ID = "bad_id"
    TOO_LARGE = "too_large"
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


class ItemVectors(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen encoder vectors of one item: float16, little endian, one buffer a modality; a missing modality is None."""

    item_id: str
    fingerprint: str
    content_hash: str
    text: bytes | None = None
    image: bytes | None = None
