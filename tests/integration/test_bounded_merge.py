"""``worker --bounded`` over several partitions of Apache Kafka: one order, whatever the polls, the partitions and the deaths."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from line import Line, movielens_events, movielens_items

from consumers.compose import open_snapshots
from consumers.runtime import run_worker
from producers.formats import Recorded
from streamer.events.model import EVENTS, ITEMS
from streamer.snapshots import fold_hashes, list_snapshots

EVENTS_SENT = 6_000
KILLS = 3
OF_PARTITIONS = {"dedup.start", "dedup.watermark"}
"""Tables that are as wide as there are partitions."""


def spread(records: Sequence[Recorded]) -> list[Recorded]:
    """The same with distinct times, a second apart at least; the order stays."""
    spread: list[Recorded] = []
    last_ms = 0
    for record in records:
        event = json.loads(record.value)
        last_ms = max(last_ms + 1_000, event["timestamp"])
        value = json.dumps(event | {"timestamp": last_ms}).encode()
        spread.append(record._replace(value=value, timestamp_ms=last_ms))
    return spread


@pytest.fixture
def loaded(kafka_line: Callable[..., Line]) -> Callable[..., Line]:
    """A line with the same events on its topics, and so many items, over as many partitions as it is told."""

    def make(partitions: int, items: int = 0, **settings: str) -> Line:
        line = kafka_line(STREAMER_KAFKA__PARTITIONS=str(partitions), **settings).create_topics()
        line.send(movielens_items()[:items], ITEMS)
        line.send(spread(movielens_events()[:EVENTS_SENT]))
        return line

    return make


def tables(line: Line) -> dict[str, str]:
    """Hashes of the newest snapshot."""
    last = list_snapshots(open_snapshots(line.config))[0]
    assert sum(last.offsets[EVENTS].values()) == EVENTS_SENT
    return fold_hashes(last)


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    return {name for name in ours | theirs if ours.get(name) != theirs.get(name)}


def test_neither_polls_nor_partitions_change_the_state(loaded: Callable[..., Line]) -> None:
    lines = [loaded(4), loaded(4, STREAMER_KAFKA__MAX_POLL_RECORDS="37"), loaded(1)]
    for line in lines:
        run_worker(line.config, threading.Event(), bounded=True)
    usual, cut, whole = map(tables, lines)
    assert differing(usual, cut) == set()
    assert differing(usual, whole) <= OF_PARTITIONS


def test_a_run_that_is_killed_goes_on_to_the_same_state(loaded: Callable[..., Line]) -> None:
    undisturbed = loaded(4, items=100)
    line = loaded(4, items=100, STREAMER_KAFKA__MAX_POLL_RECORDS="100", STREAMER_SNAPSHOTS__INTERVAL_MS="50")
    run_worker(undisturbed.config, threading.Event(), bounded=True)
    for kill in range(1, KILLS + 1):
        worker = line.start("worker", "--bounded")
        worker.wait_position(1 + EVENTS_SENT * kill // (2 * KILLS))
        reached = worker.position()
        worker.kill()
        assert reached < EVENTS_SENT, "it was too quick to be killed"
    assert line.start("worker", "--bounded").end() == 0
    assert differing(tables(line), tables(undisturbed)) == set()
