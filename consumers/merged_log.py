"""A bounded log as one sequence: its partitions merged by their heads, so that the order is a function of the records alone.

Next is the head with the smallest time of its own, then the first by topic (in the order of INPUT_TOPICS), then by partition. A record
without a time of its own has the smallest, so it comes as soon as it is a head. Nothing but positions is remembered from one
record to the next, so a merge that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass, field

from consumers.cursor import Cursor
from streamer.events.model import INPUT_TOPICS
from streamer.events.record_time import record_time_ms
from streamer.ports import Committed, EventLog, LogAdmin, LogError, LogReader, Polled, Positions, RecordBatch, TopicPartition

logger = logging.getLogger(__name__)

Head = tuple[int, int, int]
"""Time of the record, rank of its topic, partition: no two partitions have equal ones."""


@dataclass(slots=True)
class _Source:
    """One partition: its cursor, and the times of the records that it holds, next one last."""

    cursor: Cursor
    times_ms: list[int] = field(default_factory=list)

    def fill(self) -> bool:
        """Whether there is a head; reads on where there is none."""
        if not self.times_ms and self.cursor.fill():
            topic = self.cursor.place.topic
            self.times_ms = [record_time_ms(topic, value) for value in reversed(self.cursor.values)]
        return bool(self.times_ms)

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
        """The next records in merged order; waits up to ``timeout_ms`` only where there are none.

        Raises OffsetGapError where retention removed a position: seek, and the merge goes on without what is lost. LogError where
        the log is away. Nothing is lost by either: what was merged before it is returned first.
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
        batches: list[RecordBatch] = []
        try:
            self._merge_into(batches)
        except LogError:
            if not batches:
                raise
            logger.debug("what was merged before goes out first; the next poll meets the same error", exc_info=True)
        return batches

    def _merge_into(self, batches: list[RecordBatch]) -> None:
        sources = [source for source in self._sources.values() if _filled(source, batches)]
        heads = [(source.head, source) for source in sources]
        heapq.heapify(heads)  # no two heads are equal, so sources are not compared
        left = self._records_max
        while heads and left:
            source = heapq.heappop(heads)[1]
            batches.append(source.take(heads[0][0] if heads else None, left))
            left -= len(batches[-1].offsets)
            if _filled(source, batches):
                heapq.heappush(heads, (source.head, source))


def _filled(source: _Source, batches: list[RecordBatch]) -> bool:
    """Whether the source has a head; a position that moved without records is worth an empty batch."""
    before = source.cursor.position
    filled = source.fill()
    if not filled and source.cursor.position != before:
        batches.append(source.cursor.take(0))
    return filled
