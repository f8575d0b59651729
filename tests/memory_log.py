"""A deterministic log in memory behind the ports: for simulations, where faults must come at chosen moments.

    broker = MemoryBroker(partitions=2)
    writer = MemoryWriter(broker)
    member = MemoryLog(broker, group="g", topics=["events"], exclusive=True)

Nothing happens by itself: time is a counter, records become visible when the writer flushes, and a member learns of a
change of ownership at its next poll. ``broker.raise_next("commit", error)`` makes the next commit fail,
``broker.expel(member)`` does what a session timeout does.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamer.events.model import CONTROL, DEAD, INPUT_TOPICS
from streamer.ports import (
    ALL_TOPICS,
    Acknowledge,
    Committed,
    FencedError,
    GroupInUseError,
    LogError,
    OffsetGapError,
    OutRecord,
    Polled,
    Positions,
    RecordBatch,
    TopicInfo,
    TopicPartition,
    TopicsMissingError,
)

TICK_MS = 1
START_MS = 1_700_000_000_000
POLL_RECORDS_MAX = 500
RECORD_BYTES_MAX = 1_048_576


@dataclass
class Partition:
    beginning: int = 0
    records: list[OutRecord] = field(default_factory=list)
    append_ms: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.beginning + len(self.records)


@dataclass
class Topic:
    topic_id: str
    partitions: list[Partition]


@dataclass
class Group:
    generation: int = 0
    members: list[MemoryLog] = field(default_factory=list)
    committed: dict[TopicPartition, Committed] = field(default_factory=dict)


class MemoryBroker:
    """Topics, records and groups; survives the death of every member and writer."""

    def __init__(self, *, partitions: int = 2, create: bool = True) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = defaultdict(Group)
        self.owners: dict[str, MemoryAtomicWriter] = {}
        self.now_ms = START_MS
        self._partitions = partitions
        self._topics_made = 0
        self._round_robin = 0
        self._faults: dict[str, deque[Exception]] = defaultdict(deque)
        if create:
            for name in (*INPUT_TOPICS, DEAD):
                self.create(name)

    def create(self, name: str) -> None:
        """Makes a topic, or makes it anew with another id."""
        with self.changed:
            self._topics_made += 1
            count = 1 if name == CONTROL else self._partitions
            self.topics[name] = Topic(f"topic-{self._topics_made}", [Partition() for _ in range(count)])

    def raise_next(self, operation: str, error: Exception) -> None:
        """The next ``poll``, ``read``, ``seek``, ``committed``, ``commit``, ``append`` or ``flush`` raises; ``append`` refuses one record."""
        self._faults[operation].append(error)

    def waiting(self, operation: str) -> int:
        """Faults that an operation has not met yet."""
        return len(self._faults[operation])

    def fault(self, operation: str) -> Exception | None:
        """Takes the fault waiting for an operation, if any."""
        return self._faults[operation].popleft() if self._faults[operation] else None

    def check(self, operation: str) -> None:
        """Raises the fault waiting for an operation, if any."""
        error = self.fault(operation)
        if error is not None:
            raise error

    def append(self, record: OutRecord) -> None:
        """Puts one record on its partition; the log's time moves by one tick."""
        with self.changed:
            partitions = self._topic(record.topic).partitions
            if record.partition is not None:
                if record.partition >= len(partitions):
                    message = f"topic {record.topic} has no partition {record.partition}"
                    raise LogError(message, retriable=False)
                place = record.partition
            elif record.key is None:
                self._round_robin += 1
                place = self._round_robin
            else:
                place = zlib.crc32(record.key)
            partition = partitions[place % len(partitions)]
            self.now_ms += TICK_MS
            partition.records.append(record)
            partition.append_ms.append(self.now_ms)
            self.changed.notify_all()

    def require(self, record: OutRecord) -> None:
        """Raises LogError where a record can't be appended."""
        if len(record.value or b"") > RECORD_BYTES_MAX:
            message = f"a record for {record.topic} is too large"
            raise LogError(message, retriable=False)
        self._topic(record.topic)

    def records(self, topic: str) -> list[OutRecord]:
        """All records that a topic still holds, partition by partition."""
        with self.changed:
            return [record for partition in self._topic(topic).partitions for record in partition.records]

    def trim(self, where: TopicPartition, before_offset: int) -> None:
        """Removes records as retention does."""
        with self.changed:
            partition = self.topics[where.topic].partitions[where.partition]
            gone = max(0, min(before_offset, partition.end) - partition.beginning)
            del partition.records[:gone], partition.append_ms[:gone]
            partition.beginning += gone

    def slice(self, where: TopicPartition, position: int, records_max: int) -> RecordBatch:
        """The next records of a partition."""
        partition = self._topic(where.topic).partitions[where.partition]
        if not partition.beginning <= position <= partition.end:
            message = f"offset {position} of {where} is outside {partition.beginning} to {partition.end}"
            raise OffsetGapError(message, partition=where, position=position, beginning=partition.beginning, end=partition.end)
        first = position - partition.beginning
        records = partition.records[first : first + records_max]
        end = position + len(records)
        return RecordBatch(
            topic=where.topic,
            partition=where.partition,
            next_offset=end,
            offsets=list(range(position, end)),
            append_ms=partition.append_ms[first : first + len(records)],
            keys=[record.key for record in records],
            values=[record.value for record in records],
            headers={position + row: record.headers for row, record in enumerate(records) if record.headers},
        )

    def expel(self, member: MemoryLog) -> None:
        """What a session timeout does: the others take over at once, the member rejoins at its next poll."""
        with self.changed:
            self.leave(member)

    def join(self, member: MemoryLog) -> None:
        """Enters a group; a standby of an exclusive group changes nothing for its owner."""
        group = self.groups[member.group]
        group.members.append(member)
        if not member.exclusive or len(group.members) == 1:
            group.generation += 1

    def leave(self, member: MemoryLog) -> None:
        """Leaves a group; whoever is left gets the partitions under a new generation."""
        group = self.groups[member.group]
        if member not in group.members:
            return
        had_some = bool(self.assigned(member))
        group.members.remove(member)
        group.generation += had_some
        self.changed.notify_all()

    def assigned(self, member: MemoryLog) -> list[TopicPartition]:
        """The partitions of a member: all for the owner of an exclusive group, else every n-th."""
        members = self.groups[member.group].members
        if member not in members:
            return []
        if member.exclusive:
            return self._all(member.topics) if members[0] is member else []
        return self._all(member.topics)[members.index(member) :: len(members)]

    def _all(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [TopicPartition(name, n) for name in topics for n in range(len(self._topic(name).partitions))]

    def _topic(self, name: str) -> Topic:
        if name not in self.topics:
            message = f"the topic {name!r} does not exist: run `streamer topics create`"
            raise TopicsMissingError(message)
        return self.topics[name]


class MemoryLog:
    """An EventLog on a MemoryBroker. ``cuts`` cuts polls at random places, for a seed always the same ones."""

    def __init__(
        self, broker: MemoryBroker, *, group: str, topics: Sequence[str], exclusive: bool, cuts: random.Random | None = None
    ) -> None:
        self.group = group
        self.topics = tuple(topics)
        self.exclusive = exclusive
        self._broker = broker
        self._cuts = cuts
        self._generation: int | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._turn = 0

    def poll(self, timeout_ms: int, *, paused: bool = False) -> Polled:
        """Round-robin over partitions; waits for a record or a change of ownership only where there is none."""
        broker = self._broker
        with broker.changed:
            broker.check("poll")
            self._rejoin()
            batches = [] if paused else self._read()
            if not batches and timeout_ms and not paused:
                broker.changed.wait(timeout_ms / 1000)
                self._rejoin()
                batches = self._read()
            return Polled(batches, self._generation)

    def _rejoin(self) -> None:
        broker, group = self._broker, self._broker.groups[self.group]
        broker._all(self.topics)  # raises where topics are missing
        if self not in group.members:
            broker.join(self)
        generation = group.generation if broker.assigned(self) else None
        if generation != self._generation:
            self._generation = generation
            self._positions.clear()  # nothing is delivered before the next seek

    def _read(self) -> list[RecordBatch]:
        owned = [where for where in self._broker.assigned(self) if where in self._positions]
        budget = self._cuts.randint(1, POLL_RECORDS_MAX) if self._cuts else POLL_RECORDS_MAX
        batches = []
        self._turn += 1
        for n in range(len(owned)):
            batch = self._read_partition(owned[(n + self._turn) % len(owned)], budget)
            if batch is not None:
                batches.append(batch)
                budget -= len(batch.offsets)
        return batches

    def _read_partition(self, where: TopicPartition, budget: int) -> RecordBatch | None:
        batch = self._broker.slice(where, self._positions[where], budget)
        if not batch.offsets:
            return None
        self._positions[where] = batch.next_offset
        return batch

    def seek(self, positions: Positions) -> None:
        """Positions of partitions that this member does not own are ignored."""
        with self._broker.changed:
            self._broker.check("seek")
            owned = set(self._broker.assigned(self))
            self._positions.update({where: offset for where, offset in positions.items() if where in owned})

    def committed(self) -> dict[TopicPartition, Committed]:
        with self._broker.changed:
            self._broker.check("committed")
            return dict(self._broker.groups[self.group].committed)

    def commit(self, positions: Positions, metadata: str) -> None:
        with self._broker.changed:
            self._broker.check("commit")
            group = self._broker.groups[self.group]
            if self not in group.members or self._generation != group.generation or not self._broker.assigned(self):
                message = f"commit under generation {self._generation} of group {self.group!r}, which is at {group.generation}"
                raise FencedError(message)
            group.committed.update({where: Committed(offset, metadata) for where, offset in positions.items()})

    def close(self) -> None:
        with self._broker.changed:
            self._broker.leave(self)


class MemoryReader:
    """A LogReader on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def read(self, place: TopicPartition, offset: int, records_max: int) -> RecordBatch:
        with self._broker.changed:
            self._broker.check("read")
            return self._broker.slice(place, offset, records_max)

    def close(self) -> None:
        pass


class MemoryAdmin:
    """A LogAdmin on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def create_topics(self) -> list[str]:
        with self._broker.changed:
            made = [name for name in (*INPUT_TOPICS, DEAD) if name not in self._broker.topics]
            for name in made:
                self._broker.create(name)
            return made

    def topics(self, topics: Sequence[str] = ALL_TOPICS) -> dict[str, TopicInfo]:
        with self._broker.changed:
            found = self._broker.topics
            return {name: TopicInfo(found[name].topic_id, len(found[name].partitions)) for name in topics if name in found}

    def bounds(self, topics: Sequence[str] = INPUT_TOPICS) -> dict[TopicPartition, tuple[int, int]]:
        with self._broker.changed:
            return {
                TopicPartition(name, n): (partition.beginning, partition.end)
                for name in topics
                if name in self._broker.topics
                for n, partition in enumerate(self._broker.topics[name].partitions)
            }

    def committed(self, group: str) -> dict[TopicPartition, Committed]:
        with self._broker.changed:
            return dict(self._broker.groups[group].committed)

    def offsets_of_groups(self, prefix: str) -> dict[str, dict[TopicPartition, Committed]]:
        with self._broker.changed:
            return {
                name: dict(group.committed)
                for name, group in sorted(self._broker.groups.items())
                if name.startswith(prefix) and group.committed
            }

    def set_offsets(self, group: str, positions: Positions, metadata: str) -> None:
        with self._broker.changed:
            if self._broker.groups[group].members:
                message = f"group {group} has live members"
                raise GroupInUseError(message)
            self._broker.groups[group].committed.update({at: Committed(next_, metadata) for at, next_ in positions.items()})

    def close(self) -> None:
        pass


class MemoryAtomicWriter:
    """An AtomicWriter on a MemoryBroker: the latest that opened a name has it. A fault of ``append`` refuses the group."""

    def __init__(self, broker: MemoryBroker, name: str) -> None:
        self._broker = broker
        self._name = name

    def open(self) -> None:
        self._broker.owners[self._name] = self

    def append(self, records: Sequence[OutRecord]) -> None:
        with self._broker.changed:
            self._broker.check("append")
            if self._broker.owners.get(self._name) is not self:
                message = f"{self._name} is another's"
                raise FencedError(message)
            for record in records:
                self._broker.require(record)
            for record in records:
                self._broker.append(record)

    def close(self) -> None:
        if self._broker.owners.get(self._name) is self:
            del self._broker.owners[self._name]


class MemoryWriter:
    """A LogWriter on a MemoryBroker: records become visible at ``flush``; a writer dropped before has lost them."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._buffer: deque[tuple[OutRecord, Acknowledge | None]] = deque()

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        del timeout_s  # this buffer is never full
        self._buffer.append((record, on_done))

    def flush(self, timeout_s: float) -> None:
        del timeout_s  # an append takes no time here
        self._broker.check("flush")
        while self._buffer:
            record, on_done = self._buffer.popleft()
            error = self._broker.fault("append")
            if error is None:
                try:
                    self._broker.append(record)
                except LogError as missing:
                    error = missing
            if on_done is not None:
                on_done(record, error)

    def close(self) -> None:
        self.flush(0)
