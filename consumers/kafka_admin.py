"""Creation and inspection of the topics on Apache Kafka."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    InvalidReplicationFactorError,
    KafkaError,
    NoError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.structs import OffsetAndMetadata

from producers.kafka_client import explaining, open_client
from streamer.config.tree import Config, Kafka
from streamer.events.model import CONTROL, EVENTS, FORGET, INPUT_TOPICS, ITEMS, VECTORS
from streamer.ports import ALL_TOPICS, Committed, GroupInUseError, LogError, Positions, TopicInfo, TopicPartition

COMPACTED = frozenset((ITEMS, VECTORS, FORGET))
COORDINATOR_WAIT_S = 5.0
COORDINATOR_LOOK_S = 0.1
COORDINATOR_COMES = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)
CHECKED = ("message.timestamp.type", "cleanup.policy", "retention.ms", "segment.ms")


class KafkaAdmin:
    """LogAdmin on Apache Kafka. It connects at the first call, so that making one never waits. Threads ask one after the other."""

    def __init__(self, config: Config) -> None:
        self._kafka = config.kafka
        self._client: Any = None
        self._one_asks = threading.RLock()
        """A call that fails closes the client, which another one must not be using."""

    def create_topics(self) -> list[str]:
        """Makes the topics that are missing, waits until each has leaders, and returns their logical names. Idempotent.

        Raises:
            LogError: the broker is away or refuses (too few brokers for ``kafka.replication_factor``, no right to create).
        """
        with self._asking():
            present = {str(topic["name"]) for topic in self._describe(ALL_TOPICS)}
            wanted = {self._full(topic): topic for topic in ALL_TOPICS if self._full(topic) not in present}
            if not wanted:
                return []
            request = {name: _settings(topic, self._kafka) for name, topic in wanted.items()}
            answer = self._admin().create_topics(request, raise_errors=False)
            created = [wanted[topic["name"]] for topic in answer["topics"] if self._was_created(topic)]
            self._admin().wait_for_topics(list(wanted), timeout_ms=self._kafka.request_timeout_ms)
        return created

    def topics(self, topics: Sequence[str] = ALL_TOPICS) -> dict[str, TopicInfo]:
        """Those of ``topics`` that exist, by logical name, with their ids and what is wrong with their settings."""
        logical = {self._full(topic): topic for topic in topics}
        with self._asking():
            found = {logical[str(topic["name"])]: topic for topic in self._describe(topics)}
            settings = self._topic_settings(found)
        return {
            topic: TopicInfo(
                topic_id=str(about["topic_id"]),
                partitions=len(about["partitions"]),
                warnings=tuple(_warnings(self._full(topic), topic, len(about["partitions"]), settings[topic])),
                kept_ms=_kept_ms(settings[topic]),
            )
            for topic, about in found.items()
        }

    def bounds(self, topics: Sequence[str] = INPUT_TOPICS) -> dict[TopicPartition, tuple[int, int]]:
        """(beginning, end) offset of every partition that exists of ``topics``; the end is what committed reads can reach."""
        with self._asking():
            described = self._describe(topics)
            partitions = [
                KafkaPartition(topic["name"], part["partition_index"]) for topic in described for part in topic["partitions"]
            ]
            beginnings = self._offsets(partitions, OffsetSpec.EARLIEST)
            ends = self._offsets(partitions, OffsetSpec.LATEST)
        skip = len(self._kafka.topic_prefix)
        return {TopicPartition(at.topic[skip:], at.partition): (beginnings[at], ends[at]) for at in partitions}

    def bounds_of(self, place: TopicPartition) -> tuple[int, int]:
        """(beginning, end) offset of one partition."""
        at = KafkaPartition(self._full(place.topic), place.partition)
        with self._asking():
            return self._offsets([at], OffsetSpec.EARLIEST)[at], self._offsets([at], OffsetSpec.LATEST)[at]

    def committed(self, group: str) -> dict[TopicPartition, Committed]:
        """What ``group`` has committed in our topics, from its coordinator in one answer; no membership needed."""
        with self._asking():
            return self._offsets_of([group])[group]

    def offsets_of_groups(self, prefix: str) -> dict[str, dict[TopicPartition, Committed]]:
        """What every group whose name begins with ``prefix``, and that this user may see, has committed in our topics."""
        with self._asking():
            listed = self._coordinated(lambda admin: admin.list_groups())
            names = sorted(str(group["group_id"]) for group in listed if str(group["group_id"]).startswith(prefix))
            found = self._offsets_of(names) if names else {}
        return {name: committed for name, committed in found.items() if committed}

    def set_offsets(self, group: str, positions: Positions, metadata: str) -> None:
        """Commits for a group without members, as the coordinator sees it; without positions it only looks.

        Raises:
            GroupInUseError: it has members; a worker that died counts as one until its session times out.
            LogError: the broker is away or refuses; what it says of the first partition refused.
        """
        with self._asking():
            members = self._members(group)
            if members:
                raise _in_use(group, ", ".join(members))
            if not positions:
                return
            wanted = {
                KafkaPartition(self._full(place.topic), place.partition): OffsetAndMetadata(offset, metadata, -1)
                for place, offset in positions.items()
            }
            answer: dict[KafkaPartition, Any] = self._coordinated(lambda admin: _altered(admin, group, wanted))
        refused = {at: error for at, error in answer.items() if error is not NoError}
        for at, error in refused.items():
            if error is UnknownMemberIdError:
                raise _in_use(group, "one that came meanwhile")
            message = (
                f"group {group}: the broker refuses offset {wanted[at].offset} of {at.topic}[{at.partition}]: {error.__name__}"
            )
            raise LogError(message, retriable=bool(getattr(error, "retriable", False)))

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """The ids of those of the logical ``topics`` that exist."""
        with self._asking():
            described = {str(topic["name"]): str(topic["topic_id"]) for topic in self._describe(topics)}
        return {topic: described[self._full(topic)] for topic in topics if self._full(topic) in described}

    def missing(self, topics: Sequence[str]) -> set[str]:
        """Which of the logical ``topics`` do not exist, by the name they have on the broker."""
        with self._asking():
            present = {str(topic["name"]) for topic in self._describe(topics)}
        return {self._full(topic) for topic in topics} - present

    def close(self) -> None:
        """Closes the connection; the next call opens a new one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _offsets_of(self, groups: Sequence[str]) -> dict[str, dict[TopicPartition, Committed]]:
        logical = {self._full(topic): topic for topic in ALL_TOPICS}
        answer = self._coordinated(lambda admin: admin.list_group_offsets(list(groups)))
        return {
            group: {
                TopicPartition(logical[at.topic], at.partition): Committed(found.offset, found.metadata or "")
                for at, found in answer[group].items()
                if at.topic in logical and found.offset >= 0
            }
            for group in groups
        }

    def _coordinated(self, ask: Callable[[Any], Any]) -> Any:
        """The answer of a group's coordinator, which may not be there yet."""
        deadline = time.monotonic() + COORDINATOR_WAIT_S
        while True:
            try:
                return ask(self._admin())
            except COORDINATOR_COMES:
                # a broker that just started, or that makes its offsets topic for the first group of all
                if time.monotonic() > deadline:
                    raise
                time.sleep(COORDINATOR_LOOK_S)

    def _members(self, group: str) -> list[str]:
        try:
            described = self._coordinated(lambda admin: admin.describe_groups([group]))[group]
        except GroupIdNotFoundError:
            return []
        return [f"{member['client_id']} on {member['client_host']}" for member in described["members"]]

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        with self._one_asks:
            try:
                with explaining(self._kafka):
                    yield
            except LogError:
                # whatever state the client is in after an error, the next call starts with a fresh one
                with contextlib.suppress(KafkaError, OSError):
                    self.close()
                raise

    def _admin(self) -> Any:
        if self._client is None:
            self._client = open_client(KafkaAdminClient, self._kafka)
        return self._client

    def _full(self, topic: str) -> str:
        return self._kafka.topic_prefix + topic

    def _describe(self, topics: Iterable[str]) -> list[dict[str, Any]]:
        described = self._admin().describe_topics([self._full(topic) for topic in topics])
        absent = UnknownTopicOrPartitionError.errno
        for topic in described:
            if topic["error_code"] not in (NoError.errno, absent):
                raise for_code(topic["error_code"])(topic["name"])
        return [topic for topic in described if topic["error_code"] != absent]

    def _was_created(self, topic: dict[str, Any]) -> bool:
        error = for_code(topic["error_code"])
        if error is TopicAlreadyExistsError:  # somebody else was quicker, with the same wish
            return False
        if error is InvalidReplicationFactorError:
            raise LogError(
                f"topic {topic['name']} cannot have kafka.replication_factor = {self._kafka.replication_factor}: "
                f"{topic['error_message']}; expected at most the number of brokers, or -1 for the broker's default",
                retriable=False,
            )
        if error is not NoError:
            raise error(f"creating topic {topic['name']}: {topic['error_message']}")
        return True

    def _topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, self._full(topic), dict.fromkeys(CHECKED)) for topic in topics]
        if not resources:
            return {}
        described = self._admin().describe_configs(resources, config_filter="all")["topic"]
        # a worker has no use for the right DescribeConfigs and may lack it: the client then finds a topic without settings
        return {
            topic: {key: found[key]["value"] for key in CHECKED if key in found}
            for topic, found in ((topic, described[self._full(topic)]) for topic in topics)
        }

    def _offsets(self, partitions: Sequence[KafkaPartition], spec: OffsetSpec) -> dict[KafkaPartition, int]:
        found = self._admin().list_partition_offsets(dict.fromkeys(partitions, spec), isolation_level="read_committed")
        return {at: found[at].offset for at in partitions}


def _altered(admin: Any, group: str, wanted: dict[KafkaPartition, OffsetAndMetadata]) -> Any:
    """The answer for each partition; raises where it is that of a coordinator that is not there yet."""
    answer = admin.alter_group_offsets(group, wanted)
    for error in answer.values():
        if error in COORDINATOR_COMES:
            raise error
    return answer


def _in_use(group: str, members: str) -> GroupInUseError:
    return GroupInUseError(
        f"group {group} has live members ({members}): stop every worker of it, standbys too; one that was killed counts until "
        "kafka.session_timeout_ms has passed"
    )


def _settings(topic: str, kafka: Kafka) -> dict[str, Any]:
    configs = {
        # the log's own time says when a record arrived; a producer's clock could refuse or expire records
        "message.timestamp.type": "LogAppendTime",
        # how long events, dead letters and control records are kept is the operator's budget of disk:
        # the broker's default stands, and what retention takes before it is read is counted as lost
        "cleanup.policy": "compact" if topic in COMPACTED else "delete",
    }
    return {
        "num_partitions": 1 if topic == CONTROL else kafka.partitions,
        "replication_factor": kafka.replication_factor,
        "configs": configs,
    }


def _kept_ms(settings: dict[str, str]) -> int | None:
    """A segment goes when its last record is as old as retention wants; its first one may be a segment's time older.

    None where records are kept, and where the settings cannot be seen.
    """
    if not settings:
        return None
    retention_ms = int(settings["retention.ms"])
    return (
        None if "delete" not in settings["cleanup.policy"] or retention_ms < 0 else retention_ms + int(settings["segment.ms"])
    )


def _warnings(name: str, topic: str, partitions: int, settings: dict[str, str]) -> Iterable[str]:
    if not settings:
        yield f"the settings of topic {name} cannot be seen: this user lacks the right DescribeConfigs on it"
        return
    if settings["message.timestamp.type"] != "LogAppendTime":
        yield (
            f"topic {name} has message.timestamp.type={settings['message.timestamp.type']}, expected LogAppendTime: "
            "freshness and lateness would be measured by the producers' clocks; "
            f"kafka-configs --alter --topic {name} --add-config message.timestamp.type=LogAppendTime"
        )
    compacted = "compact" in settings["cleanup.policy"]
    if topic in COMPACTED and not compacted:
        yield (
            f"topic {name} has cleanup.policy={settings['cleanup.policy']}, expected compact: its records would expire; "
            f"kafka-configs --alter --topic {name} --add-config cleanup.policy=compact"
        )
    if topic == EVENTS and compacted:
        yield (
            f"topic {name} has cleanup.policy={settings['cleanup.policy']}, expected delete: compaction keeps one event a user; "
            f"kafka-configs --alter --topic {name} --add-config cleanup.policy=delete"
        )
    if topic == CONTROL and partitions != 1:
        yield (
            f"topic {name} has {partitions} partitions, expected 1: what operators do would have no order; "
            f"delete it and run: streamer topics create"
        )
