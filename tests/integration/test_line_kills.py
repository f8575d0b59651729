"""A worker that is killed again and again while it applies events ends with the state of one that never was."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from line import WITHOUT_ENCODER, Line, Process, movielens_events

from consumers.compose import committed_offsets
from producers.formats import Recorded
from streamer.events.model import EVENTS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """How much is sent, and how often the worker is killed."""

    events: int
    kills: int


QUICK = Size(events=12_000, kills=4)
WHOLE = Size(events=50_000, kills=10)
SIZES = [pytest.param(QUICK, id="quick"), pytest.param(WHOLE, id="whole", marks=[pytest.mark.chaos, pytest.mark.timeout(900)])]

WORLDS = ["kafka", "embedded"]
SEED = 20_261_124


def made(world: str, request: pytest.FixtureRequest) -> Line:
    make: Callable[..., Line] = request.getfixturevalue(f"{world}_line")
    return make(**WITHOUT_ENCODER).create_topics()


def parts_of(records: Sequence[Recorded], count: int) -> list[Sequence[Recorded]]:
    size = -(-len(records) // count)
    return [records[first : first + size] for first in range(0, len(records), size)]


def committed(line: Line) -> int:
    return sum(
        at.next_offset for place, at in committed_offsets(line.config, line.config.group).items() if place.topic == EVENTS
    )


def wait_for_the_moment(number: int, worker: Process, sent: int, part: int, chance: random.Random) -> None:
    """In turn: somewhere in the midst of the new events; right after a snapshot came into force; as soon as it owns the log."""
    if number % 3 == 2:
        worker.wait(lambda: worker.role in {"restoring", "owner"}, "the log owned")
        return
    at = sent - part + chance.randrange(part // 10, part)
    worker.wait_position(at)
    if number % 3 == 1:
        before = worker.get("/status")[1]["snapshot"]
        worker.wait(lambda: worker.get("/status")[1].get("snapshot") != before, "another snapshot")


def killed_often(line: Line, records: Sequence[Recorded], kills: int) -> list[int]:
    """Applies all records; the number that had to be done again after each kill."""
    chance = random.Random(SEED)
    sent, again = 0, []
    for number, part in enumerate(parts_of(records, kills)):
        worker = line.start("worker")
        sent += line.send(part)
        wait_for_the_moment(number, worker, sent, len(part), chance)
        reached = worker.position()
        worker.kill()
        again.append(max(0, reached - committed(line)))
        logger.info("killed at %d of %d, %d to be done again", reached, sent, again[-1])
    worker = line.start("worker")
    worker.wait_position(sent)
    worker.stop()
    return again


@pytest.fixture(scope="module")
def undisturbed() -> dict[int, dict[str, Any]]:
    """Snapshots of workers that nobody disturbed, by number of events."""
    return {}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("world", WORLDS)
def test_a_worker_killed_while_it_applies_events_ends_with_the_state_of_one_that_was_not(
    world: str, size: Size, request: pytest.FixtureRequest, undisturbed: dict[int, dict[str, Any]]
) -> None:
    events = movielens_events()[: size.events]
    line = made(world, request)
    again = killed_often(line, events, size.kills)
    if size.events not in undisturbed:
        alone = made("embedded", request)
        alone.send(events)
        assert alone.start("worker", "--bounded").end() == 0
        undisturbed[size.events] = alone.snapshot()
    expected, found = undisturbed[size.events], line.snapshot()
    assert found["counters"] == expected["counters"]
    assert sum(found["counters"]["applied"].values()) == size.events
    assert found["tables"] == expected["tables"]
    assert len(again) == size.kills
    assert sum(again) > 0, "no kill came while applied events were not yet committed"
