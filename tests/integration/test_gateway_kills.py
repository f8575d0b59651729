"""Gateways and brokers killed while clients post as the documentation tells them to: what was acknowledged is on the log."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import logging
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import EXECUTABLE, T0
from kafka_server import KafkaServer, free_port
from test_sender import on_the_log

from consumers.kafka_admin import KafkaAdmin
from streamer.config.tree import Config, Kafka
from streamer.events.model import EVENTS

logger = logging.getLogger(__name__)

BATCH = 20
CLIENTS = 3
GIVE_UP_S = 120.0


class GatewayProcess:
    """The command on one port, which may be killed and started again."""

    def __init__(self, folder: Path, server: KafkaServer) -> None:
        self.port = free_port()
        self._said = folder / "gateway.log"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")} | {
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": server.bootstrap,
            "STREAMER_KAFKA__REQUEST_TIMEOUT_MS": "3000",
            "STREAMER_REDIS__URL": "redis://127.0.0.1:1/0",
            "STREAMER_GATEWAY__PORT": str(self.port),
            "STREAMER_GATEWAY__ACK_TIMEOUT_MS": "2000",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._said.open("ab") as said:
            self._process = subprocess.Popen([EXECUTABLE, "gateway"], env=self._environment, stdout=said, stderr=said)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/livez")
                assert connection.getresponse().status == 200
                connection.close()
                return
            time.sleep(0.05)
        raise AssertionError(self._said.read_text(errors="replace")[-4_000:])

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)


class Client:
    """Posts batches one after the other, each until every event of it is acknowledged."""

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._name = name
        self._connection: http.client.HTTPConnection | None = None
        self.acknowledged: list[str] = []
        self.outcomes: collections.Counter[str] = collections.Counter()

    def run(self, stop: threading.Event) -> None:
        number = 0
        while not stop.is_set():
            wanted = [f"{self._name}-{number + n}" for n in range(BATCH)]
            number += BATCH
            began = time.monotonic()
            while wanted:
                assert time.monotonic() - began < GIVE_UP_S, f"{self._name} gave up: {self.outcomes}"
                wanted = self._post(wanted)

    def _post(self, ids: list[str]) -> list[str]:
        """Which of these are to be sent again, once there was a pause."""
        events = [{"event_id": one, "type": "click", "user_id": f"u{one[-1]}", "item_id": "i", "timestamp": T0} for one in ids]
        try:
            status, answer = self._ask(json.dumps(events))
        except (OSError, http.client.HTTPException):
            self._connection = None
            self.outcomes["no answer"] += 1
            time.sleep(0.1)
            return ids
        self.outcomes[str(status)] += 1
        assert status in {202, 429, 503}, (status, answer)
        again = [ids[error["index"]] for error in answer["errors"]] if "errors" in answer else ids
        self.acknowledged += [one for one in ids if one not in again]
        if again:
            time.sleep(0.2)
        return again

    def _ask(self, body: str) -> tuple[int, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        self._connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.fixture
def killable(own_server: KafkaServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path, own_server)
    process.start()
    yield process
    process.kill()


@pytest.mark.parametrize(
    ("kills", "between_s"),
    [
        pytest.param(2, 0.3, id="quick"),
        pytest.param(20, 2.0, id="whole", marks=[pytest.mark.chaos, pytest.mark.timeout(900)]),
    ],
)
def test_no_acknowledged_event_is_lost_however_often_gateway_and_broker_are_killed(
    own_server: KafkaServer, killable: GatewayProcess, kills: int, between_s: float
) -> None:
    config = Config(kafka=Kafka(bootstrap_servers=own_server.bootstrap, partitions=2))
    with contextlib.closing(KafkaAdmin(config)) as admin:
        admin.create_topics()
    clients = [Client(killable.port, f"{uuid.uuid4().hex[:6]}-{n}") for n in range(CLIENTS)]
    stop = threading.Event()
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
    for thread in threads:
        thread.start()
    for kill in range(kills):
        wait_for_news(clients)
        time.sleep(between_s)
        killed: GatewayProcess | KafkaServer = killable if kill % 2 == 0 else own_server
        killed.kill()
        killed.start()
    wait_for_news(clients)
    stop.set()
    for thread in threads:
        thread.join(GIVE_UP_S)
        assert not thread.is_alive()
    assert killable.stop() == 0
    found = collections.Counter(json.loads(value or b"")["event_id"] for _, _, value in on_the_log(config, EVENTS))
    acknowledged = {one for client in clients for one in client.acknowledged}
    logger.warning(
        "%d kills: %d events acknowledged, %d of them lost, %d on the log, %d more than once; answers %s",
        *(kills, len(acknowledged), len(acknowledged - found.keys()), len(found), sum(n > 1 for n in found.values())),
        dict(sum((client.outcomes for client in clients), collections.Counter())),
    )
    assert acknowledged - found.keys() == set()
    assert acknowledged == found.keys()


def wait_for_news(clients: list[Client]) -> None:
    """Until every client had something acknowledged after this."""
    before = [len(client.acknowledged) for client in clients]
    deadline = time.monotonic() + GIVE_UP_S
    while any(len(client.acknowledged) <= count for client, count in zip(clients, before, strict=True)):
        assert time.monotonic() < deadline, [client.outcomes for client in clients]
        time.sleep(0.01)
