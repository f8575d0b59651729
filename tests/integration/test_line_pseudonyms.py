"""Users under pseudonyms on the whole line, on Apache Kafka and Valkey: no id is on the log or in the store, and every way in takes ids."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from line import WITHOUT_ENCODER, Line
from starlette.testclient import TestClient
from test_forget import files_with
from test_line_control import url
from test_redrive import on_log

from consumers.compose import open_store, open_writer, redis_url, user_pseudonyms
from producers.gateway import Gateway
from producers.records import Sender
from streamer.events.codec import InvalidEventError
from streamer.events.model import DEAD, EVENTS, FORGET
from streamer.events.pseudonyms import Pseudonyms
from streamer.ports import OutRecord

KEY, FORMER_KEY = "0123456789abcdef" * 4, "fedcba9876543210" * 4
USERS = [f"raw-user-{n}@example.org" for n in range(6)]
NOW_MS = time.time_ns() // 1_000_000


def recording(folder: Path, *, broken: bool) -> Path:
    path = folder / f"recording-{broken}.jsonl"
    events = [
        {
            "event_id": f"r{n}",
            "type": "click",
            "user_id": USERS[n % 3],
            "item_id": f"i{n % 11}",
            "timestamp": NOW_MS - 90_000 + n,
        }
        for n in range(60)
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + f'{{"user": "{USERS[0]}", broken\n' * broken)
    return path


def test_no_id_reaches_the_log_or_the_store_and_reading_and_forgetting_take_ids(
    kafka_line: Callable[..., Line], tmp_path: Path
) -> None:
    former = {"STREAMER_PRIVACY__FORMER_USER_KEY": FORMER_KEY, "STREAMER_PRIVACY__FORMER_USER_KEY_ID": "k0"}
    settings = WITHOUT_ENCODER | former | {"STREAMER_PRIVACY__USER_KEY": KEY, "STREAMER_KAFKA__PARTITIONS": "3"}
    line = kafka_line(**settings).create_topics()
    config, pseudonyms = line.config, user_pseudonyms(line.config)
    assert pseudonyms is not None
    replayed = line.here.json("replay", recording(tmp_path, broken=False), "--configured")
    assert (replayed["sent"], replayed["refused"]) == (60, 0)
    refused = line.here.run("replay", recording(tmp_path, broken=True), "--configured")
    assert (refused.exit_code, "whose it is can't be hidden" in refused.output) == (1, True), refused.output
    worker = line.start("worker")
    with Sender(open_writer(config)) as sender:
        sender.click(USERS[0], "i1")
        sender.impression(USERS[3], ["i1", "i2"])
        with pytest.raises(InvalidEventError, match="can't be hidden"):
            sender._writer.send(OutRecord(EVENTS, USERS[0].encode(), b"{"))
    worker.wait_applied(62)
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(contextlib.closing(open_writer(config)))
        store = stack.enter_context(contextlib.closing(open_store(config, redis_url(config))))
        gateway = stack.enter_context(TestClient(Gateway(config, writer, store, check_log=lambda: None, version="1").app()))
        event = {"type": "click", "user_id": USERS[4], "item_id": "i2", "timestamp": NOW_MS}
        assert gateway.post("/v1/events", json=event).status_code < 300
        worker.wait_applied(63)
        worker.wait(lambda: gateway.get(f"/v1/recommendations/{USERS[4]}").json().get("personal"), "his list")
        answer = gateway.get(f"/v1/recommendations/{USERS[4]}").json()
        assert answer["user_id"] == USERS[4]
        assert line.here.json("recommend", USERS[0])["personal"]
        assert line.here.json("recommend", pseudonyms.of(USERS[0]))["items"] == line.here.json("recommend", USERS[0])["items"]
        seen = [worker.get(f"/console/user?id={quote(one)}")[1] for one in (USERS[0], pseudonyms.of(USERS[0]))]
        assert all(one["known"] and one["served"] for one in seen)

    # each user on one partition, whoever sent him; and nowhere by his id
    keys = {key for key, _ in on_log(config, EVENTS)}
    assert keys == {pseudonyms.of(user).encode() for user in USERS if user != USERS[5]}
    records = [part for topic in (EVENTS, FORGET, DEAD) for record in on_log(config, topic) for part in record]
    with contextlib.closing(redis.Redis.from_url(redis_url(config))) as client:
        stored = [part for key in client.scan_iter(f"{config.namespace}:*") for part in (key, client.get(key))]
    assert not any(b"raw-user" in (part or b"") for part in (*records, *stored))
    assert len(stored) > 2 * len(keys)

    done = line.here.json("forget", USERS[0], "--url", url(worker))
    assert {user["log_id"] for user in done["users"]} == {pseudonyms.of(USERS[0]), Pseudonyms(FORMER_KEY, "k0").of(USERS[0])}
    assert (done["users"][0]["user_id"], done["users"][0]["traces"][0]["mark"]) == (USERS[0], "erased")
    assert not line.here.json("recommend", USERS[0])["personal"]
    worker.stop()
    assert files_with(line, "raw-user") == []
    assert files_with(line, pseudonyms.of(USERS[1])) != []
