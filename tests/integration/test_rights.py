"""Every process with the rights that docs/operations.md lists, and no others: on a Kafka with an authorizer and a Valkey with users."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from kafka_server import KafkaServer
from line import Line, Process, line_settings
from rights import PASSWORD, grant, kafka_rights, redis_rules

from consumers.compose import open_admin, open_store, open_writer
from streamer.config import Config, load
from streamer.events.model import CONTROL, DEAD, EVENTS, FORGET, ITEMS, VECTORS
from streamer.ports import LogError, OutRecord, StoreError

NOW_MS = time.time_ns() // 1_000_000
USERS = sorted({right.user for right in kafka_rights()})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path_factory.mktemp("secured"), dict.fromkeys(USERS, PASSWORD))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def line(secured: KafkaServer, valkey_url: str, tmp_path: Path) -> Iterator[Line]:
    """Topics and lists of this test, which their users alone may touch."""
    settings = line_settings(tmp_path, "kafka") | {
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": secured.secured,
        "STREAMER_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "STREAMER_KAFKA__SASL_MECHANISM": "PLAIN",
        "STREAMER_KAFKA__SASL_PASSWORD": PASSWORD,
        "STREAMER_REDIS__URL": valkey_url,
        "STREAMER_GATEWAY__PORT": "0",
        "STREAMER_KAFKA__SESSION_TIMEOUT_MS": "10000",
    }
    made = Line(settings | user_settings("operator", valkey_url))
    config = made.config
    grant(secured.bootstrap, kafka_rights(), config.namespace, config.kafka.topic_prefix)
    names = []
    with contextlib.closing(redis.Redis.from_url(valkey_url)) as client:
        for name, *rules in redis_rules(config.namespace):
            client.execute_command("ACL", "SETUSER", name, "reset", *rules)
            names.append(name)
        with contextlib.closing(made):
            yield made
        client.execute_command("ACL", "DELUSER", *names)


def user_settings(user: str, valkey_url: str) -> dict[str, str]:
    """The settings by which a process is that user on both servers."""
    place = urlsplit(valkey_url)
    url = f"redis://{user}:{PASSWORD}@{place.hostname}:{place.port}/0"
    return {"STREAMER_KAFKA__SASL_USERNAME": user, "STREAMER_REDIS__URL": url}


def config_of(line: Line, user: str) -> Config:
    return load(None, line.here.settings | {"STREAMER_KAFKA__SASL_USERNAME": user})


def started(line: Line, command: str) -> Process:
    return line.start(command, **user_settings(command, line.here.settings["STREAMER_REDIS__URL"]))


def send(config: Config, topic: str, key: bytes, value: bytes) -> None:
    """One record; raises what the log says against it."""
    refused: list[Exception] = []
    with contextlib.closing(open_writer(config)) as writer:
        writer.send(OutRecord(topic, key, value), lambda _, error: refused.append(error) if error else None)
        writer.flush(10)
    if refused:
        raise refused[0]


def event(number: int, **fields: object) -> bytes:
    given = {"event_id": f"e{number}", "type": "click", "user_id": "u1", "item_id": f"i{number}", "timestamp": NOW_MS + number}
    return json.dumps(given | fields).encode()


def test_every_process_works_with_the_rights_that_the_page_lists(line: Line) -> None:
    line.here.json("topics", "create")
    worker, encoder, gateway = (started(line, command) for command in ("worker", "encoder", "gateway"))
    send(config_of(line, "sender"), EVENTS, b"u1", event(0))
    send(config_of(line, "sender"), EVENTS, b"u1", event(1, type="clack"))
    send(config_of(line, "catalog"), ITEMS, b"i0", b'{"item_id": "i0", "title": "A kettle"}')
    gateway.wait(lambda: re.search(r"listens on http://([\d.]+):(\d+)", gateway.text), "the gateway listens")
    place = re.search(r"listens on http://([\d.]+):(\d+)", gateway.text)
    assert place
    assert asked(place, "POST", "/v1/events", event(2, user_id="u2")) == (202, {"accepted": 1, "refused": 0, "errors": []})
    assert asked(place, "POST", "/v1/items", b'{"item_id": "i2", "title": "A pot"}')[0] == 202
    assert asked(place, "GET", "/readyz")[0] == 200
    worker.wait(lambda: (worker.applied, worker.counters.get("rejected")) == (2, 1), "two events applied and one rejected")
    worker.wait(lambda: worker.get("/status")[1]["snapshot"], "a snapshot committed")
    worker.wait(lambda: asked(place, "GET", "/v1/recommendations/u1")[1].get("personal"), "the list over the gateway")
    encoder.wait(lambda: worker.position(VECTORS) == 2, "vectors of both items, read by the worker")
    commands_of_operators(line, worker)
    send(config_of(line, "privacy"), FORGET, b"u1", b"{}")
    worker.wait(lambda: worker.position(FORGET) == 1, "the word to forget")
    for process in (gateway, encoder, worker):
        process.stop()
        assert "not allow" not in process.text
        assert "no permissions" not in process.text.lower()
        assert "uthorization" not in process.text


@pytest.mark.chaos
def test_a_worker_that_reads_by_librdkafka_needs_no_other_rights(line: Line) -> None:
    pytest.importorskip("confluent_kafka")
    line.here.json("topics", "create")
    line.here.settings["STREAMER_KAFKA__CLIENT"] = "confluent"
    worker = started(line, "worker")
    send(config_of(line, "sender"), EVENTS, b"u1", event(0))
    worker.wait_applied(1)
    worker.stop()
    assert "not allow" not in worker.text
    assert "uthorization" not in worker.text


def commands_of_operators(line: Line, worker: Process) -> None:
    """What is there, what was rejected; that it is sent again; that learning stops."""
    assert line.here.run("topics", "check").exit_code == 0
    assert line.here.json("dead-letters")["letters"] == 1
    assert line.here.run("events", "show", "events[0]", "--from", "0").exit_code == 0
    assert line.here.json("recommend", "u1")["user_id"] == "u1"
    line.here.settings["STREAMER_KAFKA__SASL_USERNAME"] = "redrive"
    assert line.here.json("redrive")["sent"] == 1
    worker.wait(lambda: worker.counters["rejected"] == 2, "the record that was sent again")
    line.here.settings["STREAMER_KAFKA__SASL_USERNAME"] = "operator"
    url = re.search(r"listening on (http://\S+)", worker.text)
    assert url
    frozen = line.here.run("freeze", "--reason", "a test", "--url", url[1])
    assert frozen.exit_code == 0, frozen.output


def asked(place: re.Match[str], method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(place[1], int(place[2]), timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("gateway", CONTROL),
        ("gateway", FORGET),
        ("sender", ITEMS),
        ("encoder", EVENTS),
        ("worker", EVENTS),
        ("worker", CONTROL),
    ],
)
def test_a_user_without_the_right_is_refused_and_told_whose_it_is(line: Line, user: str, topic: str) -> None:
    line.here.json("topics", "create")
    with pytest.raises(LogError, match=rf"check the ACLs of user '{user}'"):
        send(config_of(line, user), topic, b"k", b"{}")


def test_who_may_write_alone_cannot_see_the_dead_letters(line: Line) -> None:
    line.here.json("topics", "create")
    with contextlib.closing(open_admin(config_of(line, "gateway"))) as admin, pytest.raises(LogError, match="does not allow"):
        admin.bounds([DEAD])


def test_a_wrong_password_is_told(line: Line) -> None:
    wrong = load(None, line.here.settings | {"STREAMER_KAFKA__SASL_PASSWORD": "wrong"})
    with contextlib.closing(open_admin(wrong)) as admin, pytest.raises(LogError, match="password of user 'operator'"):
        admin.topics()


def test_a_redis_user_without_the_right_is_told_what_he_lacks(line: Line) -> None:
    valkey = line.here.settings["STREAMER_REDIS__URL"]
    line.here.settings |= user_settings("gateway", valkey)
    url = line.here.settings["STREAMER_REDIS__URL"]
    with contextlib.closing(open_store(line.config, url)) as store, pytest.raises(StoreError, match="ACL lacks a command"):
        store.write_shared("popular", b'{"version":"0000000000001-00000000000000000001"}')
