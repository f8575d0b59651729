"""Records set apart: those left out of the fold, and the suspects of a fold that failed, which are applied one at a time.

A piece of work that raises leaves the state half changed. So the state before it comes back from the committed snapshot, and this
time the records of that piece come alone: the one that raises then is known, and left out (``consumers.tenure``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streamer.ports import RecordBatch, TopicPartition


class OffsetRange(NamedTuple):
    """Offsets ``first`` to ``stop`` (exclusive) of a partition."""

    topic: str
    partition: int
    first: int
    stop: int

    @property
    def place(self) -> TopicPartition:
        """The partition."""
        return TopicPartition(self.topic, self.partition)


class Fate(enum.Enum):
    """What becomes of records: applied with the others, applied alone, or left out."""

    TOGETHER = enum.auto()
    ALONE = enum.auto()
    LEFT_OUT = enum.auto()


class Apart:
    """Ranges of offsets that are not applied with the others."""

    def __init__(self, left_out: Iterable[OffsetRange] = (), suspects: Iterable[OffsetRange] = ()) -> None:
        self.left_out = set(left_out)
        self.suspects = set(suspects)

    def cut(self, batch: RecordBatch) -> Iterator[tuple[RecordBatch, Fate]]:
        """The batch in pieces, each with its fate; records applied alone are pieces of one."""
        place = TopicPartition(batch.topic, batch.partition)
        left_out = [one for one in self.left_out if one.place == place]
        suspects = [one for one in self.suspects if one.place == place]
        if not batch.offsets or not (left_out or suspects):
            yield batch, Fate.TOGETHER
            return
        fates = [_fate(offset, left_out, suspects) for offset in batch.offsets]
        first = 0
        for stop in range(1, len(fates) + 1):
            if stop == len(fates) or fates[stop] is not fates[first] or fates[first] is Fate.ALONE:
                yield batch.part(first, stop), fates[first]
                first = stop


def singles(batch: RecordBatch) -> Iterator[RecordBatch]:
    """The batch in pieces of one record each; one without records stays as it is."""
    if not batch.offsets:
        yield batch
    for first in range(len(batch.offsets)):
        yield batch.part(first, first + 1)


def _fate(offset: int, left_out: list[OffsetRange], suspects: list[OffsetRange]) -> Fate:
    if any(one.first <= offset < one.stop for one in left_out):
        return Fate.LEFT_OUT
    return Fate.ALONE if any(one.first <= offset < one.stop for one in suspects) else Fate.TOGETHER
