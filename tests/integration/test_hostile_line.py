"""Hostile records among good ones through a real worker: what can be used is applied, what can't is kept, nothing stands still."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hostile.records import Hostile, Hostility
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from line import WITHOUT_ENCODER, Line, Lists, wait_until

from consumers.compose import open_writer
from producers.sender import RECORD_BYTES_MAX
from streamer.events.codec import decode_events
from streamer.events.model import DEAD, EVENTS
from streamer.ports import OutRecord

logger = logging.getLogger(__name__)


class Size(NamedTuple):
    hostile: int
    good: int


QUICK, WHOLE = Size(3_000, 600), Size(50_000, 10_000)
PIECES = 10
LISTED_S_MAX = 60.0


def good(n: int) -> Hostile:
    event = {"event_id": f"g{n}", "type": "click", "user_id": f"g{n % 50}", "item_id": f"i{n % 90}"}
    return Hostile(EVENTS, f"g{n % 50}".encode(), json.dumps(event | {"timestamp": time.time_ns() // 1_000_000}).encode())


def marker(n: int) -> Hostile:
    """An event whose user's list tells that it arrived."""
    event = {"type": "click", "user_id": f"m{n}", "item_id": f"i{n}", "timestamp": time.time_ns() // 1_000_000}
    return Hostile(EVENTS, f"m{n}".encode(), json.dumps(event).encode())


def send(line: Line, records: Sequence[Hostile]) -> None:
    """All of them that a producer takes: what is nothing or too large for the log never gets there."""
    failures: list[Exception] = []
    with contextlib.closing(open_writer(line.config)) as writer:
        for record in records:
            writer.send(OutRecord(*record), lambda _, error: failures.append(error) if error else None)
    assert not failures


def is_sendable(record: Hostile) -> bool:
    size = len(record.key or b"") + len(record.value or b"")
    return not (record.key is None and record.value is None) and size < RECORD_BYTES_MAX - 1_000


@pytest.mark.parametrize(
    "size", [QUICK, pytest.param(WHOLE, marks=[pytest.mark.chaos, pytest.mark.timeout(1_800)])], ids=["quick", "whole"]
)
def test_good_events_among_hostile_records_are_applied_and_listed_and_the_others_are_kept(
    kafka_line: Callable[..., Line], size: Size
) -> None:
    line = kafka_line(**WITHOUT_ENCODER).create_topics()
    records = [record for record in Hostility(size.hostile).records(size.hostile, topics=(EVENTS,)) if is_sendable(record)]
    worker = line.start("worker")
    worker.wait_role("owner")
    lists = Lists(str(line.config.redis.url), line.config.namespace)
    sent, listed_s = [], []
    for piece in range(PIECES):
        part = records[piece::PIECES]
        mixed = part + [good(n) for n in range(piece, size.good, PIECES)]
        send(line, [*mixed, marker(piece)])
        sent += [*mixed, marker(piece)]
        name = f"m{piece}"
        listed_s.append(wait_until(lambda name=name: lists.read([name]), f"a list of {name}", deadline_s=LISTED_S_MAX))
    worker.wait_position(len(sent))
    wait_until(lambda: lists.users() >= {f"g{n}" for n in range(50)}, "a list of every good user", deadline_s=LISTED_S_MAX)
    expected = decode_events([record.value for record in sent])
    worker.stop()
    counters = line.snapshot()["counters"]
    assert counters["rejected"] == len(expected.rejects)
    others = sum(counters[name] for name in ("duplicate", "late", "forgotten"))
    assert sum(counters["applied"].values()) + others == len(expected.positions)
    assert sum(counters["applied"].values()) >= size.good + PIECES
    assert dead_letters(line) == len(expected.rejects)
    logger.info("%d records, rejected %d, lists after %s s", len(sent), len(expected.rejects), [round(s, 2) for s in listed_s])


def dead_letters(line: Line) -> int:
    topic = line.config.kafka.topic_prefix + DEAD
    with contextlib.closing(KafkaConsumer(bootstrap_servers=line.config.kafka.bootstrap_servers)) as consumer:
        places = [KafkaPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        return sum(consumer.end_offsets(places).values())
