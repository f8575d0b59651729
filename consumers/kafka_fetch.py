"""How a member of a Kafka group gets its records: kafka-python's own fetching, and what every way of fetching shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Protocol

from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError

from consumers.membership import Membership
from producers.kafka_client import explained
from streamer.config.tree import Kafka
from streamer.ports import Headers, OffsetGapError, RecordBatch, TopicPartition

_HEADERS = attrgetter("headers")


class PositionLostError(Exception):
    """A position lies outside what the log holds."""

    def __init__(self, at: KafkaPartition, position: int) -> None:
        super().__init__(f"{at.topic}-{at.partition} at {position}")
        self.at = at
        self.position = position


class Fetch(Protocol):
    """The records of the partitions that a membership owns. One thread calls it.

    Every slice keeps the membership alive: rebalances happen inside ``poll``. What ``poll`` found is given out by ``batches``, which
    moves the membership's positions, or is dropped where the membership has changed meanwhile: its next owner begins with ``seek``.
    """

    def poll(self, timeout_ms: int, *, paused: bool) -> None:
        """Waits up to ``timeout_ms`` for records of the owned partitions; none are taken while ``paused``.

        Raises PositionLostError, and LogError for what the broker refuses.
        """
        ...

    def batches(self) -> list[RecordBatch]:
        """What the last slice found, with the positions after it; an empty batch where only the position has moved."""
        ...

    def seek(self, at: KafkaPartition, offset: int) -> None:
        """Sets the next offset of an owned partition; the membership's positions follow it."""
        ...

    def close(self) -> None:
        """Closes what it has opened beside the member's own consumer."""
        ...


class ClientFetch:
    """The member's own consumer fetches."""

    def __init__(self, kafka: Kafka, consumer: Any, membership: Membership) -> None:
        self._kafka = kafka
        self._consumer = consumer
        self._membership = membership
        self._records: dict[KafkaPartition, list[Any]] = {}

    def poll(self, timeout_ms: int, *, paused: bool) -> None:
        """One slice of the consumer's poll."""
        self._pause(wanted=paused)
        self._records = {}
        try:
            self._records = self._consumer.poll(timeout_ms)
        except OffsetOutOfRangeError as error:
            raise PositionLostError(*next(iter(error.args[0].items()))) from error
        except LogTruncationError as error:
            at = next(iter(error.divergent_offsets))
            raise PositionLostError(at, self._membership.positions[at]) from error
        except KafkaError as error:
            raise explained(self._kafka, error) from error

    def batches(self) -> list[RecordBatch]:
        """The records of the slice."""
        positions = self._membership.positions
        records, self._records = self._records, {}
        batches = []
        # a poll without records may still have passed transaction markers: a position that moved is worth an empty batch
        for at in records or self._membership.owned:
            position = self._position(at)
            if position is not None and (records or position != positions[at]):
                positions[at] = position
                batches.append(batch_of(logical(self._kafka, at), position, records.get(at, [])))
        return batches

    def seek(self, at: KafkaPartition, offset: int) -> None:
        """Sets the consumer's position."""
        self._consumer.seek(at, offset)

    def close(self) -> None:
        """Nothing: the consumer is the member's."""

    def _position(self, at: KafkaPartition) -> int | None:
        """As the consumer has it. Its own ``position`` looks first whether every partition's leader is still the same, which a poll has just done."""
        known = self._consumer._subscription.assignment.get(at)  # noqa: SLF001
        position = None if known is None else known.position
        return None if position is None else int(position.offset)

    def _pause(self, *, wanted: bool) -> None:
        # all or none: a partition resumed beside others that were not paused can starve for ever in this client
        if wanted != self._membership.paused:
            change = self._consumer.pause if wanted else self._consumer.resume
            change(*self._consumer.assignment())
            self._membership.paused = wanted


def physical(kafka: Kafka, at: TopicPartition) -> KafkaPartition:
    """The partition as the broker names it."""
    return KafkaPartition(kafka.topic_prefix + at.topic, at.partition)


def logical(kafka: Kafka, at: KafkaPartition) -> TopicPartition:
    """The partition without the prefix."""
    return TopicPartition(at.topic[len(kafka.topic_prefix) :], at.partition)


def batch_of(place: TopicPartition, position: int, found: Sequence[Any]) -> RecordBatch:
    """kafka-python's records of one partition as columns; ``position`` is the next offset."""
    return RecordBatch(
        topic=place.topic,
        partition=place.partition,
        next_offset=position,
        offsets=[record.offset for record in found],
        append_ms=[record.timestamp for record in found],
        keys=[record.key for record in found],
        values=[record.value for record in found],
        headers=headers_of((one.offset, one.headers) for one in found) if any(map(_HEADERS, found)) else {},
    )


def headers_of(found: Iterable[tuple[int, Sequence[tuple[str, bytes | None]] | None]]) -> dict[int, Headers]:
    """By offset, of the records that have any; Kafka knows header values of null, which count as empty."""
    return {offset: tuple((name, value or b"") for name, value in headers) for offset, headers in found if headers}


def gap_of(at: KafkaPartition, place: TopicPartition, position: int, bounds: tuple[int, int]) -> OffsetGapError:
    """The error for a position outside of what Kafka holds."""
    beginning, end = bounds
    return OffsetGapError(
        f"{at.topic}-{at.partition}: position {position} lies outside what Kafka holds, offsets {beginning} to {end}; "
        "seek to the beginning and count what is lost",
        partition=place,
        position=position,
        beginning=beginning,
        end=end,
    )
