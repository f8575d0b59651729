"""The world of a run: a real Apache Kafka, a real Valkey, the log filled once with synthetic traffic."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Literal

from redis import Redis

from benchmarks import traffic
from consumers.compose import open_admin, open_store, open_writer
from streamer.config import tree
from streamer.config.tree import Config, Kafka, Snapshots
from streamer.embedded import ValkeyProcess
from streamer.events.model import EVENTS
from streamer.ports import OutRecord, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kafka_server import LIBS, KafkaServer

FLUSH_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class World:
    """Servers that run, and what the log holds."""

    root: Path
    kafka: KafkaServer
    valkey: ValkeyProcess
    ends: dict[TopicPartition, int]
    event_bytes_mean: float
    produced_per_s: float
    snapshots_interval_ms: int = Snapshots().interval_ms
    client: Literal["kafka-python", "confluent"] = Kafka().client
    """What reads the log."""
    topic_prefix: str = ""
    """Of topics beside those of the same broker without one."""
    partitions: int = Kafka().partitions
    """That its topics are made with."""

    @property
    def events(self) -> int:
        """Events on the log."""
        return sum(self.ends.values())

    def with_fast_client(self) -> World | None:
        """The same world read by confluent-kafka, None where that is not installed."""
        return replace(self, client="confluent") if find_spec("confluent_kafka") else None

    def store_version(self) -> str:
        """The Valkey server's version."""
        with contextlib.closing(Redis.from_url(self.valkey.url)) as client:
            info = client.info("server")
        return str(info.get("valkey_version", info["redis_version"]))

    def config(self, namespace: str) -> Config:
        """Shipped defaults, but for where servers and files are."""
        return Config(
            namespace=namespace,
            kafka=Kafka(
                bootstrap_servers=self.kafka.bootstrap,
                client=self.client,
                topic_prefix=self.topic_prefix,
                partitions=self.partitions,
            ),
            redis=tree.Redis(url=self.valkey.url),
            snapshots=Snapshots(root=str(self.root / "snapshots"), interval_ms=self.snapshots_interval_ms),
        )

    def settings(self, namespace: str) -> dict[str, str]:
        """The same for a process, which serves its pages on a free port."""
        config = self.config(namespace)
        return {
            "STREAMER_NAMESPACE": namespace,
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
            "STREAMER_KAFKA__TOPIC_PREFIX": config.kafka.topic_prefix,
            "STREAMER_REDIS__URL": self.valkey.url,
            "STREAMER_SNAPSHOTS__ROOT": config.snapshots.root,
            "STREAMER_HTTP__PORT": "0",
        }

    def forget(self, namespace: str) -> None:
        """Deletes the lists of a namespace."""
        with contextlib.closing(open_store(self.config(namespace), self.valkey.url)) as store:
            store.delete_namespace()


@contextlib.contextmanager
def world(root: Path, shape: traffic.Shape) -> Iterator[World]:
    """Starts the servers, makes the topics, fills the log; ends what it started."""
    with servers(root) as bare:
        yield fill(bare, shape)


@contextlib.contextmanager
def servers(root: Path) -> Iterator[World]:
    """Starts the servers, without topics; ends what it started. Valkey keeps no append-only file, as it does not unless told to: lists are derived."""
    kafka = KafkaServer(root / "kafka", for_long=True)
    kafka.start()
    try:
        with contextlib.closing(ValkeyProcess(root / "valkey")) as valkey:
            with contextlib.closing(Redis.from_url(valkey.url)) as client:
                client.config_set("appendonly", "no")
            yield World(root, kafka, valkey, {}, 0.0, 0.0)
    finally:
        kafka.stop()


def fill(empty: World, shape: traffic.Shape) -> World:
    """Makes the topics and sends the traffic as every producer of ours does."""
    config = empty.config("fill")
    records = [OutRecord(EVENTS, key, value) for key, value in traffic.events(shape)]
    with contextlib.closing(open_admin(config)) as admin:
        admin.create_topics()
        with contextlib.closing(open_writer(config)) as writer:
            started_s = perf_counter()
            for record in records:
                writer.send(record)
            writer.flush(FLUSH_TIMEOUT_S)
            took_s = perf_counter() - started_s
        ends = {place: end for place, (_, end) in admin.bounds().items() if place.topic == EVENTS}
    size = sum(len(record.value or b"") for record in records)
    return replace(empty, ends=ends, event_bytes_mean=size / len(records), produced_per_s=len(records) / took_s)


def kafka_version() -> str:
    """The broker's version, from the name of its jar."""
    return next((path.stem.removeprefix("kafka_2.13-") for path in LIBS.glob("kafka_2.13-*.jar")), "unknown")
