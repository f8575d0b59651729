"""A place in one partition up to which its records were taken, with some read ahead."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from streamer.ports import LogError, LogReader, RecordBatch, TopicPartition

READ_RECORDS_MAX = 4_096
"""Read ahead of one partition at most."""


class Cursor:
    """Takes a partition's records in order, from ``position`` up to the offset ``stop``; nothing past it is taken."""

    def __init__(self, reader: LogReader, place: TopicPartition, position: int, stop: int) -> None:
        self.place = place
        self.position = position
        """Next offset not taken."""
        self.stop = stop
        self._reader = reader
        self._batch = RecordBatch(*place, position, [], [], [], [])
        self._row = 0

    @property
    def held(self) -> int:
        """Records read ahead."""
        return len(self._batch.offsets) - self._row

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to take."""
        return self.position >= self.stop

    @property
    def values(self) -> list[bytes | None]:
        """Of the records held."""
        return self._batch.values[self._row :]

    def fill(self) -> bool:
        """Reads ahead where nothing is held; whether anything is now. Without records up to ``stop`` the position becomes that.

        Raises OffsetGapError where retention removed the position; LogError where the log is away or ends before ``stop``.
        """
        while not self.held and not self.ended:
            self._batch, self._row = self._until_stop(self._reader.read(self.place, self.position, READ_RECORDS_MAX)), 0
            if not self.held and self._batch.next_offset <= self.position:
                raise LogError(
                    f"{self.place.topic}-{self.place.partition} ends at offset {self._batch.next_offset}, expected records up to "
                    f"{self.stop}: the log lost its end, or its replicas are behind",
                    retriable=True,
                )
            if not self.held:
                self.position = self._batch.next_offset
        return self.held > 0

    def take(self, count: int) -> RecordBatch:
        """The next ``count`` of the records held, or all of them; an empty batch at the position where none is held."""
        first, self._row = self._row, min(self._row + count, len(self._batch.offsets))
        part = self._batch.part(first, self._row)
        self.position = part.next_offset
        return part

    def skip_to(self, offset: int) -> None:
        """Goes on there."""
        self.position = offset
        self._batch, self._row = RecordBatch(*self.place, offset, [], [], [], []), 0

    def _until_stop(self, batch: RecordBatch) -> RecordBatch:
        wanted = batch.part(0, bisect_left(batch.offsets, self.stop))
        return replace(wanted, next_offset=min(wanted.next_offset, self.stop))
