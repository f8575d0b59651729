"""The pace of a long job: how long it rests, and when no more."""

from __future__ import annotations

import threading

import pytest

from consumers.loops import Threads
from consumers.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return int(self.now_s * 1_000)

    def monotonic_s(self) -> float:
        return self.now_s


class Job:
    """Ten steps of the same length, at a pace."""

    def __init__(self, target_s: float, limit_s: float) -> None:
        self.clock = Clock()
        self.rested_s = 0.0
        self.pace = Pace(target_s, limit_s, self.clock, self._pause)

    def _pause(self, seconds: float, stop: threading.Event) -> None:
        assert not stop.is_set()
        self.rested_s += seconds
        self.clock.now_s += seconds

    def took_s(self, step_s: float) -> float:
        started_s = self.clock.now_s
        self.pace.begin()
        for _ in range(10):
            self.clock.now_s += step_s
            self.pace.rest()
        self.pace.end()
        return self.clock.now_s - started_s


@pytest.mark.parametrize(
    ("step_s", "first_s", "second_s"),
    [(0.01, 1.0, 1.0), (0.2, 8.7, 5.0), (0.3, 9.6, 6.0), (3.0, 34.5, 30.0)],
    ids=["short", "two fifths of the time", "three fifths", "longer than the time"],
)
def test_a_job_is_spread_over_the_time_for_it_as_the_one_before_tells(step_s, first_s, second_s):
    """The first one rests as long as it may after each step, until there is no more time."""
    job = Job(5.0, 7.5)
    assert job.took_s(step_s) == pytest.approx(first_s)
    assert job.took_s(step_s) == pytest.approx(second_s)
    assert job.pace.worked_s == pytest.approx(10 * step_s)


def test_a_job_longer_than_the_one_before_goes_on_resting_beyond_its_time():
    job = Job(5.0, 7.5)
    job.took_s(0.1)
    assert job.took_s(0.1) == pytest.approx(5.0)
    assert job.took_s(0.14) == pytest.approx(7.0)


def test_a_step_that_hung_is_followed_by_no_rest_beyond_the_time_for_the_job():
    job = Job(5.0, 7.5)
    job.pace.begin()
    job.clock.now_s += 600.0
    job.pace.rest()
    job.pace.end()
    assert job.rested_s == 0.0


def test_a_rest_ends_when_somebody_waits():
    clock, over = Clock(), threading.Event()
    pace = Pace(120.0, 200.0, clock, Threads().pause)

    def work() -> None:
        pace.begin()
        clock.now_s += 20.0
        pace.rest()
        over.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert not over.wait(0.2)  # it rests nine times as long as it worked
    pace.hurry(wanted=True)
    assert over.wait(10.0)


def test_a_job_that_somebody_waits_for_does_not_rest():
    job = Job(5.0, 7.5)
    job.pace.hurry(wanted=True)
    assert job.took_s(0.1) == pytest.approx(1.0)
    assert job.rested_s == 0.0
    job.pace.hurry(wanted=False)
    assert job.took_s(0.1) > 1.0


def test_a_step_that_took_no_time_is_no_reason_to_rest():
    job = Job(5.0, 7.5)
    assert job.took_s(0.0) == 0.0
