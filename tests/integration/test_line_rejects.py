"""Records that are no events among good ones: each is kept once with its reason, and the stream goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from line import Line, Process, wait_until

from consumers.compose import committed_offsets, open_writer
from streamer.events.model import DEAD, DEAD_VALUE_BYTES_MAX, EVENTS
from streamer.ports import OutRecord

GOOD = 300
T0 = time.time_ns() // 1_000_000 - 1_000 * GOOD
"""The good events end about now, as those of a live system do: the clock that runs ahead must not make them late."""
YEAR_MS = 365 * 86_400_000


def good(number: int) -> dict[str, object]:
    user = f"u{number % 17}"
    return {
        "event_id": f"e{number}",
        "type": "click",
        "user_id": user,
        "item_id": f"i{number % 29}",
        "timestamp": T0 + 1_000 * number,
    }


def encoded(event: object) -> bytes:
    return json.dumps(event).encode()


BAD = {
    "invalid_json": b'{"type": "click", "user_id": "u1", ',
    "missing_field": encoded({name: value for name, value in good(1).items() if name != "user_id"}),
    "wrong_type": encoded(good(2) | {"quantity": "three"}),
    "bad_timestamp": encoded(good(3) | {"timestamp": T0 // 1_000}),
    "unknown_type": encoded(good(4) | {"type": "clack"}),
    "bad_id": encoded(good(5) | {"item_id": "i" * 257}),
    "too_large": encoded(good(6) | {"context": {"page": "x" * 900_000}}),
}
"""A value for each reason that a producer can give."""


def mixed() -> list[bytes]:
    """Good events with the bad ones between them, and one whose clock is a year ahead."""
    values = [encoded(good(number)) for number in range(GOOD)]
    for place, bad in enumerate(BAD.values()):
        values.insert(20 + 30 * place, bad)
    values.insert(150, encoded(good(GOOD) | {"timestamp": T0 + YEAR_MS, "user_id": "ahead", "event_id": "ahead"}))
    return values


def send(line: Line, values: Sequence[bytes]) -> None:
    failures: list[Exception] = []
    with contextlib.closing(open_writer(line.config)) as writer:
        for value in values:
            writer.send(OutRecord(EVENTS, b"k", value), lambda _, error: failures.append(error) if error else None)
    assert not failures


def dead_letters(line: Line, count: int) -> list[tuple[dict[str, str], bytes | None]]:
    """Headers and value of everything in ``events.dead``, which must come to hold that many."""
    consumer = KafkaConsumer(
        bootstrap_servers=line.config.kafka.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    topic = line.config.kafka.topic_prefix + DEAD
    try:
        places = [KafkaPartition(topic, partition) for partition in range(line.config.kafka.partitions)]
        consumer.assign(places)
        wait_until(lambda: sum(consumer.end_offsets(places).values()) >= count, f"{count} dead letters")
        ends, found = consumer.end_offsets(places), []
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(500).values():
                found += [({name: text.decode() for name, text in one.headers}, one.value) for one in records]
    finally:
        consumer.close()
    return found


def check_dead_letters(line: Line, sent: Sequence[bytes]) -> None:
    found = dead_letters(line, len(BAD))
    assert sorted(headers["reason"] for headers, _ in found) == sorted(BAD)
    for headers, value in found:
        original = BAD[headers["reason"]]
        assert value == original[:DEAD_VALUE_BYTES_MAX]
        assert headers["sha256"] == hashlib.sha256(original).hexdigest()
        assert sent[int(headers["offset"])] == original
        assert (headers["partition"], headers["attempts"]) == ("0", "1")
        assert headers["topic_id"]
        assert headers["error"]


def settled(worker: Process, line: Line, records: int) -> None:
    worker.wait_position(records)
    worker.wait(lambda: committed(line) >= records, "all of it committed")


def committed(line: Line) -> int:
    return sum(
        at.next_offset for place, at in committed_offsets(line.config, line.config.group).items() if place.topic == EVENTS
    )


def test_each_bad_record_is_kept_once_with_its_reason_and_all_good_events_are_applied(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line().create_topics()
    values = mixed()
    send(line, values)
    worker = line.start("worker")
    settled(worker, line, len(values))
    check_dead_letters(line, values)
    worker.stop()
    snapshot = line.snapshot()
    counters = snapshot["counters"]
    assert sum(counters["applied"].values()) == GOOD + 1
    assert {name: count for name, count in counters.items() if count and name != "applied"} == {
        "rejected": len(BAD),
        "clamped": 1,
    }
    assert snapshot["event_ms"] < T0 + YEAR_MS // 2
    again = line.start("worker")
    send(line, [encoded(good(GOOD + 1))])
    again.wait_position(len(values) + 1)
    again.stop()
    check_dead_letters(line, values)
