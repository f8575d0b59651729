"""Small protocols between the core and the world: the log, the store of recommendations, the store of snapshots, the clock.

Every adapter of a port passes one shared suite of contract tests (``tests/contract``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from streamer.events.model import DEAD, INPUT_TOPICS

ALL_TOPICS = (*INPUT_TOPICS, DEAD)
"""Logical names."""


class TopicPartition(NamedTuple):
    """A partition of a logical topic (without the prefix)."""

    topic: str
    partition: int


Positions = Mapping[TopicPartition, int]
"""Next offset to read, by partition."""

Headers = tuple[tuple[str, bytes], ...]
"""Of one record, in its order; a name may come twice."""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Adjacent records of one partition, in offset order, as columns of length N.

    ``next_offset`` is the position after the batch: not always the last offset + 1, since transaction markers take offsets.
    ``append_ms`` is the log's own time of each record (Kafka's record timestamp). ``headers`` are by offset, of those records
    alone that have any: few do, and the others cost nothing.
    """

    topic: str
    partition: int
    next_offset: int
    offsets: list[int]
    append_ms: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: Mapping[int, Headers] = field(default_factory=dict)

    def part(self, first: int, stop: int) -> RecordBatch:
        """Rows ``first`` to ``stop`` (exclusive); what the log passed over after the last record belongs to the last part."""
        return RecordBatch(
            topic=self.topic,
            partition=self.partition,
            next_offset=self.offsets[stop] if stop < len(self.offsets) else self.next_offset,
            offsets=self.offsets[first:stop],
            append_ms=self.append_ms[first:stop],
            keys=self.keys[first:stop],
            values=self.values[first:stop],
            headers={at: self.headers[at] for at in self.offsets[first:stop] if at in self.headers} if self.headers else {},
        )


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll returned.

    ``generation`` is the fencing number under which this member owns all partitions, None while it owns none.
    When it differs from the one before, whatever state was built under the former one must be discarded, and positions
    must be set by ``seek`` before anything is polled un-paused.
    """

    batches: list[RecordBatch]
    generation: int | None


class Committed(NamedTuple):
    """A committed position and the metadata that travelled with it."""

    next_offset: int
    metadata: str


class LogError(Exception):
    """The log refused or could not be reached; ``retriable`` says whether the same call may succeed later."""

    def __init__(self, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.retriable = retriable


class FencedError(LogError):
    """A commit came from a member that owns the partitions no more."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=False)


class GroupInUseError(LogError):
    """Offsets of a group can't be set from outside: a member of it lives."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=False)


class TopicsMissingError(LogError):
    """The topics do not exist yet; the message names them and the command that makes them."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=True)


class OffsetGapError(LogError):
    """A position lies outside what the log still holds: ``[beginning, end]`` of ``partition``."""

    def __init__(self, message: str, *, partition: TopicPartition, position: int, beginning: int, end: int) -> None:
        super().__init__(message, retriable=False)
        self.partition = partition
        self.position = position
        self.beginning = beginning
        self.end = end


class BufferFullError(LogError):
    """A writer's bounded buffer stayed full: the log is away or slower than what is sent. The record was not taken."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=True)


class EventLog(Protocol):
    """A member of a consumer group on the log. Not thread-safe: one thread polls, seeks and commits."""

    def poll(self, timeout_ms: int, *, paused: bool = False) -> Polled:
        """Waits up to ``timeout_ms`` for records; ``paused`` keeps membership alive and returns no records.

        Raises OffsetGapError where retention removed the position, LogError where the log is away.
        """
        ...

    def seek(self, positions: Positions) -> None:
        """Sets the next offset of partitions owned by this member."""
        ...

    def committed(self) -> dict[TopicPartition, Committed]:
        """What the group has committed, for every input partition that has a commit."""
        ...

    def commit(self, positions: Positions, metadata: str) -> None:
        """Commits all positions at once, synchronously, with the same metadata; raises FencedError when expelled."""
        ...

    def close(self) -> None:
        """Leaves the group and frees what is held."""
        ...


class LogReader(Protocol):
    """Reads any partition from any offset, outside every group. Not thread-safe."""

    def read(self, place: TopicPartition, offset: int, records_max: int) -> RecordBatch:
        """The next records from ``offset`` on, at least one where the log holds any, at most ``records_max``.

        Where it holds none the batch is empty, and its ``next_offset`` is the partition's end. Never waits for records to come.
        Raises OffsetGapError where retention removed the offset or it lies past the end, LogError where the log is away.
        """
        ...

    def close(self) -> None:
        """Frees what is held."""
        ...


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as the log knows it; ``warnings`` are settings that break a promise, each with what to do."""

    topic_id: str
    partitions: int
    warnings: tuple[str, ...] = ()
    kept_ms: int | None = None
    """After so long at the latest the log drops a record; None: it keeps it, or this user may not see for how long."""


class LogAdmin(Protocol):
    """Creation and inspection of topics, and the offsets of a group that rests."""

    def create_topics(self) -> list[str]:
        """Makes the topics that are missing; returns their names. Idempotent."""
        ...

    def topics(self, topics: Sequence[str] = ALL_TOPICS) -> dict[str, TopicInfo]:
        """Those of ``topics`` that exist, by logical name. A process asks for those that it works on, and has rights to no others."""
        ...

    def bounds(self, topics: Sequence[str] = INPUT_TOPICS) -> dict[TopicPartition, tuple[int, int]]:
        """(beginning, end) offset of every partition of those of ``topics`` that exist."""
        ...

    def committed(self, group: str) -> dict[TopicPartition, Committed]:
        """What a group has committed in our input topics, asked from outside it."""
        ...

    def offsets_of_groups(self, prefix: str) -> dict[str, dict[TopicPartition, Committed]]:
        """The same of every group whose name begins with ``prefix``; groups that have committed nothing there are left out."""
        ...

    def set_offsets(self, group: str, positions: Positions, metadata: str) -> None:
        """Commits for a group that has no member, all positions with the same metadata; without positions it only looks.

        Raises GroupInUseError, and then commits nothing, where a member of the group lives.
        """
        ...

    def close(self) -> None:
        """Frees what is held."""
        ...


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record to append: logical topic, key (None for none), value (None deletes), headers. It has no time: the log sets it.

    ``partition`` None leaves the choice to the writer: by the key's murmur2, anywhere without one.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


Acknowledge = Callable[[OutRecord, Exception | None], None]
"""Called once a record: with None when the log has it, else with the reason why it has not."""


class LogWriter(Protocol):
    """Appends records, at least once each unless the callback says otherwise. Thread-safe."""

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        """Buffers one record; blocks while the bounded buffer is full, at most ``timeout_s``: then raises BufferFullError."""
        ...

    def flush(self, timeout_s: float) -> None:
        """Waits until every record sent before is acknowledged or refused; raises LogError after ``timeout_s``."""
        ...

    def close(self) -> None:
        """Flushes and frees what is held."""
        ...


class AtomicWriter(Protocol):
    """Appends groups of records, each whole or not at all, under a name that one at a time works under. Not thread-safe."""

    def open(self) -> None:
        """Takes over the name; returns when whatever an earlier one of it had begun is either on the log whole, or never will be.

        From then on an earlier one that still lives can append nothing; or, where it can't be stopped, this raises LogError.
        """
        ...

    def append(self, records: Sequence[OutRecord]) -> None:
        """All of them are on the log when this returns, in their order.

        Raises LogError: where it is retriable it is not known whether they are until the next ``open``, else none is;
        FencedError where another one took over the name.
        """
        ...

    def close(self) -> None:
        """Gives the name back and frees what is held."""
        ...


@dataclass(frozen=True, slots=True)
class Reason:
    """One term of an entry's score: name, value, and the item it speaks of, if any."""

    term: str
    value: float
    item_id: str | None


@dataclass(frozen=True, slots=True)
class Recommended:
    """One entry of a list."""

    item_id: str
    score: float
    why: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class RecommendationList:
    """A list as served: the user's own, or the popular one (``personal`` False) where he has none."""

    user_id: str
    version: str
    items: tuple[Recommended, ...]
    personal: bool
    head_step: int
    event_ms: int
    written_ms: int


class StoreError(Exception):
    """The store could not be reached or refused; it may succeed later."""


class RecommendationStore(Protocol):
    """Lists ready to be served. A write is refused where the store holds a strictly newer version."""

    def write_lists(
        self, user_ids: Sequence[bytes], payloads: Sequence[bytes], unseen_s: Sequence[int] = (), *, erases: bool = False
    ) -> list[bool]:
        """Writes each user's JSON list (its first field is the version); False where refused as older. Raises StoreError.

        A list expires a time to live after its user was seen: now, or ``unseen_s`` seconds ago. What ``erases`` only takes the place of a
        list that is there, and expires within the hour.
        """
        ...

    def write_shared(self, name: str, payload: bytes) -> bool:
        """Writes ``popular``, ``gone`` or ``status`` by the same rule."""
        ...

    def read_shared(self, name: str) -> bytes | None:
        """Reads ``popular``, ``gone`` or ``status`` as written."""
        ...

    def read(self, user_id: str) -> RecommendationList | None:
        """The list as a reader gets it: withdrawn items dropped, ``popular`` where the user has none, None where neither is."""
        ...

    def close(self) -> None:
        """Frees what is held."""
        ...


class SnapshotStore(Protocol):
    """Named blobs, durable once ``put`` returns. Names are relative, with ``/`` between folders."""

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Writes a blob whole or not at all."""
        ...

    def put_all(self, blobs: Mapping[str, bytes | memoryview]) -> None:
        """As ``put`` of each, in any order: all are durable once this returns; where it raises, any number of them."""
        ...

    def get(self, name: str) -> bytes:
        """Reads a blob; KeyError where there is none."""
        ...

    def names(self, prefix: str) -> list[str]:
        """All names that begin with ``prefix``, sorted."""
        ...

    def delete(self, name: str) -> None:
        """Removes a blob; nothing where there is none."""
        ...

    def remove_leftovers(self) -> int:
        """Removes what writes that never ended left behind, and counts it; called by a new owner before its first write."""
        ...


class Clock(Protocol):
    """Wall clock and monotonic clock of the shell."""

    def now_ms(self) -> int:
        """Epoch milliseconds UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...


@dataclass(frozen=True, slots=True)
class OwnerStatus:
    """What ``GET /status`` says of a worker, JSON by field name."""

    role: str
    namespace: str
    epoch: int | None
    generation: int | None
    counters: dict[str, object] | None
    offsets: dict[str, dict[str, int]]
    snapshot: str | None
    lag: dict[str, dict[str, int]] = field(default_factory=dict)
    learning: dict[str, object] | None = None
    """Of an owner: ``frozen``, None or who froze it (``by``: operator or skipped blocks) and, where known, ``name``, ``reason``, ``since_ms``."""
    lists: dict[str, object] | None = None
    """Of an owner: ``unpublished``, ``written_ms`` (None: none yet), ``errors`` of the store, ``fault``: None or what it said last, ``fault_ms``."""
