"""The worlds that the EventLog contract suite runs in: one a log adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import pytest
from embedded_world import EmbeddedWorld
from kafka_world import KafkaWorld
from memory_world import MemoryWorld

from streamer.events.model import INPUT_TOPICS
from streamer.ports import AtomicWriter, EventLog, LogAdmin, LogReader, LogWriter, TopicPartition


class LogWorld(Protocol):
    """A log without topics, and the hands to work it; what it makes is closed when the test is over."""

    name: str

    def admin(self) -> LogAdmin: ...

    def member(self, group: str, exclusive: bool = True, topics: Sequence[str] = INPUT_TOPICS) -> EventLog: ...

    def reader(self) -> LogReader: ...

    def atomic(self, name: str) -> AtomicWriter: ...

    def writer(self) -> LogWriter: ...

    def trim(self, place: TopicPartition, before_offset: int) -> None: ...

    def expel(self, group: str) -> None: ...

    def close(self) -> None: ...


FAST = pytest.param(
    "kafka-fast",
    marks=pytest.mark.skipif(not find_spec("confluent_kafka"), reason="confluent-kafka (extra fast) is not installed"),
)


@pytest.fixture(params=["kafka", FAST, "embedded", "memory"])
def empty_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogWorld]:
    """A log on which the topics were not made yet; they will have two partitions."""
    world: LogWorld
    if request.param in {"kafka", "kafka-fast"}:
        client = "confluent" if request.param == "kafka-fast" else "kafka-python"
        world = KafkaWorld(request.getfixturevalue("kafka_config"), client=client)
    elif request.param == "embedded":
        world = EmbeddedWorld(tmp_path)
    else:
        world = MemoryWorld()
    yield world
    world.close()


@pytest.fixture
def world(empty_world: LogWorld) -> LogWorld:
    """A log whose topics exist."""
    empty_world.admin().create_topics()
    return empty_world
