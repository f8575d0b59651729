"""How far a reader is behind, in records and in seconds, as the log and a clock of the test say."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

from consumers.lag import LAG_EVERY_MS, LagWatch
from consumers.measurements import Backlog
from streamer.ports import LogError, TopicPartition

EVENTS_0, ITEMS_0 = TopicPartition("events", 0), TopicPartition("items", 0)
START_MS = 1_795_485_458_344


class AtOnce(Executor):
    """Does a job where it is handed over."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Ends:
    """The ends of a log that may be away."""

    def __init__(self) -> None:
        self.ends = {EVENTS_0: 10, ITEMS_0: 5, TopicPartition("events.dead", 0): 99}
        self.away = False
        self.asked = 0

    def bounds(self) -> dict[TopicPartition, tuple[int, int]]:
        self.asked += 1
        if self.away:
            raise LogError("away", retriable=True)
        return {place: (0, end) for place, end in self.ends.items()}


class Watched:
    """A watch with a clock that the test sets."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.log = Ends()
        self.backlog = Backlog(append_ms=START_MS - 60_000)
        self.watch = LagWatch(self.log, lambda: self.now_ms, self.backlog, AtOnce())  # type: ignore[arg-type]

    def look(self, events: int, after_ms: int = LAG_EVERY_MS) -> float | None:
        self.now_ms += after_ms
        self.watch.look({EVENTS_0: events, ITEMS_0: 5})
        return self.backlog.lag_s(self.now_ms)


def test_lag_is_of_the_partitions_that_are_read_and_is_not_known_before_the_first_look() -> None:
    watched = Watched()
    assert watched.backlog.lag_s(START_MS) is None
    watched.look(7)
    assert watched.backlog.lag == {"events": {"0": 3}, "items": {"0": 0}}


def test_what_waits_is_as_old_as_the_last_record_applied_says_until_the_ends_are_reached() -> None:
    watched = Watched()
    assert watched.look(7) == 60 + LAG_EVERY_MS / 1_000
    watched.backlog.append_ms = watched.now_ms - 4_000
    assert watched.look(9, 5_000) == 9
    assert watched.look(10) == 0
    watched.log.ends[EVENTS_0] = 11
    assert watched.look(10, 3_000) == 3  # an hour of silence before would not count


def test_the_log_is_asked_every_two_seconds_at_most() -> None:
    watched = Watched()
    for _ in range(10):
        watched.look(7, LAG_EVERY_MS // 4)
    assert watched.log.asked == 3


def test_a_log_that_is_away_leaves_what_was_known_and_is_seen_by_when_it_answered_last() -> None:
    watched = Watched()
    watched.look(7)
    known, answered_ms = watched.backlog.lag, watched.backlog.looked_ms
    watched.log.away = True
    watched.look(7, 60_000)
    assert (watched.backlog.lag, watched.backlog.looked_ms) == (known, answered_ms)
    assert watched.now_ms - answered_ms == 60_000
