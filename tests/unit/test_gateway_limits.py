"""What a gateway lets its clients hold: raw connections to its own server, and bodies that are bombs."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory_log import MemoryBroker, MemoryWriter
from memory_store import MemoryStore

from consumers.gateway_metrics import metrics_of
from consumers.reader import encode_list, version_text
from producers.gateway import Gateway as App
from producers.gateway_server import listen, serve
from streamer.config.tree import Config, Gateway
from streamer.ports import Acknowledge, LogWriter, OutRecord, RecommendationList, Recommended

EVENT = b'{"type": "click", "user_id": "u", "item_id": "i", "timestamp": 1795485458344}'


class AtOnce(MemoryWriter):
    """Acknowledges every record in the call that sends it."""

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        super().send(record, on_done, timeout_s=timeout_s)
        self.flush(0)


class Served:
    """A gateway on a socket of its own, spoken to in bytes."""

    def __init__(self, port: int, app: App, stop: threading.Event, thread: threading.Thread) -> None:
        self.port = port
        self.app = app
        self.stop = stop
        self.thread = thread

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, sent: bytes) -> bytes:
        """All that is answered until the server closes; an idle connection is closed after a while."""
        with self.connect() as connection:
            connection.sendall(sent)
            return rest_of(connection)

    def metrics(self) -> str:
        return self.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode()


def rest_of(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            found += part
    return found


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/events") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def sized(body: bytes, *headers: bytes) -> bytes:
    return post(body, b"Content-Length: %d" % len(body), *headers)


def reason(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    found = json.loads(body)
    return int(head.split()[1]), found["error"]["reason"] if "error" in found else ""


Serving = Callable[..., Served]


@pytest.fixture
def serving() -> Iterator[Serving]:
    with contextlib.ExitStack() as stack:

        def make(*, writer: LogWriter | None = None, **settings: Any) -> Served:
            config = Config(gateway=Gateway(**{"port": 0, "read_timeout_ms": 600, "ack_timeout_ms": 5_000} | settings))
            store = MemoryStore()
            entries = tuple(Recommended(f"i{n}", 1.0, ()) for n in range(20))
            store.write_shared("popular", encode_list(RecommendationList("", version_text(1, 1), entries, False, 0, 1, 1)))
            made = App(
                config,
                writer or AtOnce(MemoryBroker()),
                store,
                check_log=lambda: None,
                version="1",
                metrics=metrics_of("shop"),
            )
            listening, stop = listen(config.gateway), threading.Event()
            thread = threading.Thread(target=serve, args=(made.app(), config.gateway, listening, stop))
            thread.start()
            stack.callback(thread.join, 30)
            stack.callback(stop.set)
            return Served(listening.getsockname()[1], made, stop, thread)

        yield make


def test_a_connection_that_says_nothing_or_half_a_head_is_closed(serving: Serving) -> None:
    gateway = serving()
    with gateway.connect() as silent, gateway.connect() as slow:
        slow.sendall(b"GET /livez HTTP/1.1\r\nHost:")
        began = time.monotonic()
        assert rest_of(silent) + rest_of(slow) == b""
        assert 0.4 < time.monotonic() - began < 5


def test_a_body_that_trickles_is_answered_and_given_up(serving: Serving) -> None:
    gateway = serving()
    with gateway.connect() as slow:
        slow.sendall(post(b"", b"Content-Length: 1000"))
        slow.settimeout(0.05)
        answer, began = b"", time.monotonic()
        while b"}}" not in answer:
            assert time.monotonic() - began < 5
            slow.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                answer += slow.recv(65_536)
    assert reason(answer) == (408, "too_slow")
    assert b"connection: close" in answer.lower()


def test_a_refused_body_without_an_end_is_not_listened_to_for_ever(serving: Serving) -> None:
    gateway = serving(body_bytes_max=1_000)
    with gateway.connect() as endless:
        endless.sendall(post(b"", b"Transfer-Encoding: chunked").replace(b"Connection: close\r\n", b""))
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - whichever write finds the connection closed
            while time.monotonic() - began < 10:
                endless.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
                time.sleep(0.01)
        assert time.monotonic() - began < 5


def test_who_sends_a_body_that_is_too_large_hears_why(serving: Serving) -> None:
    gateway = serving(body_bytes_max=1_000)
    keep = sized(b" " * 3_000_000).replace(b"Connection: close\r\n", b"")
    assert reason(gateway.ask(keep)) == (413, "too_many_bytes")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], 400),
        ([b"Content-Length: 5", b"Content-Length: 6"], 400),
        ([b"Content-Length: +5"], 400),
        ([b"Transfer-Encoding: chunked, identity"], 501),
        ([b"Transfer-Encoding : chunked"], 400),
        ([b"Content-Length: 0", b"Content-Length: 44"], 400),
    ],
)
def test_a_head_that_two_servers_could_read_in_two_ways_is_refused_and_the_connection_ended(
    serving: Serving, headers: list[bytes], status: int
) -> None:
    hidden = b"0\r\n\r\nGET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = serving().ask(post(hidden, *headers).replace(b"Connection: close\r\n", b""))
    assert int(answer.split()[1]) in {status, 400}
    assert answer.count(b"HTTP/1.1 ") == 1


def test_bodies_together_hold_no_more_than_they_may(serving: Serving) -> None:
    gateway = serving(waiting_bytes_max=100_000, read_timeout_ms=5_000)
    with gateway.connect() as first:
        first.sendall(post(b" " * 60_000, b"Content-Length: 60001"))
        while gateway.app._waiting.bytes < 60_000:
            time.sleep(0.01)
        assert reason(gateway.ask(sized(b" " * 60_000))) == (429, "too_many_requests")
        assert "streamer_gateway_waiting_bytes 60000.0" in gateway.metrics()
        first.sendall(b" ")
        assert reason(rest_of(first)) == (400, "empty")
    assert reason(gateway.ask(sized(b" " * 60_000))) == (400, "empty")
    assert gateway.app._waiting.bytes == gateway.app._waiting.requests == 0


def test_requests_that_wait_are_bounded_and_others_told_at_once(serving: Serving) -> None:
    silent = MemoryWriter(MemoryBroker())  # acknowledges at a flush
    gateway = serving(writer=silent, requests_waiting_max=2)
    with gateway.connect() as first, gateway.connect() as second:
        for one in (first, second):
            one.sendall(sized(EVENT))
        while gateway.app._waiting.requests < 2:
            time.sleep(0.01)
        time.sleep(0.1)
        assert reason(gateway.ask(sized(EVENT))) == (429, "too_many_requests")
        silent.flush(0)
        assert [reason(rest_of(one)) for one in (first, second)] == [(202, ""), (202, "")]


@pytest.mark.parametrize(("acknowledges", "status"), [(True, 202), (False, 503)])
def test_a_gateway_that_is_told_to_stop_answers_what_is_under_way_in_bounded_time(
    serving: Serving, acknowledges: bool, status: int
) -> None:
    silent = MemoryWriter(MemoryBroker())
    gateway = serving(writer=silent, ack_timeout_ms=1_000)
    with gateway.connect() as idle, gateway.connect() as waiting:
        waiting.sendall(sized(EVENT))
        while not gateway.app._waiting.requests:
            time.sleep(0.01)
        gateway.stop.set()
        assert rest_of(idle) == b""  # closed at once
        if acknowledges:
            silent.flush(0)
        assert reason(rest_of(waiting))[0] == status
    gateway.thread.join(5)
    assert not gateway.thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        gateway.connect()


def test_connections_are_bounded(serving: Serving) -> None:
    gateway = serving(connections_max=2, read_timeout_ms=5_000)
    with gateway.connect() as first, gateway.connect():
        time.sleep(0.1)
        with gateway.connect() as one_too_many:
            assert one_too_many.recv(100).startswith(b"HTTP/1.1 503 ")
        first.sendall(sized(EVENT))
        assert first.recv(100).startswith(b"HTTP/1.1 202 ")


def test_a_client_that_leaves_is_no_error_and_holds_nothing(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    gateway = serving(read_timeout_ms=5_000)
    with gateway.connect() as one:
        one.sendall(post(EVENT, b"Content-Length: 1000"))
        while not gateway.app._waiting.bytes:
            time.sleep(0.01)
    while gateway.app._waiting.requests:
        time.sleep(0.01)
    assert 'streamer_gateway_requests_total{route="events",status="499"} 1.0' in gateway.metrics()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[" + b"1," * 2_097_000 + b"1]", b"application/json"),
        (b"[" * 4_194_304, b"application/json"),
        (b'{"a":' * 838_000, b"application/json"),
        (b"\n" * 4_194_304, b"application/x-ndjson"),
        (b"1\n" * 2_097_000, b"application/x-ndjson"),
        (b'{"type":"click","timestamp":' + b"1" * 4_000_000 + b"}", b"application/json"),
    ],
    ids=["members", "arrays", "objects", "newlines", "lines", "digits"],
)
def test_a_bomb_is_refused_while_others_are_answered(serving: Serving, body: bytes, content_type: bytes) -> None:
    gateway, slowest_s, done = serving(read_timeout_ms=10_000), 0.0, threading.Event()
    answers: list[bytes] = []

    def throw() -> None:
        answers.append(gateway.ask(sized(body, b"Content-Type: " + content_type)))
        done.set()

    thrower = threading.Thread(target=throw)
    thrower.start()
    while not done.is_set():
        began = time.monotonic()
        assert gateway.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        slowest_s = max(slowest_s, time.monotonic() - began)
    thrower.join()
    assert 400 <= reason(answers[0])[0] < 500
    assert slowest_s < 2, slowest_s


def test_what_is_counted(serving: Serving) -> None:
    gateway = serving()
    gateway.ask(sized(b"[" + EVENT + b", 7]"))
    gateway.ask(sized(EVENT))
    gateway.ask(post(b"", path=b"/v1/events/../../etc/passwd"))
    gateway.ask(b"GET /v1/recommendations/u1?limit=3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    found = gateway.metrics()
    for line in (
        'streamer_gateway_requests_total{route="events",status="207"} 1.0',
        'streamer_gateway_requests_total{route="events",status="202"} 1.0',
        'streamer_gateway_requests_total{route="other",status="404"} 1.0',
        'streamer_gateway_requests_total{route="recommendations",status="200"} 1.0',
        'streamer_gateway_records_accepted_total{topic="events"} 2.0',
        'streamer_gateway_records_refused_total{reason="wrong_type",topic="events"} 1.0',
        f"streamer_gateway_body_bytes_total {2 * len(EVENT) + 5}.0",
        "streamer_gateway_waiting_requests 0.0",
        'streamer_gateway_lists_total{outcome="popular"} 1.0',
        'streamer_gateway_lists_total{outcome="none"} 0.0',
        "streamer_gateway_acknowledge_seconds_count 2.0",
    ):
        assert line in found
    assert re.search(r"^process_resident_memory_bytes ", found, re.MULTILINE)
