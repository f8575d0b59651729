"""The embedded log as the EventLog contract suite sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from streamer.config.tree import Config, Kafka, Log
from streamer.embedded import EmbeddedAdmin, EmbeddedAtomicWriter, EmbeddedLog, EmbeddedReader, EmbeddedWriter
from streamer.events.model import INPUT_TOPICS
from streamer.ports import TopicPartition

Made = TypeVar("Made", EmbeddedAdmin, EmbeddedAtomicWriter, EmbeddedLog, EmbeddedReader, EmbeddedWriter)


class EmbeddedWorld:
    """Makes members, writers and an administrator on one embedded log in a folder of the test's own."""

    name = "embedded"

    def __init__(self, tmp_path: Path, **kafka: object) -> None:
        settings: dict[str, object] = {"partitions": 2, "request_timeout_ms": 5_000} | kafka
        self.root = tmp_path / "log"
        self.config = Config(log=Log(kind="embedded", root=str(self.root)), kafka=Kafka(**settings))  # type: ignore[arg-type]
        self._opened: list[EmbeddedAdmin | EmbeddedAtomicWriter | EmbeddedLog | EmbeddedReader | EmbeddedWriter] = []

    def admin(self) -> EmbeddedAdmin:
        return self._keep(EmbeddedAdmin(self.config))

    def member(self, group: str, exclusive: bool = True, topics: Sequence[str] = INPUT_TOPICS) -> EmbeddedLog:
        return self._keep(EmbeddedLog(self.config, group=group, topics=topics, exclusive=exclusive))

    def group(self, group: str) -> str:
        """Its name in the log."""
        return group

    def reader(self) -> EmbeddedReader:
        return self._keep(EmbeddedReader(self.config))

    def atomic(self, name: str) -> EmbeddedAtomicWriter:
        return self._keep(EmbeddedAtomicWriter(self.config, name))

    def writer(self) -> EmbeddedWriter:
        return self._keep(EmbeddedWriter(self.config))

    def trim(self, place: TopicPartition, before_offset: int) -> None:
        """What retention does: the records of a partition below an offset are gone."""
        self.admin().trim(place, before_offset)

    def expel(self, group: str) -> None:
        """Takes the group away from its owner without telling him: his lock file goes, as a cleaner of old files may do."""
        (self.root / "groups" / f"{group}.lock").unlink()

    def close(self) -> None:
        for one in reversed(self._opened):
            one.close()

    def _keep(self, made: Made) -> Made:
        self._opened.append(made)
        return made
