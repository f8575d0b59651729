"""What of a recording is on the log already: found by comparing both, partition by partition, in their order.

The sender keeps the order within a partition, so what landed of an interrupted replay is a beginning of what was to be sent there,
with at most two exceptions: records that the log refused are missing in between, and records of others, or the same
once more where a connection broke, stand in between. So both are read side by side: a record of the log is looked for
among the next ``AHEAD_MAX`` of the recording, what is passed over there is missing, and what is not found there is of others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from zlib import crc32

from producers.formats import Recorded
from producers.progress import Meter
from streamer.ports import LogReader, TopicPartition

AHEAD_MAX = 2_000
"""Records of the recording, a partition, among which the log's next one is looked for."""
READ_RECORDS_MAX = 1_000

Placed = Callable[[Recorded], int]
"""The partition that a record of a recording goes to; always the same one."""


def placed_by(partition_of: Callable[[bytes, int], int], partitions: int) -> Placed:
    """As every Kafka client places keyed records, by the ``partition_of`` given; one without a key goes by its value."""

    def place(record: Recorded) -> int:
        return crc32(record.value) % partitions if record.key is None else partition_of(record.key, partitions)

    return place


@dataclass(frozen=True, slots=True)
class Landed:
    """Of each partition, how many of the recording's records had their turn, and which of these are missing nevertheless."""

    reached: Mapping[int, int]
    missing: Mapping[int, set[int]]

    @property
    def count(self) -> int:
        """Records of the recording that are on the log."""
        return sum(self.reached.values()) - sum(map(len, self.missing.values()))

    def has(self, partition: int, turn: int) -> bool:
        """Whether the recording's record number ``turn`` of this partition, from 0, is on the log."""
        return turn < self.reached.get(partition, 0) and turn not in self.missing.get(partition, ())


def find_landed(
    records: Iterable[tuple[int | None, Recorded]],
    place: Placed,
    reader: LogReader,
    spans: Mapping[TopicPartition, tuple[int, int]],
    meter: Meter,
) -> Landed:
    """Which of the recording's records lie on the log at the offsets ``[first, stop)`` of each partition.

    Memory grows with what is missing or of others, never with the recording. Raises OffsetGapError where retention took some.
    """
    lanes = {where.partition: _Lane(_digests(reader, where, *span)) for where, span in spans.items()}
    open_lanes = {partition for partition, lane in lanes.items() if not lane.ended}
    for when, record in records:
        if not open_lanes:
            break
        partition = place(record)
        if partition in open_lanes:
            lane = lanes[partition]
            lane.add(hash((record.key, record.value)))
            if lane.ended:
                open_lanes.discard(partition)
        meter.count(when)
    for lane in lanes.values():
        lane.finish()
    return Landed(
        {partition: lane.reached for partition, lane in lanes.items()},
        {partition: lane.missing for partition, lane in lanes.items() if lane.missing},
    )


class _Lane:
    """One partition: the log's records beside those of the recording that were not found yet."""

    def __init__(self, log: Iterator[int]) -> None:
        self.reached = 0
        """Turns of the recording up to the last one found."""
        self.missing: set[int] = set()
        self._log = log
        self._next = next(log, None)
        self._ahead: deque[int] = deque()
        """Of the turns from ``reached`` on, in order."""
        self._turns: dict[int, deque[int]] = {}
        """The same, by what they are."""
        self._passed: dict[int, deque[int]] = {}
        """Turns that are missing so far, by what they are: one that came late, or was sent by another run, is found behind others."""

    @property
    def ended(self) -> bool:
        """Whether every record of the log was looked at."""
        return self._next is None

    def add(self, digest: int) -> None:
        """The recording's next record."""
        self._turns.setdefault(digest, deque()).append(self.reached + len(self._ahead))
        self._ahead.append(digest)
        self._look(more_to_come=True)

    def finish(self) -> None:
        """The recording has no more."""
        self._look(more_to_come=False)

    def _look(self, *, more_to_come: bool) -> None:
        while self._next is not None:
            late, found = self._passed.get(self._next), self._turns.get(self._next)
            if late:
                self._find_late(self._next, late)
            elif found:
                self._pass_to(found[0])
            elif more_to_come and len(self._ahead) < AHEAD_MAX:
                return
            self._next = next(self._log, None)

    def _pass_to(self, turn: int) -> None:
        """A turn is found on the log, and those before it will not be."""
        self.missing.update(range(self.reached, turn))
        for one in range(self.reached, turn + 1):
            digest = self._ahead.popleft()
            turns = self._turns[digest]
            turns.popleft()
            if not turns:
                del self._turns[digest]
            if one < turn:
                self._passed.setdefault(digest, deque()).append(one)
        self.reached = turn + 1

    def _find_late(self, digest: int, turns: deque[int]) -> None:
        """A turn that was passed over lies further on."""
        self.missing.discard(turns.popleft())
        if not turns:
            del self._passed[digest]


def _digests(reader: LogReader, where: TopicPartition, first: int, stop: int) -> Iterator[int]:
    """What each record of a span of the log is."""
    offset = first
    while offset < stop:
        batch = reader.read(where, offset, READ_RECORDS_MAX)
        for at, key, value in zip(batch.offsets, batch.keys, batch.values, strict=True):
            if at < stop:
                yield hash((key, value))
        if batch.next_offset == offset:
            return
        offset = batch.next_offset
