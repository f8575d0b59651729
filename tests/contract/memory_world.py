"""The simulations' log in memory as the EventLog contract suite sees it."""

from __future__ import annotations

from collections.abc import Sequence

from memory_log import MemoryAdmin, MemoryAtomicWriter, MemoryBroker, MemoryLog, MemoryReader, MemoryWriter

from streamer.events.model import INPUT_TOPICS
from streamer.ports import TopicPartition


class MemoryWorld:
    name = "memory"

    def __init__(self) -> None:
        self.broker = MemoryBroker(partitions=2, create=False)

    def admin(self) -> MemoryAdmin:
        return MemoryAdmin(self.broker)

    def member(self, group: str, exclusive: bool = True, topics: Sequence[str] = INPUT_TOPICS) -> MemoryLog:
        return MemoryLog(self.broker, group=group, topics=topics, exclusive=exclusive)

    def group(self, group: str) -> str:
        """Its name in the log."""
        return group

    def reader(self) -> MemoryReader:
        return MemoryReader(self.broker)

    def atomic(self, name: str) -> MemoryAtomicWriter:
        return MemoryAtomicWriter(self.broker, name)

    def writer(self) -> MemoryWriter:
        return MemoryWriter(self.broker)

    def trim(self, place: TopicPartition, before_offset: int) -> None:
        self.broker.trim(place, before_offset)

    def expel(self, group: str) -> None:
        self.broker.expel(self.broker.groups[group].members[0])

    def close(self) -> None:
        pass
