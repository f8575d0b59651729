"""Dead letters as operators see them and send them again: from a worker that rejects to one that applies."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from command import Here
from line import WITHOUT_ENCODER, Line, wait_until

from consumers.compose import open_admin, open_reader, open_writer
from streamer.config import Config
from streamer.events.dead_letters import encode_dead_letter
from streamer.events.model import DEAD, EVENTS, DeadLetter, Reject, RejectReason
from streamer.ports import LogAdmin, OutRecord

NOW_MS = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000


def event(number: int, **fields: object) -> bytes:
    given = {"type": "click", "user_id": f"u{number}", "item_id": f"i{number}", "timestamp": NOW_MS - 1_000 * number}
    return json.dumps(given | fields).encode()


def segment(number: int, name: str = "Product Clicked") -> bytes:
    call = {"type": "track", "event": name, "userId": f"u{number}", "messageId": f"m{number}"}
    return json.dumps(call | {"timestamp": NOW_MS, "properties": {"product_id": "i1"}}).encode()


CLACKS = [event(number, type="clack") for number in range(3)]
SEGMENTS = [segment(10), segment(11), segment(12, "Page Scrolled")]
LARGE = event(20, context={"page": "x" * 100_000})
BROKEN = b'{"type": "click", '
REJECTED = {
    "unknown_type": len(CLACKS),
    "missing_field": len(SEGMENTS),
    "too_large": 1,
    "invalid_json": 1,
}


def send(config: Config, topic: str, values: Iterable[bytes]) -> None:
    with contextlib.closing(open_writer(config)) as writer:
        for value in values:
            writer.send(OutRecord(topic, b"a key", value))
        writer.flush(30)


def on_log(config: Config, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of all that committed reads find."""
    found: list[tuple[bytes | None, bytes | None]] = []
    with contextlib.closing(open_admin(config)) as admin, contextlib.closing(open_reader(config)) as reader:
        for place, (beginning, end) in admin.bounds([topic]).items():
            offset = beginning
            while offset < end:
                batch = reader.read(place, offset, 5_000)
                found += zip(batch.keys, batch.values, strict=True)
                offset = batch.next_offset
    return found


@pytest.mark.parametrize("kind", ["kafka", "embedded"])
def test_rejected_records_are_shown_sent_again_once_counted_when_they_fail_again_and_applied_when_mended(
    kind: str, request: pytest.FixtureRequest
) -> None:
    make: Callable[..., Line] = request.getfixturevalue(f"{kind}_line")
    line = make(**WITHOUT_ENCODER).create_topics()
    here, config = line.here, line.config
    admin = open_admin(config)
    request.addfinalizer(admin.close)
    send(config, EVENTS, [*CLACKS, event(5), *SEGMENTS, LARGE, BROKEN])
    worker = line.start("worker")
    worker.wait(lambda: worker.counters.get("rejected") == sum(REJECTED.values()), "all rejected")
    wait_until(lambda: _end(admin, DEAD) == sum(REJECTED.values()), "the letters")
    seen = here.json("dead-letters", "--limit", 3, "--oldest")
    assert {reason: one["letters"] for reason, one in seen["reasons"].items()} == REJECTED
    assert (seen["redriven"], seen["reasons"]["too_large"]["cut"], len(seen["shown"])) == (0, 1, 3)
    assert [(one["topic"], one["partition"], one["offset"], one["attempts"]) for one in seen["shown"]] == [
        (EVENTS, 0, at, 1) for at in range(3)
    ]
    both = ("--reason", "unknown_type", "--reason", "missing_field")
    places = here.run("dead-letters", "--places", *both).stdout.split()
    assert places == ["events[0]:0-2", "events[0]:4-6"]
    dry = here.json("redrive", "--dry-run", *both, "--fix", "segment")
    assert (dry["sent"], dry["left"]) == (2, {"not mended": 4})
    assert here.json("redrive", "--dry-run", "--reason", "too_large")["sent"] == 1  # the original is on the log still
    assert _end(admin, DEAD) == sum(REJECTED.values())

    mended = here.json("redrive", *both, "--fix", "segment")
    assert (mended["sent"], mended["records"], mended["rejected_again"]) == (2, {EVENTS: 2}, 0)
    worker.wait_applied(1 + 2)
    assert {(key, json.loads(value or b"")["event_id"]) for key, value in on_log(config, EVENTS)[-2:]} == {
        (b"u10", "m10"),
        (b"u11", "m11"),
    }
    sent = here.json("redrive", "--reason", "unknown_type", "--limit", 3)
    assert (sent["sent"], sent["rejected_again"]) == (3, 3)
    worker.wait(lambda: worker.counters.get("rejected") == sum(REJECTED.values()) + 3, "rejected again")
    wait_until(lambda: _letters(here) == sum(REJECTED.values()) + 3, "the letters again")
    lines = [json.loads(one) for one in here.run("dead-letters", "--lines", *both).stdout.splitlines()]
    assert Counter((one["attempts"], one["redriven"]) for one in lines) == {(1, True): 5, (1, False): 1, (2, False): 3}
    assert {one["value"].encode() for one in lines if one["attempts"] == 2} == set(CLACKS)
    worker.stop()
    assert line.snapshot()["counters"]["applied"]["click"] == 3


def put_letters(config: Config, values: Iterable[bytes]) -> None:
    with contextlib.closing(open_writer(config)) as writer, contextlib.closing(open_admin(config)) as admin:
        topic_id = admin.topics()[EVENTS].topic_id
        for number, value in enumerate(values):
            reject = Reject(RejectReason.ENGINE_ERROR, "the fold failed at it")
            kept, headers = encode_dead_letter(DeadLetter(reject, EVENTS, topic_id, 0, number, b"u%d" % (number % 50), value))
            writer.send(OutRecord(DEAD, b"u%d" % (number % 50), kept, headers))
        writer.flush(60)


@pytest.mark.parametrize("world", ["here", "kafka_here"])
def test_killed_in_the_middle_and_run_again_it_sends_each_letter_once(world: str, request: pytest.FixtureRequest) -> None:
    here: Here = request.getfixturevalue(world)
    here.json("topics", "create")
    values = [event(number) for number in range(4_000)]
    put_letters(here.config, values)
    with contextlib.closing(open_admin(here.config)) as admin:
        process = here.start("redrive")
        wait_until(lambda: _end(admin) > 0, "some sent")
        process.kill()
        process.communicate()
    partly = len(on_log(here.config, EVENTS))
    assert 0 < partly < len(values), "the kill must come in the middle"
    report = here.json("redrive")
    assert report["sent"] == len(values) - report["left"]["sent again before"] <= len(values) - partly
    found = Counter(on_log(here.config, EVENTS))
    assert found == Counter((b"u%d" % (number % 50), value) for number, value in enumerate(values))
    assert here.json("redrive")["sent"] == 0
    assert here.json("dead-letters")["redriven"] == len(values)


def _end(admin: LogAdmin, topic: str = EVENTS) -> int:
    return sum(end for _, end in admin.bounds([topic]).values())


def _letters(here: Here) -> int:
    return int(here.json("dead-letters", "--limit", 0)["letters"])


def test_a_dry_run_says_what_is_late_and_what_is_rejected_again_and_writes_nothing(here: Here) -> None:
    here.json("topics", "create")
    send(here.config, EVENTS, [event(0)])
    put_letters(here.config, [event(1), event(2, timestamp=NOW_MS - 25 * HOUR_MS), event(3, type="clack")])
    told: dict[str, Any] = here.json("redrive", "--dry-run", "--limit", 5)
    assert (told["sent"], told["late"], told["rejected_again"], told["newest_event_ms"]) == (3, 1, 1, NOW_MS)
    text = here.run("redrive", "--dry-run").stdout
    assert "would be sent: 3 of 3 letters, as records: 3 onto events" in text
    assert "1 of these events change nothing, being more than 24 h older" in text
    assert len(on_log(here.config, EVENTS)) == 1
    assert here.json("dead-letters")["redriven"] == 0


def test_wrong_usage_is_said(here: Here) -> None:
    assert "there is no topic events.dead" in here.run("dead-letters").stderr
    here.json("topics", "create")
    assert here.run("dead-letters").stdout == "no dead letters\n"
    unknown = here.run("redrive", "--fix", "movielens")
    assert (unknown.exit_code, "is no format of events as JSON: expected one of streamer-jsonl, segment" in unknown.stderr) == (
        2,
        True,
    )
    assert here.run("redrive", "--fix", "segment", "--topic", "items").exit_code == 2
    assert here.run("dead-letters", "--json", "--lines").exit_code == 2
    assert here.run("dead-letters", "--reason", "bad_weather").exit_code == 2
