"""From recorded events and films on the log to lists in Valkey and a snapshot that the committed offsets name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from line import VERSION, Line, Lists, Process, movielens_events, movielens_items, users_of

from consumers.compose import committed_offsets, redis_url
from consumers.work import OWNER_TOPICS
from streamer.events.model import EVENTS, ITEMS, VECTORS

EVENTS_SENT = 10_000
FILMS = {"kafka": 400, "embedded": 100}
"""Documents sent; the other films are known by their events alone."""


def made(world: str, request: pytest.FixtureRequest, **settings: str) -> Line:
    make: Callable[..., Line] = request.getfixturevalue(f"{world}_line")
    return make(**settings).create_topics()


def wait_until_read(worker: Process, line: Line) -> None:
    """All that is on the log now has been taken in."""
    for topic, end in line.ends().items():
        worker.wait_position(end, topic)


def unlike(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Tables that differ between two snapshots."""
    assert before["tables"].keys() == after["tables"].keys()
    return {name for name, sha256 in before["tables"].items() if after["tables"][name] != sha256}


@pytest.mark.parametrize("world", ["kafka", "embedded"])
def test_every_user_of_ten_thousand_events_gets_a_list_and_the_same_events_again_change_nothing(
    world: str, request: pytest.FixtureRequest
) -> None:
    line = made(world, request, STREAMER_KAFKA__PARTITIONS="4")
    events = movielens_events()[:EVENTS_SENT]
    worker = line.start("worker")
    if world == "kafka":  # a worker on an embedded log encodes in a thread of its own
        line.start("encoder")
    films = FILMS[world]
    assert line.send(movielens_items()[:films], ITEMS) == films
    assert line.send(events) == EVENTS_SENT
    worker.wait_position(films, VECTORS)
    wait_until_read(worker, line)
    with contextlib.closing(Lists(redis_url(line.config), line.config.namespace)) as lists:
        worker.wait(lambda: lists.users() == users_of(events), "a list of every user")
        check_lists(lists.read(users_of(events)), worker)
    assert worker.stop() < 30
    first = line.snapshot()
    check_snapshot(line, first, films)
    worker = line.start("worker")
    assert line.send(events) == EVENTS_SENT
    worker.wait_position(2 * EVENTS_SENT)
    worker.stop()
    second = line.snapshot()
    assert second["counters"] == first["counters"] | {"duplicate": EVENTS_SENT}
    assert unlike(first, second) == set()
    assert second["epoch"] == first["epoch"]


def check_lists(lists: dict[str, dict[str, Any]], worker: Process) -> None:
    films = {record.key.decode() for record in movielens_items() if record.key}
    epoch = f"{worker.get('/status')[1]['epoch']:013d}"
    for user, payload in lists.items():
        listed = [item["item_id"] for item in payload["items"]]
        assert (payload["user_id"], len(listed), len(set(listed))) == (user, 20, 20)
        assert set(listed) <= films
        assert VERSION.fullmatch(payload["version"])
        assert payload["version"].startswith(epoch)


def check_snapshot(line: Line, snapshot: dict[str, Any], films: int) -> None:
    """It holds all that was sent, each record once, and every committed offset names it."""
    counters = snapshot["counters"]
    assert sum(counters["applied"].values()) == EVENTS_SENT
    assert {count for name, count in counters.items() if name != "applied"} == {0}
    committed = {
        place: at for place, at in committed_offsets(line.config, line.config.group).items() if place.topic in OWNER_TOPICS
    }
    assert {at.metadata for at in committed.values()} == {f"streamer/1 {snapshot['name']}"}
    reached = dict.fromkeys(OWNER_TOPICS, 0)
    for place, at in committed.items():
        reached[place.topic] += at.next_offset
        assert snapshot["offsets"][place.topic][str(place.partition)] == at.next_offset
    assert reached == line.ends()
    assert (reached[EVENTS], reached[ITEMS], reached[VECTORS]) == (EVENTS_SENT, films, films)
