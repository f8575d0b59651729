"""What a worker would make of a recording: what it would reject and why, what it would count as late or repeated, what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from producers.checks import TimeOrder
from producers.formats import AUTO, Reading, Recorded, open_events, open_items
from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import EVENT_TYPE_NAMES, DecodedEvents, Reject

CHUNK = 4_096
_DIGITS = re.compile(r"[0-9]+")
NAMED_MAX = 5
"""Rejected records that are told one by one for each kind of fault; all are counted."""

FAULTS_MAX = 40
"""Kinds of fault, told apart by the worker's reason and the field that the error begins with."""

IDS_MAX = 1_000_000
"""Hashes held of each kind of id: about 70 MB. Repeated event ids are found among the last so many to twice as many."""


@dataclass(slots=True)
class Rejection:
    """One record that a worker would reject."""

    where: int
    reason: str
    error: str


@dataclass(slots=True)
class Rejections:
    """All records that a worker would reject, counted by its reasons, the first of each kind of fault in words."""

    by_reason: dict[str, int] = field(default_factory=dict)
    named: list[Rejection] = field(default_factory=list)
    _by_fault: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.by_reason.values())

    def note(self, reading: Reading, record: Recorded, reject: Reject) -> None:
        """Counts one."""
        self.by_reason[reject.reason] = self.by_reason.get(reject.reason, 0) + 1
        error = reading.fault(record, reject)
        fault = f"{reject.reason} {_DIGITS.sub('', error.partition(' ')[0])}"
        if fault in self._by_fault or len(self._by_fault) < FAULTS_MAX:
            self._by_fault[fault] = self._by_fault.get(fault, 0) + 1
            if self._by_fault[fault] <= NAMED_MAX:
                self.named.append(Rejection(record.line, reject.reason.value, error))


class Ids:
    """Different ids, by 64-bit hash, up to IDS_MAX; what comes after these is known as seen or not, but no longer added."""

    def __init__(self, ids_max: int = IDS_MAX) -> None:
        self._max = ids_max
        self._seen: set[int] = set()

    def add(self, text: str) -> None:
        """Notes an id while there is room."""
        if len(self._seen) < self._max:
            self._seen.add(hash(text))

    def __contains__(self, text: str) -> bool:
        return hash(text) in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def full(self) -> bool:
        """Whether there may be more than were noted."""
        return len(self._seen) >= self._max

    def without(self, others: Ids) -> int:
        """How many of these are not among the others."""
        return len(self._seen - others._seen)


class Repeats:
    """Counts event ids that were seen before, as a worker does: in two generations, so that memory stays bounded."""

    def __init__(self, ids_max: int = IDS_MAX) -> None:
        self._max = ids_max
        self._old: set[int] = set()
        self._new: set[int] = set()
        self.count = 0
        self.forgot = False
        """Whether the oldest ids had to be forgotten, so that repeats of these were not found."""

    def note(self, user_id: str, event_id: str) -> None:
        """Counts the id where it was seen; an event without one is never a repeat."""
        if not event_id:
            return
        key = hash((user_id, event_id))
        if key in self._new or key in self._old:
            self.count += 1
        if len(self._new) >= self._max:
            self.forgot = self.forgot or bool(self._old)
            self._old, self._new = self._new, set()
        self._new.add(key)


@dataclass(slots=True)
class Order:
    """How far events stand from the order of their times."""

    first_ms: int | None = None
    last_ms: int | None = None
    behind: int = 0
    """Events that stand behind a later one."""
    behind_ms_max: int = 0
    late: int = 0
    """Events so far behind that a worker would count them as late and leave them out, had it read them in this order."""

    def note(self, timestamp_ms: int, lateness_ms_max: int) -> None:
        """Looks at the next event's time."""
        self.first_ms = timestamp_ms if self.first_ms is None else min(self.first_ms, timestamp_ms)
        if self.last_ms is None or timestamp_ms >= self.last_ms:
            self.last_ms = timestamp_ms
            return
        behind_ms = self.last_ms - timestamp_ms
        self.behind += 1
        self.behind_ms_max = max(self.behind_ms_max, behind_ms)
        self.late += behind_ms > lateness_ms_max


@dataclass(slots=True)
class Documents:
    """What a file of item documents holds."""

    path: str
    format: str
    why: str
    unit: str
    records: int = 0
    """Documents and deletions that would be accepted."""
    rejections: Rejections = field(default_factory=Rejections)
    left_out: dict[str, int] = field(default_factory=dict)
    ids: Ids = field(default_factory=Ids)


@dataclass(slots=True)
class Validated:
    """What a file of events holds, and what would become of it."""

    path: str
    format: str
    why: str
    unit: str
    by_type: dict[str, int] = field(default_factory=dict)
    """Events that would be accepted."""
    rejections: Rejections = field(default_factory=Rejections)
    left_out: dict[str, int] = field(default_factory=dict)
    order: Order = field(default_factory=Order)
    unsorted: bool = False
    """Whether replay refuses the file for its order; records that are rejected, but have a time, count there too."""
    repeats: Repeats = field(default_factory=Repeats)
    without_id: int = 0
    users: Ids = field(default_factory=Ids)
    items: Ids = field(default_factory=Ids)
    without_document: int = 0
    """Events of which no item has a document; counted where documents are given."""

    @property
    def accepted(self) -> int:
        """Events that would be accepted."""
        return sum(self.by_type.values())


Told = Callable[[int], None]


def validate_items(path: Path, told: Told, *, format_name: str = AUTO) -> Documents:
    """Reads a file of item documents to its end as a worker would. ``told``: how many more records are read.

    Raises RecordingError.
    """
    reading = open_items(path, format_name)
    found = Documents(str(path), reading.format.name, reading.why, reading.unit)
    for chunk in _chunks(reading):
        for record in chunk:
            item = decode_item(record.key, record.value)
            if isinstance(item, Reject):
                found.rejections.note(reading, record, item)
            else:
                found.records += 1
                found.ids.add(item.item_id)
        told(len(chunk))
    found.left_out = reading.left_out.by_kind
    return found


def validate_events(
    path: Path, told: Told, *, lateness_ms_max: int, format_name: str = AUTO, documents: Documents | None = None
) -> Validated:
    """Reads a file of events to its end with the decoder of the worker. ``told``: how many more records are read.

    Memory does not grow with the file. Raises RecordingError.
    """
    reading = open_events(path, format_name)
    found = Validated(str(path), reading.format.name, reading.why, reading.unit)
    order = TimeOrder()
    for chunk in _chunks(reading):
        found.unsorted = found.unsorted or any(order.behind(record) is not None for record in chunk)
        decoded = decode_events([record.value for record in chunk])
        for place, reject in decoded.rejects:
            found.rejections.note(reading, chunk[place], reject)
        _note(found, decoded, lateness_ms_max, documents)
        told(len(chunk))
    found.left_out = reading.left_out.by_kind
    return found


def _chunks(reading: Reading) -> Iterator[list[Recorded]]:
    records: Iterable[Recorded] = iter(reading)
    while chunk := list(islice(records, CHUNK)):
        yield chunk


def _note(found: Validated, decoded: DecodedEvents, lateness_ms_max: int, documents: Documents | None) -> None:
    at = 0
    for place, code in enumerate(decoded.types):
        name, user_id, event_id = EVENT_TYPE_NAMES[code], decoded.user_ids[place], decoded.event_ids[place]
        found.by_type[name] = found.by_type.get(name, 0) + 1
        found.order.note(decoded.timestamps_ms[place], lateness_ms_max)
        found.repeats.note(user_id, event_id)
        found.without_id += not event_id
        found.users.add(user_id)
        items = decoded.item_ids[at : at + decoded.item_counts[place]]
        at += len(items)
        for item in items:
            found.items.add(item)
        if documents is not None:
            found.without_document += not any(item in documents.ids for item in items)
