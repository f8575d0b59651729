"""A bounded log as one sequence: its partitions merged by their heads, so that the order is a function of the records alone.

Next is the head with the smallest time of its own, then the first by topic (in the order of INPUT_TOPICS), then by partition. A record
without a time of its own has the smallest, so it comes as soon as it is a head. Nothing but positions is remembered from one
record to the next, so a merge that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from consumers.cursor import Cursor
from streamer.events.model import INPUT_TOPICS
from streamer.events.record_time import record_time_ms
from streamer.ports import Committed, EventLog, LogAdmin, LogReader, Polled, Positions, RecordBatch, TopicPartition

Head = tuple[int, int, int]
"""Time of the record, rank of its topic, partition: no two partitions have equal ones."""


@dataclass(slots=True)
class _Source:
    """One partition: its cursor, and the times of the records that it holds, next one last."""

    cursor: Cursor
    times_ms: list[int] = field(default_factory=list)

    @property
    def dry(self) -> bool:
        """Whether it must be read before its head is known."""
        return not self.times_ms and not self.cursor.ended

    def fill(self) -> list[RecordBatch]:
        """Reads on; an empty batch where the position moved without records, as over transaction markers at the end."""
        before = self.cursor.position
        if self.cursor.fill():
            topic = self.cursor.place.topic
            self.times_ms = [record_time_ms(topic, value) for value in reversed(self.cursor.values)]
        elif self.cursor.position != before:
            return [self.cursor.take(0)]
        return []

    @property
    def head(self) -> Head:
        topic, partition = self.cursor.place
        return self.times_ms[-1], INPUT_TOPICS.index(topic), partition

    def take(self, before: Head | None, records_max: int) -> RecordBatch:
        """The head and what follows it, as long as it comes before the head of every other partition."""
        _, rank, partition = self.head
        count = 0
        while count < records_max and self.times_ms and (before is None or (self.times_ms[-1], rank, partition) < before):
            self.times_ms.pop()
            count += 1
        return self.cursor.take(count)


class MergedLog:
    """EventLog over a bounded log. Membership, commits and their fence are those of ``log``, which is polled paused.

    The ends are those that the log has at the first ``seek``: nothing past them is read, by a later generation neither.
    Closes ``log`` and ``reader``, not ``admin``.
    """

    def __init__(self, log: EventLog, reader: LogReader, admin: LogAdmin, *, records_max: int) -> None:
        self._log = log
        self._reader = reader
        self._admin = admin
        self._records_max = records_max
        self._ends: dict[TopicPartition, int] | None = None
        self._generation: int | None = None
        self._sources: dict[TopicPartition, _Source] = {}

    def poll(self, timeout_ms: int, *, paused: bool = False) -> Polled:
        """The next records in merged order; none while partitions are read ahead; waits up to ``timeout_ms`` only at the ends.

        Raises OffsetGapError where retention removed a position: seek, and the merge goes on without what is lost. LogError where
        the log is away. Nothing that was merged is lost by either.
        """
        merging = not paused and not all(source.cursor.ended for source in self._sources.values())
        polled = self._log.poll(0 if merging else timeout_ms, paused=True)
        if polled.generation != self._generation:
            self._generation = polled.generation
            self._sources.clear()
        return Polled(self._merge() if merging and self._sources else [], polled.generation)

    def seek(self, positions: Positions) -> None:
        """Sets the next offset of partitions owned by this member."""
        self._log.seek(positions)
        if self._ends is None:
            self._ends = {place: end for place, (_, end) in self._admin.bounds().items()}
        for place, offset in positions.items():
            source = self._sources.get(place)
            if source is None or source.cursor.position != offset:
                self._sources[place] = _Source(Cursor(self._reader, place, offset, self._ends.get(place, 0)))

    def committed(self) -> dict[TopicPartition, Committed]:
        """What the group has committed."""
        return self._log.committed()

    def commit(self, positions: Positions, metadata: str) -> None:
        """Commits all positions at once; raises FencedError when expelled."""
        self._log.commit(positions, metadata)

    def close(self) -> None:
        """Leaves the group."""
        self._reader.close()
        self._log.close()

    def _merge(self) -> list[RecordBatch]:
        """Reads ahead of one partition at most, so that no poll is long; merges where every partition has a head or has ended."""
        batches: list[RecordBatch] = []
        dry = [source for source in self._sources.values() if source.dry]
        if dry:
            batches += dry[0].fill()
            if len(dry) > 1 or dry[0].dry:
                return batches
        heads = [(source.head, source) for source in self._sources.values() if source.times_ms]
        heapq.heapify(heads)  # no two heads are equal, so sources are not compared
        left = self._records_max
        while heads and left:
            source = heapq.heappop(heads)[1]
            batches.append(source.take(heads[0][0] if heads else None, left))
            left -= len(batches[-1].offsets)
            if source.dry:
                break
            if source.times_ms:
                heapq.heappush(heads, (source.head, source))
        return batches
