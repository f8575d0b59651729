"""Reading partitions of Apache Kafka from any offset, outside every group: the LogReader port."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from consumers.kafka_admin import KafkaAdmin
from consumers.kafka_fetch import batch_of, gap_of
from producers.kafka_client import explained, explaining, missing_topics, open_client
from streamer.config.tree import Config
from streamer.ports import LogError, RecordBatch, TopicPartition

FETCH_BYTES = 2 * 1024 * 1024
"""As the log stores them, compressed or not. A fetch of one partition is a round trip, so it should be worth it."""
FETCH_RECORDS_MAX = 10_000
"""Held of one partition at most: a tenth of a second's parsing. Of a fetch that had more the rest is fetched again."""
SLICE_MS = 200


@dataclass(slots=True)
class _Held:
    """Records fetched, and how many of them were given out."""

    batch: RecordBatch
    given: int = 0

    @property
    def next_offset(self) -> int:
        return self.batch.offsets[self.given] if self.given < len(self.batch.offsets) else self.batch.next_offset

    def give(self, records_max: int) -> RecordBatch:
        first, self.given = self.given, min(self.given + records_max, len(self.batch.offsets))
        return self.batch.part(first, self.given)


class KafkaReader:
    """LogReader on Apache Kafka, of committed records. It connects at the first call, so that making one never waits.

    One partition is fetched at a time, in large pieces, and what was fetched is kept a partition: reading a few records of each
    in turn fetches none of them twice.
    """

    def __init__(self, config: Config) -> None:
        self._kafka = config.kafka
        self._admin = KafkaAdmin(config)
        self._consumer: Any = None
        self._fetching: KafkaPartition | None = None
        self._held: dict[TopicPartition, _Held] = {}
        self._bounds: dict[TopicPartition, tuple[int, int]] = {}

    def read(self, place: TopicPartition, offset: int, records_max: int) -> RecordBatch:
        """The next records from ``offset`` on; an empty batch at the end.

        Raises:
            OffsetGapError: the offset lies outside what the log holds.
            LogError: the broker is away (retriable), or there is no such partition.
        """
        held = self._held.get(place)
        if held is None or held.next_offset != offset or held.given == len(held.batch.offsets):
            held = self._held[place] = _Held(self._fetch(place, offset))
        return held.give(records_max)

    def close(self) -> None:
        """Closes the connections."""
        self._disconnect()
        with contextlib.suppress(KafkaError, OSError):
            self._admin.close()

    def _fetch(self, place: TopicPartition, offset: int) -> RecordBatch:
        at = KafkaPartition(self._kafka.topic_prefix + place.topic, place.partition)
        beginning, end = self._bounds.get(place, (0, 0))
        if not beginning <= offset < end:
            beginning, end = self._bounds[place] = self._bounds_of(place)
        if not beginning <= offset <= end:
            raise gap_of(at, place, offset, (beginning, end))
        if offset == end:
            return batch_of(place, end, [])
        try:
            return self._fetched(at, place, offset, end)
        except LogError:
            # whatever state the client is in after an error, the next call starts with a fresh one
            self._disconnect()
            raise

    def _bounds_of(self, place: TopicPartition) -> tuple[int, int]:
        try:
            return self._admin.bounds_of(place)
        except LogError as error:
            if isinstance(error.__cause__, UnknownTopicOrPartitionError) and self._admin.missing((place.topic,)):
                raise missing_topics(self._kafka, [self._kafka.topic_prefix + place.topic]) from error
            raise

    def _fetched(self, at: KafkaPartition, place: TopicPartition, offset: int, end: int) -> RecordBatch:
        consumer = self._positioned(at, offset)
        # half the poll interval: whoever reads as the member of a group must not lose it meanwhile
        wait_ms = min(self._kafka.request_timeout_ms, self._kafka.max_poll_interval_ms // 2)
        deadline = time.monotonic() + wait_ms / 1000
        while True:
            found = self._poll(consumer, at, place, offset)
            with explaining(self._kafka):
                position = consumer.position(at)
            if found or position >= end:
                return batch_of(place, position, found)  # without records: transaction markers alone
            if time.monotonic() > deadline:
                raise LogError(
                    f"Kafka at {self._kafka.bootstrap_servers} (kafka.bootstrap_servers) gave no records of {at.topic}-{at.partition} "
                    f"from offset {position} within {wait_ms} ms, where it holds some up to {end}; check that the brokers are up",
                    retriable=True,
                )

    def _poll(self, consumer: Any, at: KafkaPartition, place: TopicPartition, offset: int) -> list[Any]:
        try:
            found: list[Any] = consumer.poll(SLICE_MS, max_records=FETCH_RECORDS_MAX).get(at, [])
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            self._bounds[place] = self._admin.bounds_of(place)
            raise gap_of(at, place, offset, self._bounds[place]) from error
        except KafkaError as error:
            raise explained(self._kafka, error) from error
        return found

    def _positioned(self, at: KafkaPartition, offset: int) -> Any:
        if self._consumer is None:
            self._consumer = self._connect()
        with explaining(self._kafka):
            if at != self._fetching:
                self._consumer.assign([at])
                self._fetching = at
            elif self._consumer.position(at) == offset:
                return self._consumer  # it goes on where it was, with what it has fetched ahead
            self._consumer.seek(at, offset)
        return self._consumer

    def _connect(self) -> Any:
        return open_client(
            KafkaConsumer,
            self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=FETCH_BYTES,
        )

    def _disconnect(self) -> None:
        consumer, self._consumer, self._fetching = self._consumer, None, None
        with contextlib.suppress(KafkaError, OSError):
            if consumer is not None:
                consumer.close(autocommit=False)
