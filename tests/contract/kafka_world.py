"""Apache Kafka as the EventLog contract suite sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition
from kafka.admin import MemberToRemove

from consumers.kafka_admin import KafkaAdmin
from consumers.kafka_atomic import KafkaAtomicWriter
from consumers.kafka_log import KafkaLog
from consumers.kafka_reader import KafkaReader
from producers.sender import KafkaWriter
from streamer.config.tree import Config
from streamer.events.model import INPUT_TOPICS
from streamer.ports import TopicPartition

Made = TypeVar("Made", KafkaAdmin, KafkaAtomicWriter, KafkaLog, KafkaReader, KafkaWriter)


class KafkaWorld:
    """Makes members, writers and an administrator on the session's broker, with topics and groups of one test alone."""

    name = "kafka"

    def __init__(self, make_config: Callable[..., Config], **kafka: object) -> None:
        self.config = make_config(**kafka)
        self._opened: list[KafkaAdmin | KafkaAtomicWriter | KafkaLog | KafkaReader | KafkaWriter] = []

    def admin(self) -> KafkaAdmin:
        return self._keep(KafkaAdmin(self.config))

    def member(self, group: str, exclusive: bool = True, topics: Sequence[str] = INPUT_TOPICS) -> KafkaLog:
        return self._keep(KafkaLog(self.config, group=self.group(group), topics=topics, exclusive=exclusive))

    def reader(self) -> KafkaReader:
        return self._keep(KafkaReader(self.config))

    def atomic(self, name: str) -> KafkaAtomicWriter:
        return self._keep(KafkaAtomicWriter(self.config, self.group(name)))

    def writer(self) -> KafkaWriter:
        return self._keep(KafkaWriter(self.config))

    def trim(self, place: TopicPartition, before_offset: int) -> None:
        """What retention does: the records of a partition below an offset are gone."""
        with self._client() as client:
            client.delete_records(
                {KafkaPartition(self.config.kafka.topic_prefix + place.topic, place.partition): before_offset}
            )

    def expel(self, group: str) -> None:
        """Takes the group away from its owner without telling him, as an expired session does."""
        name = self.group(group)
        members = [one for one in self._opened if isinstance(one, KafkaLog) and one._group == name and one._generation]
        ids = [one._consumer.group_metadata().member_id for one in members]
        with self._client() as client:
            client.remove_group_members(name, [MemberToRemove(member_id=one) for one in ids])

    def close(self) -> None:
        for one in reversed(self._opened):
            one.close()

    def _client(self) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=self.config.kafka.bootstrap_servers)

    def group(self, group: str) -> str:
        """Its name on the broker."""
        return f"{self.config.namespace}-{group}"

    def _keep(self, made: Made) -> Made:
        self._opened.append(made)
        return made
