"""Membership in a consumer group on Apache Kafka behind the EventLog port."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import MemberState, OffsetAndMetadata

from consumers.assignor import OneOwnerAssignor
from consumers.kafka_admin import KafkaAdmin
from consumers.kafka_fetch import ClientFetch, Fetch, PositionLostError, gap_of, logical, physical
from consumers.membership import Assignment, Membership
from producers.kafka_client import explained, missing_topics, open_client
from streamer.config.tree import Config, Kafka
from streamer.ports import (
    Committed,
    FencedError,
    LogError,
    Polled,
    Positions,
    TopicPartition,
)

log = logging.getLogger(__name__)

SLICE_MS = 100
"""A poll is cut into slices of this length, so that a change of ownership ends it."""
METADATA_AGE_MS_MAX = 30_000
"""New partitions and remade topics are noticed within this time."""
REQUEST_TIMEOUT_MS_MIN = 1_000
CLOSE_TIMEOUT_MS = 3_000
FETCH_MAX_WAIT_MS = 50
"""For a fetch that finds nothing. The client has one on its way to a broker at a time, and the next one may be of quiet partitions only: one that
is sent while a busy partition's records lie fetched. Those that come to the busy one meanwhile wait for it (the client's default: half a second)."""
AWAY_S = 2.0
"""Without a connection for longer than this, the broker counts as away: less may be one reconnect."""


class KafkaLog:
    """EventLog on Apache Kafka. It connects and joins in ``poll``, so that making one never waits.

    Args:
        config: the section ``kafka``.
        group: the consumer group: its generation fences commits.
        topics: logical names; all of them must exist before the member joins.
        exclusive: one member of the group owns all partitions and the others stand by; else members share them.

    ``generation`` of an exclusive member is the group generation in which its ownership began: it stays while the group
    rebalances around an owner that keeps every partition, so a standby that comes or goes costs the owner no state.
    A sharing member gets a new one at every rebalance in which it has partitions.

    While no broker can be reached, ``poll`` raises LogError (retriable) after ``timeout_ms``, and goes on by itself later.
    """

    def __init__(self, config: Config, *, group: str, topics: Sequence[str], exclusive: bool) -> None:
        self._kafka = config.kafka
        self._group = group
        self._topics = tuple(topics)
        self._exclusive = exclusive
        # the polling thread asks it: a broker that does not answer must not cost the ownership
        self._admin = KafkaAdmin(msgspec.structs.replace(config, kafka=_impatient(config.kafka)))
        self._consumer: Any = None
        self._fetch: Fetch
        self._networks: list[Any] = []
        self._membership = Membership(exclusive=exclusive)
        self._generation: int | None = None
        self._topic_ids: dict[str, str] = {}
        self._absent: set[str] = set()
        self._connected_s = 0.0
        self._closed = False

    def poll(self, timeout_ms: int, *, paused: bool = False) -> Polled:
        """Waits up to ``timeout_ms`` for records; returns at once when the generation has changed.

        It takes longer while it connects, and while the group rebalances: up to half of ``kafka.max_poll_interval_ms``.

        Raises:
            TopicsMissingError: before the member joined, or when a topic was deleted.
            OffsetGapError: a position lies outside what the log holds; seek and go on.
            LogError: the broker is away (retriable), or a topic was deleted and made again (not retriable).
        """
        consumer = self._joined()
        deadline = time.monotonic() + timeout_ms / 1000
        # While the group rebalances nothing is read and no commit is taken: a poll stays until that is over, within half the
        # poll interval.
        patience = deadline + self._kafka.max_poll_interval_ms / 2000
        before = self._generation
        while True:
            left_ms = math.ceil((deadline - time.monotonic()) * 1000)  # rounded down, the last millisecond would be many slices
            joining = consumer.group_metadata().state is MemberState.REBALANCING
            self._slice(
                SLICE_MS if joining else min(max(left_ms, 0), SLICE_MS), paused=paused or not self._membership.positioned
            )
            self._settle()
            batches = self._fetch.batches() if self._membership.positioned and not paused else []
            if batches or self._generation != before:
                return Polled(batches, self._generation)
            joining = consumer.group_metadata().state is MemberState.REBALANCING
            if time.monotonic() >= (patience if joining else deadline):
                self._require_broker()
                if self._absent:
                    self._require_topics()
                return Polled([], self._generation)

    def seek(self, positions: Positions) -> None:
        """Sets the next offset of partitions owned by this member; leaves out those that others own, or that it does not know of yet.

        Raises:
            FencedError: this member owns nothing.
            LogError: a partition that is not of this log's topics, or an owned one without a position.
        """
        if self._generation is None:
            raise FencedError(
                f"seek refused: this member of group {self._group} owns no partitions; poll until a generation is given"
            )
        owned = self._membership.owned
        wanted = {physical(self._kafka, at): offset for at, offset in positions.items()}
        unknown = [at for at in wanted if logical(self._kafka, at).topic not in self._topics]
        if unknown:
            raise LogError(f"positions for {_names(unknown)}, which group {self._group} does not read", retriable=False)
        if self._exclusive and wanted.keys() - owned:
            # partitions that were added a moment ago: once the client knows of them, a rebalance makes them this member's too
            self._networks[0].cluster.request_update()
        without = owned - wanted.keys() - self._membership.positions.keys()
        if without:
            raise LogError(
                f"no position for {_names(without)} of group {self._group}; expected one for every owned partition, "
                "since nothing is read before all have one",
                retriable=False,
            )
        for at, offset in wanted.items():
            if at in owned:
                self._fetch.seek(at, offset)
                self._membership.positions[at] = offset

    def committed(self) -> dict[TopicPartition, Committed]:
        """What the group has committed, for every partition of ``topics`` that has a commit; a standby may ask too."""
        return {at: found for at, found in self._admin.committed(self._group).items() if at.topic in self._topics}

    def commit(self, positions: Positions, metadata: str) -> None:
        """Commits all positions at once, synchronously, with the same metadata.

        Raises:
            FencedError: this member owns the partitions no more, or has not yet set the positions of its generation.
            LogError: not retriable when a topic was deleted and made again; retriable while the group rebalances or the broker is away: whether the commit landed is then
                unknown, and the same commit may be made again.
        """
        if self._generation is None or not self._membership.positioned:
            raise self._fenced("it owns no partitions" if self._generation is None else "its positions are not set")
        # the client sees new metadata now and then only; no snapshot may be made the valid one across a topic made again
        self._require_same(self._admin.ids(self._topics))
        offsets = {physical(self._kafka, at): OffsetAndMetadata(offset, metadata, -1) for at, offset in positions.items()}
        # half the poll interval: a commit that hangs must not cost the ownership
        timeout_ms = min(self._kafka.request_timeout_ms, self._kafka.max_poll_interval_ms // 2)
        try:
            self._consumer.commit(offsets, timeout_ms=timeout_ms)
        except KafkaError as error:
            self._refused(error, metadata)

    def close(self) -> None:
        """Leaves the group, so that a standby takes over at once, and closes the connections."""
        consumer, self._consumer, self._closed, self._generation = self._consumer, None, True, None
        with contextlib.suppress(KafkaError, OSError):
            if consumer is not None:
                self._fetch.close()
                consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        with contextlib.suppress(KafkaError, OSError):
            self._admin.close()

    def _joined(self) -> Any:
        if self._closed:
            raise LogError(f"this member of group {self._group} is closed; make a new one", retriable=False)
        if self._consumer is None:
            self._require_topics()
            self._consumer = self._connect()
        return self._consumer

    def _connect(self) -> Any:
        kafka = self._kafka
        assignor = OneOwnerAssignor() if self._exclusive else RangePartitionAssignor
        networks: list[Any] = []
        consumer = open_client(
            KafkaConsumer,
            kafka,
            networks=networks,
            group_id=self._group,
            partition_assignment_strategy=[assignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            max_poll_records=kafka.max_poll_records,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            max_poll_interval_ms=kafka.max_poll_interval_ms,
            session_timeout_ms=kafka.session_timeout_ms,
            heartbeat_interval_ms=max(100, min(3_000, kafka.session_timeout_ms // 6)),
            metadata_max_age_ms=METADATA_AGE_MS_MAX,
        )
        self._networks = networks
        self._connected_s = time.monotonic()
        _keep_answers(consumer._coordinator)  # noqa: SLF001
        _wait_beside_heartbeats(consumer._coordinator)  # noqa: SLF001
        self._membership.watch(consumer)
        self._fetch = _fetch(self._kafka, consumer, self._membership, self._group)
        consumer.subscribe([self._kafka.topic_prefix + topic for topic in self._topics], listener=self._membership)
        return consumer

    def _slice(self, timeout_ms: int, *, paused: bool) -> None:
        try:
            self._fetch.poll(timeout_ms, paused=paused)
        except PositionLostError as lost:
            place = logical(self._kafka, lost.at)
            raise gap_of(lost.at, place, lost.position, self._admin.bounds_of(place)) from lost

    def _settle(self) -> None:
        """Takes over what the last slice's rebalance decided, if there was one."""
        assignment = self._membership.take()
        if assignment is not None:
            self._adopt(assignment)
        if self._generation is None:
            return
        self._require_same(self._ids())

    def _require_same(self, ids: dict[str, str]) -> None:
        for topic, topic_id in ids.items():
            if self._topic_ids.setdefault(topic, topic_id) != topic_id:
                raise LogError(
                    f"topic {self._kafka.topic_prefix}{topic} was deleted and made again (id {self._topic_ids[topic]}, "
                    f"now {topic_id}): positions of the old one mean nothing in the new one; restart the worker, "
                    "which compares topic ids with those of its snapshot",
                    retriable=False,
                )

    def _adopt(self, assignment: Assignment) -> None:
        self._absent = set(self._topics) - {logical(self._kafka, at).topic for at in assignment.partitions}
        if self._exclusive and assignment.partitions and self._absent:
            # either this client does not know them yet, and a rebalance follows, or somebody deleted them
            self._generation = None
            self._membership.disown()
            return
        before = self._generation
        self._generation = self._membership.adopt(assignment)
        if self._generation != before:
            self._topic_ids = {}
            log.info("group %s: generation %s, %d partitions", self._group, self._generation, len(assignment.partitions))

    def _ids(self) -> dict[str, str]:
        """The ids of the topics as far as the client knows them now."""
        cluster = self._networks[0].cluster
        ids = {topic: cluster.topic_id(self._kafka.topic_prefix + topic) for topic in self._topics}
        return {topic: str(topic_id) for topic, topic_id in ids.items() if topic_id is not None and topic_id.int}

    def _require_topics(self) -> None:
        missing = self._admin.missing(self._topics)
        if missing:
            raise missing_topics(self._kafka, missing)

    def _require_broker(self) -> None:
        network = self._networks[0]
        now = time.monotonic()
        if any(network.connected(broker.node_id) for broker in network.cluster.brokers()):
            self._connected_s = now
        elif now - self._connected_s > AWAY_S:
            raise LogError(
                f"no broker of Kafka at {self._kafka.bootstrap_servers} (kafka.bootstrap_servers) has been reachable for "
                f"{now - self._connected_s:.0f} s; waiting for one to come back",
                retriable=True,
            )

    def _refused(self, error: KafkaError, metadata: str) -> NoReturn:
        cause = error.args[0] if isinstance(error, CommitFailedError) and error.args else error
        if isinstance(cause, RebalanceInProgressError):
            raise LogError(
                f"commit of group {self._group} not made: the group is rebalancing; poll, and commit again if the generation stays",
                retriable=True,
            ) from error
        gone = CommitFailedError | IllegalGenerationError | UnknownMemberIdError | FencedInstanceIdError
        if isinstance(error, gone):
            raise self._fenced(str(error)) from error
        if isinstance(error, OffsetMetadataTooLargeError):
            raise LogError(
                f"commit of group {self._group} refused: its metadata has {len(metadata.encode())} bytes, "
                "more than the broker's offset.metadata.max.bytes allows",
                retriable=False,
            ) from error
        raise explained(self._kafka, error) from error

    def _fenced(self, why: str) -> FencedError:
        return FencedError(
            f"commit of group {self._group} under generation {self._generation} refused: {why}; "
            "discard the state and poll until a generation is given"
        )


def _impatient(kafka: Kafka) -> Kafka:
    """Settings under which two requests, one after the other, take no more than half of the poll interval."""
    timeout_ms = max(REQUEST_TIMEOUT_MS_MIN, kafka.max_poll_interval_ms // 4)
    return msgspec.structs.replace(kafka, request_timeout_ms=min(kafka.request_timeout_ms, timeout_ms))


def _keep_answers(coordinator: Any) -> None:
    """Lets a join that was answered between two slices count.

    The client would forget it and begin another one, which the whole group must answer. Where cores are short there is much time
    between slices, and an owner who misses a whole generation cannot know whether his state is still good.
    """
    join = coordinator.join_group_async

    async def join_or_take_answer(timeout_ms: float | None = None) -> bool:
        task = coordinator._join_task  # noqa: SLF001
        if task is not None and task.is_done and task.succeeded() and coordinator.state is MemberState.REBALANCING:

            async def answered() -> bytes:
                return bytes(task.value)

            coordinator._join_task = coordinator._manager.call_soon(answered)  # noqa: SLF001
        return bool(await join(timeout_ms=timeout_ms))

    coordinator.join_group_async = join_or_take_answer


def _wait_beside_heartbeats(coordinator: Any) -> None:
    """Lets a poll wait for records while a heartbeat is due: a thread of the client sends it.

    The client would not wait at all as long as one has no answer. While a broker stands still its poll would turn thousands of times a second, and
    each turn would hang something on the fetch that is on its way: half a core, and 5 MiB of memory a second.
    """
    left_s = coordinator.time_to_next_poll
    coordinator.time_to_next_poll = lambda: max(left_s(), SLICE_MS / 1_000)


def _names(partitions: Sequence[KafkaPartition] | set[KafkaPartition] | frozenset[KafkaPartition]) -> str:
    return ", ".join(sorted(f"{at.topic}-{at.partition}" for at in partitions))


def _fetch(kafka: Kafka, consumer: Any, membership: Membership, group: str) -> Fetch:
    if kafka.client == "kafka-python":
        return ClientFetch(kafka, consumer, membership)
    from consumers.kafka_fast import FastFetch  # noqa: PLC0415 - a package that few have installed

    return FastFetch(kafka, consumer, membership, group)
