"""Reading the embedded log from any offset, outside every group: the LogReader port."""

from __future__ import annotations

from streamer.config.tree import Config
from streamer.embedded.database import Database
from streamer.embedded.log import POLL_BYTES_MAX, batch_of, gap_of
from streamer.ports import LogError, RecordBatch, TopicPartition


class EmbeddedReader:
    """LogReader on the embedded log in ``config.log.root``."""

    def __init__(self, config: Config) -> None:
        self._database = Database(config, synchronous="NORMAL")

    def read(self, place: TopicPartition, offset: int, records_max: int) -> RecordBatch:
        """The next records from ``offset`` on; an empty batch at the end.

        Raises OffsetGapError where the offset lies outside what the log holds, LogError where the file cannot be read.
        """
        with self._database.snapshot():
            row = self._database.require((place.topic,)).get(place)
            if row is None:
                message = f"the embedded log {self._database.path} has no partition {place.topic}-{place.partition}; look with `streamer topics check`"
                raise LogError(message, retriable=False)
            if not row.beginning <= offset <= row.end:
                raise gap_of(place, offset, row)
            if offset == row.end:
                return RecordBatch(place.topic, place.partition, offset, [], [], [], [])
            stop = min(offset + records_max, row.end)
            return batch_of(self._database, place, row.id, (offset, stop), POLL_BYTES_MAX)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()
