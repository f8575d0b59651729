"""Lists rendered again without an event: how soon after ``ranking.refresh_ms_max``."""

import json
import time

import pytest
from faulty_ports import Clock
from streams import START_MS
from test_lists_of_a_life_before import EPOCH, EVENTS_0, click, store_with, wait_for

from consumers.loops import Threads
from consumers.measurements import Measurements
from consumers.tenure import Birth, Tenure
from streamer.config.tree import Config, Ranking
from streamer.engine.engine import Engine
from streamer.ports import StoreError
from streamer.snapshots import Start, StartKind


class Hand:
    """A clock that moves when it is told to."""

    def __init__(self, start_ms: int) -> None:
        self.ms = start_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1_000

    def passes(self, ms: int) -> bool:
        self.ms += ms
        return True


@pytest.mark.parametrize(("refresh_ms", "late_ms"), [(200, 50), (600_000, 1_000)])
def test_a_list_is_rendered_again_soon_after_it_is_due_however_short_that_is(refresh_ms, late_ms):
    config = Config(ranking=Ranking(refresh_ms_max=refresh_ms, publish_ms=0))
    store, clock = store_with("another", 1), Hand(START_MS)
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    tenure = Tenure(Birth(1, Engine(config), start, EPOCH, None), config, store, clock, Measurements(), Threads())
    tenure.put(click("u", 0))
    wait_for(lambda: b"rec:u" in store.payloads)
    wait_for(lambda: tenure._fold.engine.published.unpublished == 0)
    clock.ms += refresh_ms + late_ms
    wait_for(lambda: json.loads(store.payloads[b"rec:u"])["written_ms"] == clock.ms)
    tenure.end()
    wait_for(lambda: tenure.ended)


def test_a_list_is_not_rendered_again_where_nothing_has_changed_and_expires_with_its_users_last_event():
    config = Config(ranking=Ranking(refresh_ms_max=1_000, publish_ms=0))
    store, clock, measured = store_with("another", 1), Hand(START_MS), Measurements()
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    tenure = Tenure(Birth(1, Engine(config), start, EPOCH, None), config, store, clock, measured, Threads())
    tenure.put(click("u", 0))
    wait_for(lambda: store.unseen_s == {b"u": 0})
    for _ in range(4):
        clock.ms += 1_100
        settled = measured.swept
        time.sleep(0.2)
    assert measured.swept == settled <= 2  # once more after what came last, and then no more
    tenure.put(click("v", 1))
    wait_for(lambda: store.unseen_s.get(b"v") == 0)
    clock.ms += 1_100
    wait_for(lambda: store.unseen_s[b"u"] == 5)
    tenure.end()
    wait_for(lambda: tenure.ended)


def test_lists_are_rendered_less_often_only_while_work_waits_and_the_log_is_far_ahead():
    config = Config(ranking=Ranking(publish_ms=50))
    store, clock = store_with("another", 1), Hand(START_MS)
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    tenure = Tenure(Birth(1, Engine(config), start, EPOCH, None), config, store, clock, Measurements(), Threads())
    every_ms = {}
    for offset, behind_ms in enumerate((1_000, 3_600_000)):
        clock.ms = START_MS + behind_ms
        tenure.put(click("u", offset))
        wait_for(lambda: tenure.positions[EVENTS_0] == offset + 1)  # noqa: B023 - waited for here
        every_ms[behind_ms] = tenure._lists.publish_every_ms(tenure.backlog)
        wait_for(
            lambda: clock.passes(1) and tenure._fold.engine.published.unpublished == 0
        )  # no round is under way at the leap
    assert every_ms == {1_000: 50, 3_600_000: 50}  # nothing waits
    tenure.drop()
    tenure.put(click("u", 7))
    assert tenure._lists.publish_every_ms(tenure.backlog) == 500
    tenure._lists._behind_ms = 1_000
    assert tenure._lists.publish_every_ms(tenure.backlog) == 50


def test_a_round_that_took_long_is_followed_by_a_longer_pause():
    config = Config(ranking=Ranking(publish_ms=20))
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    birth, clock = Birth(1, Engine(config), start, EPOCH, None), Hand(START_MS)
    tenure = Tenure(birth, config, store_with("another", 1), clock, Measurements(), Threads())
    tenure.drop()
    lists = tenure._lists
    assert lists.publish_every_ms(0) == 20
    for took_ms, every_ms in ((30, 60), (5, 20)):
        render = lists._render
        lists._render = lambda user_T: (setattr(clock, "ms", clock.ms + took_ms), render(user_T))[1]  # noqa: B023 - called here
        click("u", took_ms).apply(tenure._fold.engine)
        lists._begin_round(1)
        lists._publish()
        lists._render = render
        assert lists.publish_every_ms(1) == every_ms


@pytest.mark.parametrize(
    ("publish_ms", "pieces_ms", "rounds_ms"),
    [
        (20, (0, 26, 52), (0, 26, 52)),
        (20, (0, 13, 26, 39, 52), (0, 26, 52)),
        (20, (0, 16, 32), (0, 16, 32)),
        (20, (0, 5), (0, 30)),
        (100, (0, 50), (0, 110)),
        (0, (0, 1, 2), (0, 1, 2)),
        (20, (0, 130), (0, 130)),
    ],
    ids=["seldom", "often", "a little too early", "no more comes", "nor after a longer time", "at once", "after a quiet time"],
)
def test_a_round_begins_with_a_piece_of_work_or_later_where_none_comes(publish_ms, pieces_ms, rounds_ms):
    """What a piece brings is not left to the round after the one that has just begun."""
    config = Config(ranking=Ranking(publish_ms=publish_ms))
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    birth, clock = Birth(1, Engine(config), start, EPOCH, None), Hand(START_MS)
    tenure = Tenure(birth, config, store_with("another", 1), clock, Measurements(), Threads())
    tenure.drop()
    lists, begun, waiting = tenure._lists, [], []

    def begin(_backlog):
        begun.extend([clock.ms - START_MS - 1_000] if waiting else [])
        anybody = bool(waiting)
        waiting.clear()
        return anybody

    lists._begin_round = begin
    for clock.ms in range(START_MS + 1_000, START_MS + 1_150):
        if clock.ms - START_MS - 1_000 in pieces_ms:
            waiting.append(clock.ms)
            lists.changed(None)
        lists.between(backlog=0)
    assert begun == pytest.approx(rounds_ms, abs=1)


def test_a_list_that_the_store_did_not_take_is_written_once_it_does_without_another_event():
    store, measured = store_with("another", 1), Measurements()
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    config = Config(ranking=Ranking(publish_ms=0))
    tenure = Tenure(Birth(1, Engine(config), start, EPOCH, None), config, store, Clock(START_MS), measured, Threads())
    wait_for(lambda: json.loads(store.payloads[b"status"]).get("portion"))  # the store is known to be the one that was filled
    written = store.write_lists
    store.write_lists = refused
    tenure.put(click("u", 0))
    wait_for(lambda: measured.store_errors > 0)
    store.write_lists = written
    wait_for(lambda: b"rec:u" in store.payloads)
    tenure.end()
    wait_for(lambda: tenure.ended)


def refused(*_):
    raise StoreError("refused by a test")
