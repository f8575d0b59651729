"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka_server import KafkaServer
from s3_server import S3Server

from streamer.config.tree import Config, Kafka

REAL_PROCESSES = ("contract", "integration", "chaos")
"""Folders of tests that wait for real servers and processes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One of real processes that fails is run once more: whatever else the machine does may have cost it its time. The summary tells."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in REAL_PROCESSES:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One broker for the whole session. A test that stops or suspends brokers starts one of its own."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def kafka_config(kafka_server: KafkaServer) -> Callable[..., Config]:
    """Makes configurations on the session's broker: topics and groups of this test alone, short timeouts."""
    unique = uuid.uuid4().hex[:10]

    def make(**settings: object) -> Config:
        defaults: dict[str, object] = {
            "bootstrap_servers": kafka_server.bootstrap,
            "topic_prefix": f"{unique}.",
            "partitions": 2,
            "session_timeout_ms": 3_000,
            "max_poll_interval_ms": 3_000,
        }
        return Config(namespace=unique, kafka=Kafka(**(defaults | settings)))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One object store for the whole session; each test makes a bucket of its own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def s3_root(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """``s3://bucket/prefix`` of a new bucket, with the environment in which the backend finds it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.bucket()}/snapshots"
