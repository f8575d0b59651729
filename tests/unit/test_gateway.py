"""What the gateway answers: over a log of our own in a folder, a store in memory, and writers that fail on purpose."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from memory_log import MemoryBroker, MemoryWriter
from memory_store import MemoryStore
from starlette.testclient import TestClient

from consumers.reader import encode_gone, encode_list, version_text
from producers.gateway import Gateway as App
from streamer.config.tree import Config, Gateway, Kafka, Log
from streamer.embedded import EmbeddedAdmin, EmbeddedReader, EmbeddedWriter
from streamer.events.codec import decode_events
from streamer.events.model import EVENTS, ITEMS
from streamer.ports import (
    Acknowledge,
    BufferFullError,
    LogError,
    LogWriter,
    OutRecord,
    Reason,
    RecommendationList,
    Recommended,
    TopicPartition,
)

T0 = 1_795_485_458_344
CLICK = {"type": "click", "user_id": "u1", "item_id": "i1", "timestamp": T0, "event_id": "e1"}
LINES = {"content-type": "application/x-ndjson"}

Client = Callable[..., TestClient]


def config(folder: Path, **settings: Any) -> Config:
    defaults = {"ack_timeout_ms": 5_000}
    return Config(log=Log(kind="embedded", root=str(folder)), kafka=Kafka(partitions=1), gateway=Gateway(**defaults | settings))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(tmp_path: Path, store: MemoryStore) -> Iterator[Client]:
    """Makes clients of gateways on one embedded log; ``writer`` puts another one in its place."""
    with contextlib.ExitStack() as stack:

        def make(*, writer: LogWriter | None = None, check: Callable[[], None] = lambda: None, **settings: Any) -> TestClient:
            made = config(tmp_path, **settings)
            with contextlib.closing(EmbeddedAdmin(made)) as admin:
                admin.create_topics()
            writer = writer or stack.enter_context(contextlib.closing(EmbeddedWriter(made)))
            app = App(made, writer, store, check_log=check, version="1.2.3").app()
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.fixture
def logged(tmp_path: Path) -> Callable[[str], list[tuple[bytes | None, Any]]]:
    def read(topic: str) -> list[tuple[bytes | None, Any]]:
        with contextlib.closing(EmbeddedReader(config(tmp_path))) as reader:
            batch = reader.read(TopicPartition(topic, 0), 0, 1_000)
        return [(key, json.loads(value or b"null")) for key, value in zip(batch.keys, batch.values, strict=True)]

    return read


def error_of(answer: Any) -> dict[str, str]:
    error = answer.json()["error"]
    assert sorted(error) == ["message", "reason", "where"]
    return dict(error)


def served(user_id: str, *items: str) -> bytes:
    entries = tuple(Recommended(item, 1.0, (Reason("trend", 1.0, None),)) for item in items)
    return encode_list(RecommendationList(user_id, version_text(1, 1), entries, True, 3, T0, T0))


def test_an_event_is_on_the_log_under_its_user_once_it_is_answered(client: Client, logged: Any) -> None:
    answer = client().post("/v1/events", json=CLICK)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "refused": 0, "errors": []})
    assert logged(EVENTS) == [(b"u1", CLICK)]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", json.dumps([CLICK, CLICK | {"user_id": "ü/2"}])),
        ("text/plain;charset=UTF-8", json.dumps([CLICK, CLICK | {"user_id": "ü/2"}])),
        ("application/x-ndjson", json.dumps(CLICK) + "\n\r\n" + json.dumps(CLICK | {"user_id": "ü/2"}) + "\r\n"),
    ],
)
def test_batches_come_as_arrays_as_lines_and_as_beacons(client: Client, logged: Any, content_type: str, body: str) -> None:
    answer = client().post("/v1/events", content=body.encode(), headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    assert [key for key, _ in logged(EVENTS)] == [b"u1", "ü/2".encode()]


def test_a_batch_with_bad_records_says_which_and_why_and_takes_the_others(client: Client, logged: Any) -> None:
    answer = client().post("/v1/events", json=[CLICK, CLICK | {"type": "clik"}, 7, CLICK | {"timestamp": 5}, CLICK])
    found = answer.json()
    assert (answer.status_code, found["accepted"], found["refused"]) == (207, 2, 3)
    assert [(one["index"], one["reason"]) for one in found["errors"]] == [
        (1, "unknown_type"),
        (2, "wrong_type"),
        (3, "bad_timestamp"),
    ]
    assert 'did you mean "click"' in found["errors"][0]["error"]
    assert len(logged(EVENTS)) == 2


def test_where_no_record_can_be_used_nothing_is_written(client: Client, logged: Any) -> None:
    answer = client().post("/v1/events", content=b'{"type": "click"\n[\n\xff', headers=LINES)
    assert (answer.status_code, answer.json()["refused"]) == (400, 3)
    assert logged(EVENTS) == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"", {}, 400, "empty"),
        (b"[]", {}, 400, "empty"),
        (b"[{}", {}, 400, "invalid_json"),
        (b"[" * 100_000, {}, 400, "invalid_json"),
        (b"<a/>", {"content-type": "application/xml"}, 415, "unsupported_media_type"),
        (b"{}", {"content-encoding": "gzip"}, 415, "unsupported_encoding"),
        (b"{}\n" * 11, LINES, 413, "too_many_records"),
        (b" " * 200_001, {}, 413, "too_many_bytes"),
    ],
)
def test_a_body_that_holds_no_records_is_a_clear_error(
    client: Client, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = client(batch_records_max=10, body_bytes_max=200_000).post("/v1/events", content=body, headers=headers)
    assert (answer.status_code, error_of(answer)["reason"]) == (status, reason)


def test_a_body_of_unknown_length_is_not_read_beyond_its_bound(client: Client) -> None:
    read = []

    def body() -> Iterator[bytes]:
        for part in range(1_000):
            read.append(part)
            yield b" " * 1_000

    answer = client(body_bytes_max=5_000).post("/v1/events", content=body())
    assert (answer.status_code, error_of(answer)["reason"]) == (413, "too_many_bytes")


def test_item_documents_go_to_their_own_topic(client: Client, logged: Any) -> None:
    answer = client().post("/v1/items", json=[{"item_id": "i1", "title": "One"}, {"title": "Two"}])
    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (207, "missing_field")
    assert logged(ITEMS) == [(b"i1", {"item_id": "i1", "title": "One"})]


class Refusing(MemoryWriter):
    """Raises ``error`` instead of taking a record, from the second on."""

    def __init__(self, error: LogError) -> None:
        super().__init__(MemoryBroker())
        self.error = error
        self.taken = 0

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        assert timeout_s is not None
        if self.taken:
            raise self.error
        self.taken = 1
        super().send(record, on_done)
        self.flush(0)


@pytest.mark.parametrize(
    ("error", "status"), [(BufferFullError("the buffer is full"), 429), (LogError("no broker", retriable=True), 503)]
)
def test_what_the_writer_does_not_take_is_to_be_sent_again(client: Client, error: LogError, status: int) -> None:
    answer = client(writer=Refusing(error)).post("/v1/events", json=[CLICK, CLICK, CLICK])
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["accepted"]) == (status, "1", 1)
    assert [(one["index"], one["reason"]) for one in answer.json()["errors"]] == [(1, "not_sent"), (2, "not_sent")]


def test_a_log_that_does_not_acknowledge_is_waited_for_within_bounds(client: Client) -> None:
    silent = MemoryWriter(MemoryBroker())  # nothing is appended before a flush
    answer = client(writer=silent, ack_timeout_ms=100).post("/v1/events", json=CLICK)
    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (503, "not_acknowledged")


def test_records_on_their_way_hold_their_bytes_after_the_answer_until_they_are_settled(client: Client) -> None:
    silent = MemoryWriter(MemoryBroker())
    gateway = client(writer=silent, ack_timeout_ms=50, waiting_bytes_max=1_000, body_bytes_max=900)
    body = json.dumps(CLICK | {"context": {"page": "x" * 500}})
    send = partial(gateway.post, "/v1/events", content=body, headers={"content-type": "application/json"})
    assert send().status_code == 503
    assert (refused := send()).status_code == 429, refused.text
    assert "gateway.waiting_bytes_max" in error_of(refused)["message"]
    silent.flush(0)
    assert send().status_code == 503


def test_a_record_that_the_log_refuses_for_good_is_not_to_be_sent_again(client: Client) -> None:
    broker = MemoryBroker()
    broker.raise_next("append", LogError("too large", retriable=False))
    taken = type("AtOnce", (MemoryWriter,), {"send": lambda self, *a, **k: (MemoryWriter.send(self, *a, **k), self.flush(0))})
    answer = client(writer=taken(broker)).post("/v1/events", json=[CLICK, CLICK])
    assert (answer.status_code, answer.json()["errors"]) == (207, [{"index": 0, "reason": "log_refused", "error": "too large"}])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Basic sesame"}, 401),
        ({"x-api-key": "sesame"}, 202),
        ({"authorization": "bearer sesame"}, 202),
    ],
)
def test_with_a_key_only_those_who_have_it_come_in(client: Client, headers: dict[str, str], status: int) -> None:
    gateway = client(api_key="sesame")
    assert gateway.post("/v1/events", json=CLICK, headers=headers).status_code == status
    assert gateway.post("/v1/items", json={"item_id": "i"}, headers=headers).status_code == status
    assert gateway.get("/v1/recommendations/u1", headers=headers).status_code == (401 if status == 401 else 404)
    assert gateway.get("/livez").status_code == 200


def test_events_may_be_public_where_all_else_needs_the_key(client: Client) -> None:
    gateway = client(api_key="sesame", public_events=True)
    assert gateway.post("/v1/events", json=CLICK).status_code == 202
    assert gateway.post("/v1/items", json={"item_id": "i"}).status_code == 401


def test_pages_of_configured_origins_may_call_and_others_may_not(client: Client) -> None:
    gateway = client(cors_origins="https://shop.example, https://www.shop.example/")
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-api-key"}
    preflight = gateway.options("/v1/events", headers=ask | {"origin": "https://www.shop.example"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://www.shop.example")
    assert gateway.options("/v1/events", headers=ask | {"origin": "https://evil.example"}).status_code == 400
    answer = gateway.post("/v1/events", json={}, headers={"origin": "https://shop.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (400, "https://shop.example")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://shop.example", 202),
        ("http://testserver", 403),  # its name may be anybody's
        ("https://evil.example", 403),
        ("https://shop.example.evil.example", 403),
        ("null", 403),
    ],
)
def test_what_a_browser_sends_without_asking_first_is_taken_from_pages_of_named_origins_alone(
    client: Client, logged: Any, origin: str, status: int
) -> None:
    headers = {"origin": origin, "content-type": "text/plain"}
    answer = client(cors_origins="https://shop.example").post("/v1/events", content=json.dumps(CLICK), headers=headers)
    assert answer.status_code == status
    assert len(logged(EVENTS)) == (status == 202)
    if status == 403:
        assert error_of(answer)["reason"] == "foreign_origin"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "host", "key", "status"),
    [
        ("http://localhost:8322", "localhost:8322", None, 202),
        ("http://127.0.0.1:8322", "127.0.0.1:8322", None, 202),
        ("http://evil.example:8322", "evil.example:8322", None, 403),
        ("http://localhost.evil.example", "localhost.evil.example", None, 403),
        ("https://behind.a.proxy", "gateway", "secret", 202),
    ],
)
def test_a_page_of_this_machine_and_whoever_bears_the_key_may_send(
    client: Client, origin: str, host: str, key: str | None, status: int
) -> None:
    headers = {"origin": origin, "host": host} | ({"x-api-key": key} if key else {})
    assert client(api_key=key).post("/v1/events", json=CLICK, headers=headers).status_code == status


def test_events_are_judged_as_a_worker_judges_them_and_stay_as_they_came(client: Client, tmp_path: Path) -> None:
    values = [
        b'{"type":"click","user_id":"a","user_id":"u1","item_id":"i1","timestamp":1795485458344,"more":{"x":[1]}}',
        b'{"type":"click","user_id":"u1","item_id":null,"timestamp":1795485458344}',
        b'{"type":"purchase","user_id":"u1","item_id":null,"item_ids":["a","a"],"timestamp":"2026-11-24T03:17:38+02:00"}',
        b'{"type":"impression","user_id":"u1","item_id":"i1","timestamp":1795485458344}',
        b'{"type":"view","user_id":"u\\u0000","item_id":"i1","event_id":null,"timestamp":1795485458344.7}',
        b'{"type":"view","user_id":"u1","item_id":"i1","timestamp":1795485458344,"context":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"type":"view","user_id":"u1","item_id":"i1","timestamp":1795485458344,"price":1e999}',
        b"\xef\xbb\xbf" + json.dumps(CLICK).encode(),
        b"null",
    ]
    by_worker = decode_events(values)
    rejects = [(place, str(reject.reason)) for place, reject in by_worker.rejects]
    gateway = client()
    at_once = gateway.post("/v1/events", content=b"\n".join(values), headers=LINES).json()
    assert [(one["index"], one["reason"]) for one in at_once["errors"]] == rejects
    one_by_one = [gateway.post("/v1/events", content=value).json()["errors"] for value in values]
    assert [(n, one["reason"]) for n, errors in enumerate(one_by_one) for one in errors] == rejects
    with contextlib.closing(EmbeddedReader(config(tmp_path))) as reader:
        batch = reader.read(TopicPartition(EVENTS, 0), 0, 1_000)
    accepted = [values[place] for place in by_worker.positions]
    assert batch.values == accepted * 2
    assert batch.keys == [user.encode() for user in by_worker.user_ids] * 2


@pytest.mark.parametrize(
    ("limit", "status"), [("1", 200), ("20", 200), ("0", 400), ("21", 400), ("", 400), ("x", 400), ("٣", 400)]
)
def test_a_list_may_be_asked_for_in_part(client: Client, store: MemoryStore, limit: str, status: int) -> None:
    store.write_lists([b"u1"], [served("u1", "a", "b")])
    answer = client().get("/v1/recommendations/u1", params={"limit": limit})
    assert answer.status_code == status
    if status == 200:
        assert len(answer.json()["items"]) == min(2, int(limit))


def test_any_number_of_probes_share_one_look_at_the_log(client: Client) -> None:
    looks = []
    gateway = client(check=lambda: looks.append(1))
    assert {gateway.get("/readyz").status_code for _ in range(20)} == {200}
    assert len(looks) <= 3


def test_a_list_is_served_without_withdrawn_items_and_the_popular_one_where_there_is_none(
    client: Client, store: MemoryStore
) -> None:
    gateway = client()
    missing = gateway.get("/v1/recommendations/u1")
    assert (missing.status_code, error_of(missing)["reason"]) == (404, "no_list")
    store.write_lists([b"u1"], [served("u1", "a", "b")])
    store.write_shared("popular", served("", "p"))
    store.write_shared("gone", encode_gone(version_text(1, 1), ["a"]))
    found = gateway.get("/v1/recommendations/u1").json()
    assert found["items"] == [{"item_id": "b", "score": 1.0, "why": [["trend", 1.0, None]]}]
    assert (found["user_id"], found["personal"], found["head_step"]) == ("u1", True, 3)
    other = gateway.get("/v1/recommendations/u2").json()
    assert (other["user_id"], other["personal"], other["items"][0]["item_id"]) == ("u2", False, "p")
    store.away = True
    away = gateway.get("/v1/recommendations/u1")
    assert (away.status_code, error_of(away)["reason"], away.headers["retry-after"]) == (503, "store_away", "1")


@pytest.mark.parametrize(
    ("path", "user_id"), [("a%2Fb", "a/b"), ("a/b", "a/b"), ("%C3%BC%20%3F", "ü ?"), ("100%25", "100%"), (".", ".")]
)
def test_a_user_id_in_a_path_is_any_text(client: Client, store: MemoryStore, path: str, user_id: str) -> None:
    store.write_shared("popular", served("", "p"))
    answer = client().get("/v1/recommendations/" + path.replace(".", "%2E"))
    assert (answer.status_code, answer.json().get("user_id")) == (200, user_id)


@pytest.mark.parametrize("path", ["", "%FF", "x" * 257])
def test_a_path_that_names_no_user_is_a_clear_error(client: Client, path: str) -> None:
    answer = client().get("/v1/recommendations/" + path)
    assert (answer.status_code, error_of(answer)["where"]) == (400, "path")


def test_a_gateway_is_ready_while_log_and_store_answer(client: Client, store: MemoryStore) -> None:
    assert client().get("/readyz").status_code == 200

    def away() -> None:
        raise LogError("no broker", retriable=True)

    answer = client(check=away).get("/readyz")
    assert (answer.status_code, error_of(answer)) == (503, {"reason": "not_ready", "message": "no broker", "where": "log"})
    store.away = True
    assert error_of(client().get("/readyz"))["where"] == "store"


def test_unknown_paths_and_methods_are_json_errors(client: Client) -> None:
    gateway = client()
    assert error_of(gateway.get("/nowhere"))["reason"] == "not_found"
    assert error_of(gateway.get("/v1/events"))["reason"] == "method_not_allowed"


def test_the_document_names_every_path_and_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    gateway = client(api_key="sesame", public_events=True)
    document = gateway.get("/openapi.json").json()
    assert {"/v1/events", "/v1/items", "/v1/recommendations/{user}", "/livez", "/readyz"} < set(document["paths"])
    assert document["paths"]["/v1/events"]["post"]["security"] == []
    assert document["paths"]["/v1/items"]["post"]["security"] != []
    assert "sesame" not in json.dumps(document)
    home = gateway.get("/").text
    assert "1.2.3" in home
    assert "http" not in home
