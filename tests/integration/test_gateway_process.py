"""The gateway as a process: real requests, a real log, a real store."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
from collections.abc import Iterator
from typing import Any

from command import Here, ends

from consumers.compose import open_admin, open_reader, open_store
from consumers.reader import encode_gone, encode_list, version_text
from streamer.events.model import EVENTS, ITEMS
from streamer.ports import RecommendationList, Recommended, TopicPartition

T0 = 1_795_485_458_344
STOP_S = 30


class Asked:
    """A gateway that runs, asked over one kept connection."""

    def __init__(self, host: str, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection(host, port, timeout=30)

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        return answer.status, json.loads(said) if answer.headers["Content-Type"] == "application/json" else said.decode()

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def running(here: Here, port: int = 0) -> Iterator[Asked]:
    """A gateway that is told to stop in the end."""
    here.settings |= {"STREAMER_GATEWAY__PORT": str(port), "STREAMER_LOGGING__FORMAT": "text"}
    with here.start("gateway") as process:
        try:
            assert process.stderr is not None
            said = ""
            while (found := re.search(r"listens on http://([\d.]+):(\d+)", said)) is None:
                line = process.stderr.readline()
                assert line, said
                said += line
            with contextlib.closing(Asked(found[1], int(found[2]))) as asked:
                yield asked
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=STOP_S)
    assert process.returncode == 0


def check(here: Here, url: str) -> None:
    """Events, items and a list through one gateway on this log and the store at ``url``."""
    here.settings["STREAMER_REDIS__URL"] = url
    with contextlib.closing(open_admin(here.config)) as admin:
        admin.create_topics()
    with contextlib.closing(open_store(here.config, url)) as store:
        store.delete_namespace()
        assert store.write_lists(["ü/1".encode()], [payload("ü/1", "withdrawn", "i1")]) == [True]
        assert store.write_shared("gone", encode_gone(version_text(1, 1), ["withdrawn"]))
    events = [
        {"type": "click", "user_id": f"u{n % 9}", "item_id": "i1", "timestamp": T0, "event_id": f"e{n}"} for n in range(500)
    ]
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events) + b"no event\n"
    with running(here) as ask:
        assert ask("GET", "/readyz") == (200, {"status": "ready"})
        status, taken = ask("POST", "/v1/events", lines, **{"Content-Type": "application/x-ndjson"})
        assert (status, taken["accepted"], taken["errors"][0]["index"]) == (207, 500, 500)
        found = ends(here.config)
        assert found[EVENTS] == 500  # acknowledged means that it is there
        assert ask("POST", "/v1/items", b'{"item_id": "i1", "title": "One"}')[0] == 202
        assert ends(here.config)[ITEMS] == 1
        status, served = ask("GET", "/v1/recommendations/%C3%BC%2F1")
        assert (status, served["user_id"], served["personal"]) == (200, "ü/1", True)
        assert [item["item_id"] for item in served["items"]] == ["i1"]
        assert ask("GET", "/v1/recommendations/%FF")[1]["error"]["reason"] == "bad_id"
        assert ask("GET", "/v1/recommendations/nobody")[0] == 404
        with contextlib.closing(open_store(here.config, url)) as store:
            assert store.write_shared("popular", payload("", "p", "withdrawn"))
        served = ask("GET", "/v1/recommendations/nobody")[1]
        assert (served["user_id"], served["personal"], [item["item_id"] for item in served["items"]]) == (
            "nobody",
            False,
            ["p"],
        )
        metrics = ask("GET", "/metrics")[1]
        assert 'streamer_gateway_records_accepted_total{topic="events"} 500.0' in metrics
        assert 'streamer_gateway_lists_total{outcome="none"} 1.0' in metrics
    assert ids_on(here) == {event["event_id"] for event in events}


def payload(user_id: str, *items: str) -> bytes:
    entries = tuple(Recommended(item, 1.0, ()) for item in items)
    return encode_list(RecommendationList(user_id, version_text(1, 1), entries, True, 0, T0, T0))


def ids_on(here: Here) -> set[str]:
    """Event ids on all partitions."""
    with contextlib.closing(open_reader(here.config)) as reader:
        batches = [reader.read(TopicPartition(EVENTS, partition), 0, 1_000) for partition in range(2)]
    return {json.loads(value or b"")["event_id"] for batch in batches for value in batch.values}


def test_the_gateway_on_an_embedded_log(here: Here, valkey_url: str) -> None:
    check(here, valkey_url)


def test_the_gateway_on_kafka_and_valkey(kafka_here: Here, valkey_url: str) -> None:
    check(kafka_here, valkey_url)


def test_a_gateway_whose_log_and_store_are_away_answers_in_time_and_says_so(kafka_here: Here) -> None:
    kafka_here.settings |= {
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "STREAMER_REDIS__URL": "redis://127.0.0.1:1/0",
        "STREAMER_GATEWAY__ACK_TIMEOUT_MS": "1000",
    }
    event = json.dumps({"type": "click", "user_id": "u", "item_id": "i", "timestamp": T0}).encode()
    with running(kafka_here) as ask:
        assert ask("GET", "/livez")[0] == 200
        assert ask("GET", "/readyz")[0] == 503
        status, taken = ask("POST", "/v1/events", event)
        assert (status, taken["accepted"], taken["refused"]) == (503, 0, 1)
        assert ask("GET", "/v1/recommendations/u")[0] == 503
