"""The pace of a long job: how long it rests, and when no more."""

from __future__ import annotations

import threading

import pytest

from consumers.pace import RESTS_MAX, RESTS_MIN, Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return int(self.now_s * 1_000)

    def monotonic_s(self) -> float:
        return self.now_s


class Job:
    """Ten steps of the same length, at a pace."""

    def __init__(self, target_s: float) -> None:
        self.clock = Clock()
        self.rested_s = 0.0
        self.pace = Pace(target_s, self.clock, self._pause)

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
    ("step_s", "rests"),
    [(0.01, RESTS_MAX), (0.25, 1.0 / 0.5 - 1.0), (0.2, 1.5), (3.0, RESTS_MIN)],
    ids=["short", "half of the time", "two fifths", "longer than the time"],
)
def test_a_job_is_spread_over_the_time_for_it_as_the_one_before_tells(step_s, rests):
    job = Job(5.0)
    assert job.took_s(step_s) == pytest.approx(10 * step_s * (1 + RESTS_MAX))
    assert job.took_s(step_s) == pytest.approx(10 * step_s * (1 + rests))


def test_a_job_that_somebody_waits_for_does_not_rest():
    job = Job(5.0)
    job.pace.hurry(wanted=True)
    assert job.took_s(0.1) == pytest.approx(1.0)
    assert job.rested_s == 0.0
    job.pace.hurry(wanted=False)
    assert job.took_s(0.1) > 1.0


def test_a_step_that_took_no_time_is_no_reason_to_rest():
    job = Job(5.0)
    assert job.took_s(0.0) == 0.0
