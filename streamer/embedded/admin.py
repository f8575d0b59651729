"""Making, inspecting and trimming the topics of the embedded log."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence

from streamer.config.tree import Config
from streamer.embedded.database import Database, PartitionRow
from streamer.embedded.log import EmbeddedLog
from streamer.events.model import CONTROL, INPUT_TOPICS
from streamer.ports import (
    ALL_TOPICS,
    Committed,
    GroupInUseError,
    LogError,
    Positions,
    TopicInfo,
    TopicPartition,
    TopicsMissingError,
)

_COMMITS_OF_GROUPS = """SELECT group_name, partition_id, next_offset, metadata FROM commits
                        WHERE substr(group_name, 1, ?) = ? ORDER BY group_name, partition_id"""


class EmbeddedAdmin:
    """LogAdmin of the embedded log in ``config.log.root``; the one who makes its file."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._prefix = config.kafka.topic_prefix
        self._partitions = config.kafka.partitions
        self._database = Database(config, synchronous="FULL")

    def create_topics(self) -> list[str]:
        """Makes the topics that are missing; returns their logical names. Idempotent, safe beside other processes."""
        self._database.create()
        with self._database.transaction() as connection:
            present = {name for (name,) in connection.execute("SELECT name FROM topics")}
            created = [topic for topic in ALL_TOPICS if self._prefix + topic not in present]
            for topic in created:
                name = self._prefix + topic
                count = 1 if topic == CONTROL else self._partitions
                connection.execute("INSERT INTO topics VALUES (?, ?, ?)", (name, str(uuid.uuid4()), count))
                rows = [(name, partition) for partition in range(count)]
                connection.executemany("INSERT INTO partitions (topic, partition) VALUES (?, ?)", rows)
        return created

    def topics(self, topics: Sequence[str] = ALL_TOPICS) -> dict[str, TopicInfo]:
        """Those of ``topics`` that exist, by logical name."""
        try:
            with self._database.reading() as connection:
                rows = connection.execute("SELECT name, topic_id, partitions FROM topics").fetchall()
        except TopicsMissingError:
            return {}
        found = {name: TopicInfo(topic_id, partitions) for name, topic_id, partitions in rows}
        return {topic: found[self._prefix + topic] for topic in topics if self._prefix + topic in found}

    def bounds(self, topics: Sequence[str] = INPUT_TOPICS) -> dict[TopicPartition, tuple[int, int]]:
        """(beginning, end) offset of every partition of those of ``topics`` that exist."""
        return {place: (row.beginning, row.end) for place, row in self._rows(tuple(topics)).items()}

    def committed(self, group: str) -> dict[TopicPartition, Committed]:
        """What ``group`` has committed in our topics."""
        return self.offsets_of_groups(group).get(group, {})

    def offsets_of_groups(self, prefix: str) -> dict[str, dict[TopicPartition, Committed]]:
        """What every group whose name begins with ``prefix`` has committed in our topics."""
        places = {row.id: place for place, row in self._rows(INPUT_TOPICS).items()}
        if not places:
            return {}
        with self._database.reading() as connection:
            rows = connection.execute(_COMMITS_OF_GROUPS, (len(prefix), prefix)).fetchall()
        found: dict[str, dict[TopicPartition, Committed]] = {}
        for group, partition_id, next_offset, metadata in rows:
            if partition_id in places:
                found.setdefault(group, {})[places[partition_id]] = Committed(next_offset, metadata)
        return found

    def set_offsets(self, group: str, positions: Positions, metadata: str) -> None:
        """Commits for a group whose lock nobody holds; it is held meanwhile. Without positions it only looks.

        Raises GroupInUseError where a worker holds the lock, LogError where the file refuses.
        """
        topics = sorted({place.topic for place in positions}) or INPUT_TOPICS
        member = EmbeddedLog(self._config, group=group, topics=topics, exclusive=True, passing=True)
        with contextlib.closing(member):
            if member.poll(0, paused=True).generation is None:
                message = f"a worker holds the lock of group {group}: stop it first, and every standby"
                raise GroupInUseError(message)
            if positions:
                member.commit(positions, metadata)

    def trim(self, place: TopicPartition, before_offset: int) -> None:
        """Gives up the records of a partition below ``before_offset``. Nothing else ever removes a record.

        Raises LogError where the partition does not exist or ends before that offset.
        """
        with self._database.transaction() as connection:
            row = self._rows((place.topic,)).get(place)
            if row is None or before_offset > row.end:
                have = "no such partition" if row is None else f"[{row.beginning}, {row.end})"
                message = f"cannot trim {place.topic}-{place.partition} before offset {before_offset}: the log holds {have}"
                raise LogError(message, retriable=False)
            connection.execute(
                "DELETE FROM batches WHERE partition_id = ? AND base_offset + count <= ?", (row.id, before_offset)
            )
            connection.execute("UPDATE partitions SET beginning = max(beginning, ?) WHERE id = ?", (before_offset, row.id))

    def close(self) -> None:
        """Frees what is held."""
        self._database.close()

    def _rows(self, topics: tuple[str, ...]) -> dict[TopicPartition, PartitionRow]:
        try:
            return self._database.partitions(topics)
        except TopicsMissingError:
            return {}
