"""Records fetched by librdkafka (the package confluent-kafka), for a member whose group is kept by kafka-python.

The group needs an assignor of ours, which librdkafka cannot be given. So kafka-python stays the member, with all partitions paused: it
joins, beats, commits and is fenced; librdkafka reads the same partitions outside every group, from the positions it is told.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError

from consumers.kafka_fetch import PositionLostError, headers_of, logical
from consumers.membership import Membership
from producers.kafka_client import RECONNECT_BACKOFF_MS_MAX, explained, password
from streamer.config.tree import Kafka
from streamer.ports import LogError, RecordBatch

try:
    import confluent_kafka
except ImportError as missing:
    raise LogError(
        "kafka.client is confluent, whose package is not installed: pip install 'streamer[fast]', or leave kafka.client at kafka-python",
        retriable=False,
    ) from missing

log = logging.getLogger(__name__)

READ_AHEAD_KB_MAX = 32_768
"""Held of all partitions together."""
QUEUE_BACKOFF_MS = 5
"""A partition whose records were held back is fetched again after this; librdkafka's own second lets a reader wait."""
_PASSING = {
    confluent_kafka.KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - that is how its codes are named
    confluent_kafka.KafkaError._TRANSPORT,  # noqa: SLF001
    confluent_kafka.KafkaError._TIMED_OUT,  # noqa: SLF001
    confluent_kafka.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    confluent_kafka.KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
    confluent_kafka.KafkaError.LEADER_NOT_AVAILABLE,
    confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION,
}
"""What librdkafka gets over by itself; a broker or a topic that stays away is told by the member."""
_LOST = {
    confluent_kafka.KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    confluent_kafka.KafkaError._LOG_TRUNCATION,  # noqa: SLF001
    confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE,
}
_END = confluent_kafka.KafkaError._PARTITION_EOF  # noqa: SLF001


class FastFetch:
    """Fetch through librdkafka.

    Args:
        kafka: the section ``kafka``; security settings are handed on.
        consumer: kafka-python's, the member of the group.
        membership: whose partitions and positions are read.
        group: names this reader to the broker, which checks its ACL; it joins nothing and commits nothing.
    """

    def __init__(self, kafka: Kafka, consumer: Any, membership: Membership, group: str) -> None:
        self._kafka = kafka
        self._consumer = consumer
        self._membership = membership
        self._moved = False
        self._records: dict[KafkaPartition, list[Any]] = {}
        self._passed: dict[KafkaPartition, int] = {}
        """Positions after an end that was reached: transaction markers at the end of a partition come as no record."""
        self._failed: KafkaPartition | LogError | None = None
        """The partition that holds nothing where it is to be read, or what the broker said."""
        try:
            self._reader = confluent_kafka.Consumer(settings_of(kafka, group), logger=log)
        except (confluent_kafka.KafkaException, ValueError) as error:
            raise LogError(f"librdkafka refuses these settings: {error}; check the section [kafka]", retriable=False) from error

    def poll(self, timeout_ms: int, *, paused: bool) -> None:
        """Lets the member take part in its group, then waits for records."""
        self._records, self._passed = {}, {}
        # a poll of no length keeps a settled member alive; one that has to join again needs time for it
        rejoins = self._consumer._coordinator.need_rejoin()  # noqa: SLF001
        try:
            self._consumer.poll(timeout_ms if paused or rejoins else 0)
        except KafkaError as error:
            raise explained(self._kafka, error) from error
        if paused or not self._membership.positioned:
            return
        self._raise_failed()
        if self._moved:
            self._assign()
        for message in self._consume(timeout_ms):
            at = KafkaPartition(message.topic(), message.partition())
            if message.error() is None:
                self._records.setdefault(at, []).append(message)
            else:
                self._note(at, message)
        if not self._records:
            self._raise_failed()

    def batches(self) -> list[RecordBatch]:
        """The records of the slice; those found beside an error come first, and the error with the next slice."""
        positions = self._membership.positions
        batches = []
        for at in self._records | self._passed:
            found = self._records.get(at, [])
            position = max(found[-1].offset() + 1 if found else positions[at], self._passed.get(at, 0))
            if found or position != positions[at]:
                positions[at] = position
                batches.append(self._batch(at, position, found))
        self._records, self._passed = {}, {}
        return batches

    def seek(self, at: KafkaPartition, offset: int) -> None:
        """Everything read ahead is dropped before the next slice, and all partitions are read from the membership's positions."""
        self._consumer.seek(at, offset)
        self._moved, self._failed = True, None

    def close(self) -> None:
        """Closes librdkafka's connections."""
        with contextlib.suppress(confluent_kafka.KafkaException, RuntimeError):
            self._reader.close()

    def _assign(self) -> None:
        positions = self._membership.positions
        self._reader.assign([confluent_kafka.TopicPartition(at.topic, at.partition, positions[at]) for at in positions])
        self._moved = False

    def _consume(self, timeout_ms: int) -> list[Any]:
        """What has come, as soon as anything has: ``consume`` alone waits until it is all that may be asked for."""
        first, more = self._reader.poll(timeout_ms / 1_000), self._kafka.max_poll_records - 1
        if first is None:
            return []
        return [first, *self._reader.consume(more, 0)] if more else [first]

    def _note(self, at: KafkaPartition, message: Any) -> None:
        error = message.error()
        if error.code() == _END:
            self._passed[at] = message.offset()
        elif error.code() in _LOST:
            self._failed = at
        elif error.code() in _PASSING:
            log.warning("librdkafka: %s-%d: %s", at.topic, at.partition, error)
        else:
            self._failed = LogError(
                f"Kafka at {self._kafka.bootstrap_servers} (kafka.bootstrap_servers) gave no records of {at.topic}-{at.partition}: "
                f"{error}; check the ACLs of user {self._kafka.sasl_username!r}",
                retriable=bool(error.retriable()),
            )

    def _raise_failed(self) -> None:
        failed, self._failed = self._failed, None
        if failed is None:
            return
        self._moved = True  # whatever librdkafka has stopped at, it begins anew
        raise failed if isinstance(failed, LogError) else PositionLostError(failed, self._membership.positions[failed])

    def _batch(self, at: KafkaPartition, position: int, found: list[Any]) -> RecordBatch:
        place = logical(self._kafka, at)
        headers = [message.headers() for message in found]
        offsets = [message.offset() for message in found]
        return RecordBatch(
            topic=place.topic,
            partition=place.partition,
            next_offset=position,
            offsets=offsets,
            append_ms=[message.timestamp()[1] for message in found],
            keys=[message.key() for message in found],
            values=[message.value() for message in found],
            headers=headers_of(zip(offsets, headers, strict=True)) if any(headers) else {},
        )


def settings_of(kafka: Kafka, group: str) -> dict[str, Any]:
    """What librdkafka is told, in its own names. Raises LogError where the password can't be read."""
    settings: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
        "queued.max.messages.kbytes": READ_AHEAD_KB_MAX,
        "reconnect.backoff.max.ms": RECONNECT_BACKOFF_MS_MAX,
        "socket.timeout.ms": kafka.request_timeout_ms,
        "security.protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        settings |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username,
            "sasl.password": password(kafka),
        }
    if kafka.security_protocol.endswith("SSL"):
        settings |= {
            "ssl.ca.location": kafka.ssl_cafile,
            "ssl.certificate.location": kafka.ssl_certfile,
            "ssl.key.location": kafka.ssl_keyfile,
            "ssl.endpoint.identification.algorithm": "https" if kafka.ssl_check_hostname else "none",
        }
    return {name: value for name, value in settings.items() if value is not None}
