"""The sender where things go wrong around it: brokers killed, processes forked or ended, callbacks that send, buffers that fill."""

from __future__ import annotations

import collections
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka_server import KafkaServer
from test_sender import TOPIC_BYTES_MAX, Told, limit_size, numbered, on_the_log

from consumers.kafka_admin import KafkaAdmin
from producers.sender import KafkaWriter
from streamer.config.tree import Config, Kafka
from streamer.events.model import EVENTS
from streamer.ports import LogError, OutRecord

logger = logging.getLogger(__name__)


def config_of(server: KafkaServer, **settings: int) -> Config:
    config = Config(kafka=Kafka(bootstrap_servers=server.bootstrap, partitions=2, request_timeout_ms=3_000, **settings))
    KafkaAdmin(config).create_topics()
    return config


def warmed(config: Config, *, close_timeout_s: float | None = None) -> KafkaWriter:
    """A writer that is connected and knows the topic."""
    writer = KafkaWriter(config, close_timeout_s=close_timeout_s)
    writer.send(OutRecord(EVENTS, b"u", b"warm"))
    writer.flush(20)
    return writer


def counted(config: Config) -> collections.Counter[bytes | None]:
    return collections.Counter(value for _, _, value in on_the_log(config, EVENTS))


def test_a_caller_that_gives_a_time_is_not_held_longer_by_a_full_buffer(own_server):
    config = config_of(own_server, buffer_records_max=10)
    writer, told = warmed(config), Told()
    own_server.suspend()
    for record in numbered(0, 10):
        writer.send(record, told, timeout_s=0.5)
    started = time.monotonic()
    with pytest.raises(LogError, match=r"buffer of 10 records \(kafka.buffer_records_max\) was full for 0.5 s") as caught:
        writer.send(OutRecord(EVENTS, b"u", b"not taken"), told, timeout_s=0.5)
    assert 0.4 < time.monotonic() - started < 3
    assert caught.value.retriable
    own_server.resume()
    writer.close()
    assert sorted(told.acknowledged) == [record.value for record in numbered(0, 10)]
    assert told.refused == {}
    assert b"not taken" not in counted(config)


def test_callbacks_may_send_on_a_full_buffer_and_are_told_not_to_flush_or_close(kafka_config):
    config = kafka_config(buffer_records_max=1)
    KafkaAdmin(config).create_topics()
    writer, told, errors = KafkaWriter(config), Told(), []
    done = threading.Event()

    def chain(record: OutRecord, error: Exception | None) -> None:
        told(record, error)
        number = int(record.value or b"0")
        if number == 100:
            done.set()
            return
        for end in (lambda: writer.flush(5), writer.close):
            try:
                end()
            except LogError as refused:
                errors.append(str(refused))
        writer.send(OutRecord(EVENTS, b"u", b"%06d" % (number + 1)), chain)

    writer.send(OutRecord(EVENTS, b"u", b"%06d" % 0), chain)
    assert done.wait(60)
    writer.close()
    assert told.acknowledged == [b"%06d" % n for n in range(101)]
    assert len(errors) == 200
    assert all("would wait for the callback" in error for error in errors)


def test_a_slow_callback_does_not_hold_up_the_connection(kafka_config):
    config = kafka_config()
    KafkaAdmin(config).create_topics()
    writer, let_go = warmed(config), threading.Event()
    writer.send(OutRecord(EVENTS, b"u", b"slow"), lambda *_: let_go.wait(30))
    for record in numbered(0, 50):
        writer.send(record)
    deadline = time.monotonic() + 20
    while sum(counted(config).values()) < 52:
        assert time.monotonic() < deadline, "records wait for a callback"
    let_go.set()
    writer.close()


def test_closing_while_the_broker_is_away_tells_of_every_record_once(own_server):
    writer = warmed(config_of(own_server), close_timeout_s=1.0)
    own_server.kill()
    calls: collections.Counter[bytes | None] = collections.Counter()
    refused = []

    def note(record: OutRecord, error: Exception | None) -> None:
        calls[record.value] += 1
        refused.append(error)

    for record in numbered(0, 30):
        writer.send(record, note)
    with pytest.raises(LogError, match="30 records are neither acknowledged nor refused"):
        writer.close()
    writer.close()
    assert calls == collections.Counter(record.value for record in numbered(0, 30))
    assert all(isinstance(error, LogError) for error in refused)


def never_connects(connect: Callable[[], Any], server: KafkaServer) -> Any:
    del connect, server
    message = "nobody answers"
    raise LogError(message, retriable=True)


def connects_and_hangs(connect: Callable[[], Any], server: KafkaServer) -> Any:
    producer = connect()
    server.suspend()
    return producer


@pytest.mark.parametrize("again", [never_connects, connects_and_hangs])
def test_closing_while_a_failed_connection_is_replaced_does_not_wait_for_a_broker_that_is_away(own_server, monkeypatch, again):
    config = config_of(own_server)
    limit_size(config, EVENTS)
    writer, told = warmed(config, close_timeout_s=1.0), Told()
    connect = writer._connect
    monkeypatch.setattr(writer, "_connect", lambda: again(connect, own_server))
    records = [OutRecord(EVENTS, b"u", os.urandom(3 * TOPIC_BYTES_MAX)), *numbered(0, 5)]
    for record in records:
        writer.send(record, told)
    began = time.monotonic()
    with pytest.raises(LogError, match="neither acknowledged nor refused"):
        writer.close()
    assert time.monotonic() - began < 15
    assert told.refused.keys() | set(told.acknowledged) == {record.value for record in records}
    assert len(told.refused) + len(told.acknowledged) == len(records)
    assert any("closed before this record could be sent again" in str(error) for error in told.refused.values())


def test_a_broker_that_hangs_while_a_failed_connection_is_replaced_costs_no_innocent_record(own_server, monkeypatch):
    config = config_of(own_server)
    limit_size(config, EVENTS)
    writer, told, resumed = warmed(config), Told(), threading.Timer(6.0, own_server.resume)
    connect = writer._connect

    def connect_and_hang() -> Any:
        producer = connect()
        if resumed.ident is None:
            own_server.suspend()
            resumed.start()
        return producer

    monkeypatch.setattr(writer, "_connect", connect_and_hang)
    guilty = OutRecord(EVENTS, b"u", os.urandom(3 * TOPIC_BYTES_MAX))
    for record in [*numbered(0, 20), guilty, *numbered(20, 20)]:
        writer.send(record, told)
    writer.close()
    assert resumed.ident is not None
    assert told.refused.keys() == {guilty.value}
    assert sorted(told.acknowledged) == [record.value for record in numbered(0, 40)]


SCRIPT = """
import logging, os, sys
from producers.sender import KafkaWriter
from streamer.config.tree import Config, Kafka
from streamer.ports import OutRecord
logging.basicConfig(level=logging.WARNING)
server, how = sys.argv[1:]
writer = KafkaWriter(Config(kafka=Kafka(bootstrap_servers=server, partitions=2, request_timeout_ms=3_000)))
writer.send(OutRecord("events", b"u", b"warm"))
writer.flush(20)
sys.stdout.write("warm\\n"); sys.stdout.flush(); sys.stdin.readline()
for n in range(100):
    writer.send(OutRecord("events", b"u%d" % (n % 7), b"%06d" % n))
if how == "fork":
    child = os.fork()
    if child == 0:
        writer.flush(1.0)
        writer.close()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    if os.fork() == 0:
        sys.exit(0)  # touches nothing of the writer's
    os.wait()
    sys.stdout.write("forked\\n"); sys.stdout.flush(); sys.stdin.readline()
    writer.close()
"""


def started(server: KafkaServer, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.bootstrap, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said(process, "warm")
    return process


def said(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n", process.communicate()[1]


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_records_buffered_at_a_fork_are_sent_once_and_by_the_parent_alone(own_server):
    config = config_of(own_server)
    process = started(own_server, "fork")
    own_server.suspend()
    go_on(process)
    started_s = time.monotonic()
    said(process, "forked")
    assert time.monotonic() - started_s < 10, "a child waited for what is not its own"
    own_server.resume()
    go_on(process)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert counted(config) == collections.Counter([b"warm", *(record.value for record in numbered(0, 100))])


def test_an_interpreter_that_ends_without_a_close_sends_what_it_holds_and_says_so(own_server):
    config = config_of(own_server)
    process = started(own_server, "exit")
    go_on(process)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "never closed and still holds" in errors
    assert counted(config) == collections.Counter([b"warm", *(record.value for record in numbered(0, 100))])


def test_an_interpreter_that_ends_while_the_broker_is_away_ends_in_bounded_time_and_says_what_is_lost(own_server):
    config_of(own_server)
    process = started(own_server, "exit")
    own_server.kill()
    go_on(process)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 40
    assert "records are lost as this process ends" in errors
    assert "100 records are neither acknowledged nor refused" in errors


def send_paced(writer: KafkaWriter, records: list[OutRecord], told: Told, pace_s: float, stop: threading.Event) -> None:
    for number, record in enumerate(records):
        writer.send(record, told)
        if number % 50 == 49:
            stop.wait(pace_s)


@pytest.mark.parametrize(
    ("kills", "count"),
    [
        pytest.param(1, 4_000, id="quick"),
        pytest.param(20, 20_000, id="whole", marks=[pytest.mark.chaos, pytest.mark.timeout(900)]),
    ],
)
def test_what_was_acknowledged_is_on_the_log_however_often_the_broker_was_killed(own_server, kills: int, count: int):
    config = config_of(own_server, buffer_records_max=2_000)
    writer, told, stop = warmed(config), Told(), threading.Event()
    records = numbered(0, count)
    pace_s = 0.02 * kills
    threads = [threading.Thread(target=send_paced, args=(writer, records[n::2], told, pace_s, stop)) for n in range(2)]
    for thread in threads:
        thread.start()
    for kill in range(kills):
        wanted = count * (2 * kill + 1) // (2 * kills + 1)
        deadline = time.monotonic() + 120
        while len(told.acknowledged) + len(told.refused) < wanted:
            assert time.monotonic() < deadline, f"kill {kill}: {len(told.acknowledged)} acknowledged of {wanted}"
            stop.wait(0.005)
        own_server.kill()
        own_server.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    writer.flush(130)
    writer.close()
    found = counted(config)
    acknowledged = set(told.acknowledged)
    logger.warning(
        "%d kills: %d acknowledged, %d refused, %d on the log, %d of them more than once",
        *(kills, len(told.acknowledged), len(told.refused), len(found) - 1, sum(times > 1 for times in found.values())),
    )
    assert acknowledged - found.keys() == set()
    assert len(told.acknowledged) == len(acknowledged)
    assert acknowledged | told.refused.keys() == {record.value for record in records}
    assert not acknowledged & told.refused.keys()
