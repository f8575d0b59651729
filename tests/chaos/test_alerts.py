"""Each alert made to fire by causing its fault on real parts, and to clear by what the runbook says. Minutes; run by ``make chaos``."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.parts import Parts
from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition
from line import Line, Process, line_settings, movielens_events
from prometheus_server import RULES, Prometheus, durations_cut, free_port, needs_prometheus

from consumers.compose import open_admin, open_writer
from streamer.events.model import EVENTS
from streamer.ports import OutRecord

logger = logging.getLogger(__name__)

FOR_S, RANGE_S, LOSS_TOLD_S, WAIT_S = 2, 10, 20, 4
"""In place of minutes: how long a fault must last, what rates are taken of, how long a loss is told, what is too long to wait."""
DEADLINE_S = 90.0
POSTED = 100
BROKEN, BURST, COMPARED = 200, 60_000, 8_000


def quick_rules() -> str:
    """The rules as they are, but in seconds."""
    rules = durations_cut(RULES.read_text(), FOR_S, RANGE_S)
    for found, instead in (("> 60\n", f"> {WAIT_S}\n"), ("p95 > 5\n", f"p95 > {WAIT_S}\n"), ("< 3600\n", f"< {LOSS_TOLD_S}\n")):
        assert found in rules
        rules = rules.replace(found, instead)
    return rules


class Feed:
    """Posts events to the gateway whatever it answers."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/events"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        events = movielens_events()
        for first in range(0, len(events), POSTED):
            body = b"".join(one.value + b"\n" for one in events[first : first + POSTED] if one.value)
            request = urllib.request.Request(self._url, body, {"Content-Type": "application/x-ndjson"})
            with contextlib.suppress(urllib.error.HTTPError, OSError), urllib.request.urlopen(request, timeout=20) as answer:
                answer.read()
            if self._stop.wait(0.3):
                return

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class Scene:
    """Parts under load, with a Prometheus that looks at them."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: free_port() for name in ("a", "b", "encoder", "gateway", "other")}
        self.fired: dict[str, tuple[float, float]] = {}
        """Seconds from a fault to its alert, and from its end to the alert's."""
        self._stack = contextlib.ExitStack()
        self.parts = self._stack.enter_context(contextlib.closing(Parts(folder, 2)))
        self.namespace = self.parts.config.namespace
        settings = line_settings(folder, "kafka") | {"STREAMER_KAFKA__BOOTSTRAP_SERVERS": self.parts.broker.bootstrap}
        settings |= {"STREAMER_REDIS__URL": self.parts.valkey.url, "STREAMER_HTTP__PORT": str(self.ports["other"])}
        self.other = self._stack.enter_context(contextlib.closing(Line(settings))).create_topics()
        ours = [port for name, port in self.ports.items() if name != "other"]
        targets = {self.namespace: ours, self.other.config.namespace: [self.ports["other"]]}
        made = Prometheus(folder / "prometheus", targets, rules=quick_rules())
        self.prometheus = self._stack.enter_context(contextlib.closing(made))
        self.a = self.worker("a")
        self.a.wait_role("owner")
        slow = {"STREAMER_GATEWAY__PORT": str(self.ports["gateway"]), "STREAMER_GATEWAY__ACK_TIMEOUT_MS": "1000"}
        self.parts.line.start("gateway", **slow)
        self._stack.enter_context(contextlib.closing(Feed(self.ports["gateway"])))
        self.wait(lambda: self.prometheus.values("streamer:events_read:rate > 0"), "events are read")

    def close(self) -> None:
        self._stack.close()

    def worker(self, name: str) -> Process:
        return self.parts.line.start("worker", STREAMER_HTTP__PORT=str(self.ports[name]))

    def command(self, *arguments: str) -> None:
        """As people run it; in this process it would set up logging anew."""
        with self.parts.line.here.start(*arguments) as process:
            said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, said

    def wait(self, condition: object, what: str) -> float:
        started = time.monotonic()
        while not condition():  # type: ignore[operator]
            assert time.monotonic() - started < DEADLINE_S, f"{what}; alerts: {self.prometheus.alerts()}"
            time.sleep(0.2)
        return time.monotonic() - started

    def state(self, name: str, namespace: str | None) -> str | None:
        return self.prometheus.alerts(namespace or self.namespace).get(name)

    def fires(self, *names: str, namespace: str | None = None) -> None:
        for name in names:
            assert name not in self.fired, "once is enough"
            took = self.wait(lambda name=name: self.state(name, namespace) == "firing", f"{name} fires")
            self.fired[name] = (took, 0.0)

    def clears(self, *names: str, namespace: str | None = None) -> None:
        for name in names:
            took = self.wait(lambda name=name: self.state(name, namespace) is None, f"{name} clears")
            self.fired[name] = (self.fired[name][0], took)
            logger.info("%s fired %.0f s after its fault and cleared %.0f s after it", name, *self.fired[name])


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with contextlib.closing(Scene(tmp_path)) as made:
        yield made


def no_standby(scene: Scene) -> None:
    scene.fires("StreamerNoStandby")
    scene.worker("b")
    scene.clears("StreamerNoStandby")


def learning_frozen(scene: Scene) -> None:
    scene.command("freeze", "--reason", "a test")
    scene.fires("StreamerLearningOff")
    scene.command("unfreeze", "--reason", "a test")
    scene.clears("StreamerLearningOff")


def records_that_are_none(scene: Scene) -> None:
    with contextlib.closing(open_writer(scene.parts.config)) as writer:
        for n in range(BROKEN):
            writer.send(OutRecord(EVENTS, b"u%d" % n, b"no event"))
        writer.flush(30.0)
    scene.fires("StreamerDeadLetters")
    scene.clears("StreamerDeadLetters")


def no_room_for_snapshots(scene: Scene) -> None:
    with scene.parts.snapshots_away():
        scene.fires("StreamerSnapshotsStale")
    scene.clears("StreamerSnapshotsStale")


def store_that_hangs(scene: Scene) -> None:
    os.kill(scene.parts.valkey.pid, signal.SIGSTOP)
    try:
        scene.fires("StreamerStoreRefusing")
        time.sleep(RANGE_S)  # in which no list is written
    finally:
        os.kill(scene.parts.valkey.pid, signal.SIGCONT)
    scene.fires("StreamerListsStale")
    scene.clears("StreamerStoreRefusing", "StreamerListsStale")


def broker_that_hangs(scene: Scene) -> None:
    scene.parts.broker.suspend()
    try:
        scene.fires("StreamerLogAway", "StreamerGatewayRefusing")
    finally:
        scene.parts.broker.resume()
    scene.clears("StreamerLogAway", "StreamerGatewayRefusing")


def encoder_killed(scene: Scene) -> None:
    port = {"STREAMER_HTTP__PORT": str(scene.ports["encoder"])}
    encoder = scene.parts.line.start("encoder", **port)
    scene.wait(lambda: scene.prometheus.query("streamer_encoder_lag_seconds"), "the encoder is looked at")
    encoder.kill()
    scene.fires("StreamerEncoderBehind")
    scene.parts.line.start("encoder", **port)
    scene.clears("StreamerEncoderBehind")


def all_workers_gone_for_longer_than_the_log_keeps(scene: Scene) -> None:
    for process in scene.parts.line._processes:
        if process.alive and process.role in {"starting", "restoring", "owner", "standby"}:
            process.signal(signal.SIGTERM)
            process.end()
    scene.fires("StreamerNoOwner")
    config = scene.parts.config
    with contextlib.closing(open_admin(config)) as admin:
        ends = {place.partition: end for place, (_, end) in admin.bounds().items() if place.topic == EVENTS}
    client = KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)
    with contextlib.closing(client):
        client.delete_records({KafkaPartition(f"{config.kafka.topic_prefix}{EVENTS}", part): end for part, end in ends.items()})
    scene.parts.line.send(movielens_events()[:BURST])
    scene.worker("a")
    scene.fires("StreamerEventsLost", "StreamerLagging")
    scene.clears("StreamerNoOwner", "StreamerLagging", "StreamerEventsLost")


def head_that_learns_worse_than_counting(scene: Scene) -> None:
    other, namespace = scene.other, scene.other.config.namespace
    other.send(movielens_events()[:COMPARED])
    worker = other.start("worker", STREAMER_HEAD__KIND="bilinear")
    scene.fires("StreamerQualityBelowCounting", namespace=namespace)
    worker.stop()
    other.start("worker", STREAMER_NAMESPACE=f"{namespace}-anew")  # the head of choice, on the same topics
    scene.clears("StreamerQualityBelowCounting", namespace=namespace)
    judged = f'streamer_quality_judged_total{{namespace="{namespace}",method="live"}} > 1000'
    scene.wait(lambda: scene.prometheus.values(judged), "judged again")
    assert "StreamerQualityBelowCounting" not in scene.prometheus.alerts(namespace)


FAULTS = (
    no_standby,
    learning_frozen,
    records_that_are_none,
    no_room_for_snapshots,
    store_that_hangs,
    broker_that_hangs,
    encoder_killed,
    all_workers_gone_for_longer_than_the_log_keeps,
    head_that_learns_worse_than_counting,
)


@pytest.mark.chaos
@pytest.mark.timeout(900)
@needs_prometheus
def test_every_alert_fires_by_its_fault_and_clears_when_it_is_mended(scene: Scene) -> None:
    for fault in FAULTS:
        fault(scene)
    assert set(scene.fired) == set(re.findall(r"- alert: (\w+)", RULES.read_text()))
