"""The pace of a long job beside the fold: what takes a second at once holds everything up, spread over several it is not felt."""

from __future__ import annotations

import threading
from collections.abc import Callable

from streamer.ports import Clock

RESTS_MAX, RESTS_MIN = 9.0, 1.0
"""Rest after a step, as a multiple of what the step took: as much as the time for the job allows, between these."""


class Pace:
    """Rests between the steps of a job that one thread does again and again, so that it takes ``target_s``, judged by how long the one before worked.

    One that turns out longer goes on resting as long as what is left, by the one before, can be done till ``limit_s`` after its beginning; then it
    is done at once.
    """

    def __init__(self, target_s: float, limit_s: float, clock: Clock, pause: Callable[[float, threading.Event], None]) -> None:
        self._target_s = target_s
        self._limit_s = limit_s
        self._clock = clock
        self._pause = pause
        self._hurry = threading.Event()
        self._begun_s = self._since_s = 0.0
        self._expected_s = 0.0
        """How long the job before worked."""
        self.worked_s = 0.0
        """Of the present job, or the last one, without rests."""

    def begin(self) -> None:
        """A job begins."""
        self.worked_s, self._begun_s = 0.0, self._clock.monotonic_s()
        self._since_s = self._begun_s

    def rest(self) -> None:
        """A step of it is done."""
        now_s = self._clock.monotonic_s()
        worked_s = now_s - self._since_s
        self.worked_s += worked_s
        left_s = self._begun_s + self._limit_s - now_s - max(0.0, self._expected_s - self.worked_s)
        rest_s = min(self._rests() * worked_s, left_s)
        if rest_s > 0 and not self._hurry.is_set():
            self._pause(rest_s, self._hurry)
        self._since_s = self._clock.monotonic_s()

    def end(self) -> None:
        """The job is done: the next one likely takes as long."""
        self.worked_s += self._clock.monotonic_s() - self._since_s
        self._expected_s = self.worked_s

    def _rests(self) -> float:
        """As a multiple of a step: the most where nothing is known of how long the job works."""
        wanted = self._target_s / self._expected_s - 1.0 if self._expected_s > 0 else RESTS_MAX
        return min(max(wanted, RESTS_MIN), RESTS_MAX)

    def hurry(self, *, wanted: bool) -> None:
        """Whether somebody waits for it: then the rest ends, and there is none until this is called again."""
        if wanted:
            self._hurry.set()
        else:
            self._hurry.clear()
