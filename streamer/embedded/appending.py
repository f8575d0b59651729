"""How records get into the embedded log's file: which are refused, which partition each has, and the runs they are stored in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from streamer.embedded.batches import pack, pack_headers, partition_of
from streamer.embedded.database import Database, PartitionRow
from streamer.ports import LogError, OutRecord, TopicPartition

RECORD_BYTES_MAX = 1_048_576
"""Key and value of one record: what a Kafka broker takes by default, so that what passes here passes there."""

RUN_BYTES_MAX = 1_048_576
"""Values of one stored run."""


class Appending:
    """Appends within the transaction of whoever calls. Used by one thread.

    Args:
        database: the log's file.
        now_ms: the log's clock, by which records are stamped; never goes back within a partition.
    """

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._spread = 0

    def refusals(self, records: Sequence[OutRecord]) -> list[LogError | None]:
        """Appends all records that can be; returns for each why not, or None."""
        rows = self._database.partitions(tuple({record.topic for record in records}))
        errors = [self._refusal(record, rows) for record in records]
        good = [record for record, error in zip(records, errors, strict=True) if error is None]
        for place, some in self._by_partition(good, rows).items():
            self._store(rows[place], some)
        return errors

    def _refusal(self, record: OutRecord, rows: dict[TopicPartition, PartitionRow]) -> LogError | None:
        if TopicPartition(record.topic, 0) not in rows:
            return self._database.missing([record.topic])
        if record.partition is not None and (record.topic, record.partition) not in rows:
            return LogError(f"topic {record.topic} has no partition {record.partition}", retriable=False)
        size = len(record.key or b"") + len(record.value or b"")
        if size > RECORD_BYTES_MAX:
            message = f"record for topic {record.topic} has {size} bytes, the log takes at most {RECORD_BYTES_MAX}"
            return LogError(message, retriable=False)
        return None

    def _by_partition(
        self, records: Sequence[OutRecord], rows: dict[TopicPartition, PartitionRow]
    ) -> dict[TopicPartition, list[OutRecord]]:
        counts = Counter(topic for topic, _ in rows)
        split: dict[TopicPartition, list[OutRecord]] = {}
        for record in records:
            count = counts[record.topic]
            if record.partition is not None:
                partition = record.partition
            elif record.key is None:
                self._spread = partition = (self._spread + 1) % count
            else:
                partition = partition_of(record.key, count)
            split.setdefault(TopicPartition(record.topic, partition), []).append(record)
        return split

    def _store(self, row: PartitionRow, records: list[OutRecord]) -> None:
        append_ms = max(self._now_ms(), row.append_ms)
        stored = []
        offset = row.end
        for run in _runs(records):
            keys, values = pack([one.key for one in run]), pack([one.value for one in run])
            stored.append((row.id, offset, len(run), append_ms, *keys, *values, pack_headers([one.headers for one in run])))
            offset += len(run)
        connection = self._database.connection()
        connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", stored)
        connection.execute("UPDATE partitions SET end = ?, append_ms = ? WHERE id = ?", (offset, append_ms, row.id))


def _runs(records: list[OutRecord]) -> list[list[OutRecord]]:
    runs: list[list[OutRecord]] = [[]]
    size = 0
    for record in records:
        cost = len(record.value or b"")
        if runs[-1] and size + cost > RUN_BYTES_MAX:
            runs.append([])
            size = 0
        runs[-1].append(record)
        size += cost
    return runs
