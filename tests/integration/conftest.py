"""Fixtures of the tests of commands, and of those of the whole line."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import T0, Here
from kafka_server import KafkaServer
from line import Line, line_settings

from streamer.config import Config
from streamer.embedded.valkey import ValkeyProcess


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def here(tmp_path: Path, _restored_logging: None) -> Here:
    """An embedded log, and all folders in the test's own."""
    settings = {
        "STREAMER_NAMESPACE": "shop",
        "STREAMER_LOG__KIND": "embedded",
        "STREAMER_LOG__ROOT": str(tmp_path / "log"),
        "STREAMER_KAFKA__PARTITIONS": "2",
        "STREAMER_REDIS__ROOT": str(tmp_path / "valkey"),
        "STREAMER_SNAPSHOTS__ROOT": str(tmp_path / "snapshots"),
        "STREAMER_ENCODER__CACHE_ROOT": str(tmp_path / "vectors"),
        "STREAMER_HTTP__PORT": "0",
    }
    return Here(settings)


@pytest.fixture
def kafka_here(here: Here, kafka_config: Callable[..., Config]) -> Here:
    """The same on the session's broker."""
    config = kafka_config()
    return Here(
        here.settings
        | {
            "STREAMER_NAMESPACE": config.namespace,
            "STREAMER_LOG__KIND": "kafka",
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
            "STREAMER_KAFKA__TOPIC_PREFIX": config.kafka.topic_prefix,
        }
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Forty clicks of four users, a second apart, and one line that is no event."""
    events = [
        {"event_id": f"e{n}", "type": "click", "user_id": f"u{n % 4}", "item_id": f"i{n % 7}", "timestamp": T0 + 1_000 * n}
        for n in range(40)
    ]
    path = tmp_path / "clicks.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + "not an event\n")
    return path


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"item_id": f"i{n}", "title": f"Item number {n}"}) + "\n" for n in range(7)))
    return path


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker that the test may stop, suspend and kill."""
    server = KafkaServer(tmp_path / "kafka")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the whole session; each test has a namespace of its own."""
    with contextlib.closing(ValkeyProcess(tmp_path_factory.mktemp("valkey"))) as server:
        yield server.url


@pytest.fixture
def kafka_line(
    kafka_server: KafkaServer, valkey_url: str, tmp_path: Path, _restored_logging: None
) -> Iterator[Callable[..., Line]]:
    """Makes lines on the session's broker and Valkey, each with topics, group and lists of its own."""
    with contextlib.ExitStack() as stack:

        def make(**settings: str) -> Line:
            made = line_settings(tmp_path, "kafka") | {
                "STREAMER_KAFKA__BOOTSTRAP_SERVERS": kafka_server.bootstrap,
                "STREAMER_REDIS__URL": valkey_url,
            }
            return stack.enter_context(contextlib.closing(Line(made | settings)))

        yield make


@pytest.fixture
def embedded_line(tmp_path: Path, _restored_logging: None) -> Iterator[Callable[..., Line]]:
    """Makes lines on embedded logs, each with a folder and a Valkey child process of its own."""
    with contextlib.ExitStack() as stack:

        def make(**settings: str) -> Line:
            return stack.enter_context(contextlib.closing(Line(line_settings(tmp_path, "embedded") | settings)))

        yield make
