"""What comes and goes around a worker: signals, its store, its topics, a second worker."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis
from line import WITHOUT_ENCODER, Line, Lists, Process, movielens_events, users_of

from consumers.compose import committed_offsets
from producers.formats import Recorded
from streamer.embedded.valkey import ValkeyProcess
from streamer.events.model import EVENTS

logger = logging.getLogger(__name__)

WORLDS = ["kafka", "embedded"]
EVENTS_SENT = 4_000


def made(world: str, request: pytest.FixtureRequest, **settings: str) -> Line:
    make: Callable[..., Line] = request.getfixturevalue(f"{world}_line")
    return make(**WITHOUT_ENCODER, **settings)


def sent_in_time(line: Line, records: Sequence[Recorded], stop: threading.Event) -> int:
    """Sends a hundred events every tenth of a second until told to stop or at the end; how many."""
    sent = 0
    while sent < len(records) and not stop.wait(0.1):
        sent += line.send(records[sent : sent + 100])
    return sent


@contextlib.contextmanager
def flowing(line: Line, records: Sequence[Recorded]) -> Iterator[Callable[[], int]]:
    """Events keep coming while the block runs; the function ends that and says how many were sent."""
    stop, sent = threading.Event(), []
    thread = threading.Thread(target=lambda: sent.append(sent_in_time(line, records, stop)))
    thread.start()

    def end() -> int:
        stop.set()
        thread.join()
        return sent[0]

    try:
        yield end
    finally:
        end()


def totals(line: Line) -> dict[str, int]:
    """Counters of the latest snapshot that are not zero."""
    counters = line.snapshot()["counters"]
    return {"applied": sum(counters["applied"].values())} | {
        name: count for name, count in counters.items() if name != "applied" and count
    }


@pytest.mark.parametrize("world", WORLDS)
def test_sigterm_ends_within_seconds_and_what_goes_on_later_is_what_had_gone_on(
    world: str, request: pytest.FixtureRequest
) -> None:
    """The cut falls in the midst of a block, and of a group: two events of one user and time stand next to each other."""
    events = movielens_events()[:EVENTS_SENT]
    cut = next(n for n in range(1_501, EVENTS_SENT) if n % 128 and grouped(events[n - 1]) == grouped(events[n]))
    whole, split = made(world, request).create_topics(), made(world, request).create_topics()
    whole.send(events)
    assert whole.start("worker", "--bounded").end() == 0
    for part, end in ((events[:cut], cut), (events[cut:], EVENTS_SENT)):
        split.send(part)
        worker = split.start("worker")
        worker.wait_position(end)
        took = worker.stop()
        logger.info("%s: ended %.1f s after SIGTERM", world, took)
        assert took < 15
    assert split.snapshot()["tables"] == whole.snapshot()["tables"]
    assert totals(split) == {"applied": EVENTS_SENT}


def grouped(record: Recorded) -> tuple[bytes | None, int | None]:
    return record.key, record.timestamp_ms


def test_a_bounded_worker_reads_to_the_present_ends_takes_a_snapshot_and_exits(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(STREAMER_KAFKA__PARTITIONS="4").create_topics()
    line.send(movielens_events()[:EVENTS_SENT])
    assert line.start("worker", "--bounded").end() == 0
    assert totals(line) == {"applied": EVENTS_SENT}
    assert {at.metadata for at in committed_offsets(line.config, line.config.group).values()} == {
        f"streamer/1 {line.snapshot()['name']}"
    }
    assert line.start("worker", "--bounded").end() == 0  # with nothing to do
    assert totals(line) == {"applied": EVENTS_SENT}


def test_a_bounded_worker_that_is_stopped_on_its_way_does_not_pass_for_done(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line().create_topics()
    line.send(movielens_events()[:EVENTS_SENT])
    worker = line.start("worker", "--bounded")
    worker.wait_position(1)
    worker.signal(signal.SIGTERM)
    assert worker.end() == (0 if totals(line) == {"applied": EVENTS_SENT} else 1)
    assert worker.end() == 0 or "stopped before the ends" in worker.text


@pytest.mark.parametrize("world", WORLDS)
def test_a_worker_waits_for_its_topics_and_says_what_makes_them(world: str, request: pytest.FixtureRequest) -> None:
    line = made(world, request)
    worker = line.start("worker")
    worker.wait(lambda: "streamer topics create" in worker.text, "the command that makes topics named")
    assert (worker.get("/livez")[0], worker.get("/readyz")[0], worker.role) == (200, 503, "starting")
    line.here.json("topics", "create")
    worker.wait_role("owner")
    assert worker.get("/readyz")[0] == 200
    line.send(movielens_events()[:100])
    worker.wait_applied(100)
    worker.stop()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    """A server that keeps nothing on disk: killed and started again it is empty."""
    with contextlib.closing(ValkeyProcess(tmp_path / "mortal", options={"appendonly": "no"})) as server:
        yield server


def test_lists_come_back_after_redis_was_killed_and_learning_goes_on_meanwhile(
    kafka_line: Callable[..., Line], own_valkey: ValkeyProcess
) -> None:
    line = kafka_line(STREAMER_REDIS__URL=own_valkey.url).create_topics()
    events = movielens_events()
    worker = line.start("worker")
    first = line.send(events[:EVENTS_SENT])
    lists = Lists(own_valkey.url, line.config.namespace)
    worker.wait(lambda: lists.users() == users_of(events[:first]), "a list of every user")
    before = lists.versions(users_of(events[:first]))
    with contextlib.closing(redis.Redis.from_url(own_valkey.url)) as marked:
        marked.set("marker", "1")
    with flowing(line, events[first : first + 20_000]) as end:
        os.kill(own_valkey.pid, signal.SIGKILL)
        worker.wait(lambda: "lists wait" in worker.text, "the outage noticed")
        reached = committed(line)
        worker.wait(lambda: committed(line) >= reached + 500, "commits going on without the store")
        url = own_valkey.ensure()
        assert url == lists.url
        with contextlib.closing(redis.Redis.from_url(url)) as marked:
            assert not marked.exists("marker")  # the server came back with nothing
        everyone = users_of(events[:first])
        took = worker.wait(lambda: everyone <= lists.users(), "all lists back", deadline_s=30)
        logger.info("all %d lists back %.1f s after the store", len(everyone), took)
        sent = first + end()
    worker.wait(lambda: lists.users() == users_of(events[:sent]), "a list of every user")
    after = lists.versions(everyone)
    assert all(after[user] >= before[user] for user in everyone)
    assert worker.alive
    worker.stop()
    assert totals(line) == {"applied": sent}


def test_sigterm_ends_a_worker_whose_redis_is_away_and_its_lists_are_written_by_the_next(
    kafka_line: Callable[..., Line], own_valkey: ValkeyProcess
) -> None:
    line = kafka_line(STREAMER_REDIS__URL=own_valkey.url).create_topics()
    worker = line.start("worker")
    worker.wait_role("owner")
    os.kill(own_valkey.pid, signal.SIGKILL)
    events = movielens_events()[:EVENTS_SENT]
    line.send(events)
    worker.wait_position(EVENTS_SENT)
    took = worker.stop()
    logger.info("ended %.1f s after SIGTERM without its store", took)
    assert took < 20
    assert totals(line) == {"applied": EVENTS_SENT}
    own_valkey.ensure()
    lists = Lists(own_valkey.url, line.config.namespace)
    following = line.start("worker")
    following.wait(lambda: lists.users() == users_of(events), "a list of every user")
    following.stop()


def test_the_version_of_a_list_never_goes_back_when_its_writer_is_killed(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(STREAMER_SNAPSHOTS__INTERVAL_MS="2000").create_topics()
    events = movielens_events()[:EVENTS_SENT]
    lists = Lists(str(line.config.redis.url), line.config.namespace)
    seen: dict[str, str] = {}

    def watch() -> None:
        for user, version in lists.versions(users_of(events)).items():
            assert version >= seen.get(user, ""), f"the list of {user} went back from {seen[user]} to {version}"
            seen[user] = version

    worker = line.start("worker")
    for part in (events[: EVENTS_SENT // 2], events[EVENTS_SENT // 2 :]):
        line.send(part)
        known = len(seen)
        worker.wait(lambda known=known: (watch(), len(seen) >= known + 10)[1], "ten more lists")
        worker.kill()
        worker = line.start("worker")
    worker.wait(lambda: (watch(), worker.position() >= EVENTS_SENT)[1], "all events taken in")
    worker.wait(lambda: (watch(), set(seen) == users_of(events))[1], "a list of every user")
    worker.stop()
    watch()


def committed(line: Line) -> int:
    return sum(
        at.next_offset for place, at in committed_offsets(line.config, line.config.group).items() if place.topic == EVENTS
    )


def owner_and_standby(line: Line) -> tuple[Process, Process]:
    first = line.start("worker")
    first.wait_role("owner")
    second = line.start("worker")
    second.wait_role("standby")
    first.wait_role("owner")  # it may restore once more when another comes
    return first, second


@pytest.mark.parametrize("world", WORLDS)
def test_a_standby_takes_over_when_the_owner_is_killed_and_no_event_is_lost_or_doubled(
    world: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # lists of both workers go to one store, as they would in a shop
    with contextlib.closing(ValkeyProcess(tmp_path / "shared")) as valkey:
        line = made(world, request, STREAMER_REDIS__URL=valkey.url, STREAMER_KAFKA__PARTITIONS="2").create_topics()
        owner, standby = owner_and_standby(line)
        assert (owner.get("/readyz")[0], standby.get("/readyz")[0]) == (200, 200)
        assert standby.get("/status")[1]["counters"] is None
        events = movielens_events()
        with flowing(line, events[:20_000]) as end:
            owner.wait_position(1_000)
            owner.kill()
            took = standby.wait_role("owner")
            logger.info("%s: the standby owned the log %.1f s after the owner was killed", world, took)
            standby.wait_position(1_500)
            sent = end()
        standby.wait_position(sent)
        standby.stop()
    assert totals(line) == {"applied": sent}


def test_an_owner_that_slept_finds_another_in_its_place_and_stands_by(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(STREAMER_KAFKA__PARTITIONS="2").create_topics()
    sleeper, other = owner_and_standby(line)
    with flowing(line, movielens_events()[:20_000]) as end:
        sleeper.wait_position(1_000)
        sleeper.signal(signal.SIGSTOP)
        took = other.wait_role("owner")
        logger.info("the standby owned the log %.1f s after the owner fell asleep", took)
        sleeper.signal(signal.SIGCONT)
        sleeper.wait_role("standby")
        sent = end()
    other.wait_position(sent)
    assert (other.role, sleeper.role) == ("owner", "standby")
    other.stop()
    sleeper.wait_role("owner")
    sleeper.wait_position(sent)  # what the other could not commit while members came and went is read again
    sleeper.stop()
    assert totals(line) == {"applied": sent}


def test_two_workers_that_are_stopped_at_once_both_end_in_good_order(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line().create_topics()
    owner, standby = owner_and_standby(line)
    line.send(movielens_events()[:EVENTS_SENT])
    owner.wait_position(EVENTS_SENT // 2)
    for one in (standby, owner):
        one.signal(signal.SIGTERM)
    assert (owner.end(), standby.end()) == (0, 0), owner.text[-3000:] + standby.text[-3000:]
    last = line.start("worker")
    last.wait_position(EVENTS_SENT)
    last.stop()
    assert totals(line) == {"applied": EVENTS_SENT}
