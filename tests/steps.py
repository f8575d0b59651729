"""A worker's loops as steps of one scheduler: a seed says which takes its next turn, so a run can be had again exactly."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from consumers.loops import Turn

TURNS_MAX = 6
"""Between two polls."""
LAST_TURNS_MAX = 100_000


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._elapsed_s = 0.0

    def advance(self, seconds: float) -> None:
        self._elapsed_s += seconds

    def monotonic_s(self) -> float:
        return self._elapsed_s

    def now_ms(self) -> int:
        return self._start_ms + int(self._elapsed_s * 1_000)


class StepLoop:
    """A loop that takes a turn when the scheduler says so."""

    def __init__(self, name: str, turn: Callable[[], Turn]) -> None:
        self.name = name
        self.ended = False
        self.within = False
        self._turn = turn

    def wake(self) -> None:
        pass  # its turn comes

    def step(self) -> None:
        self.within = True
        try:
            self.ended = self._turn() is Turn.ENDED
        finally:
            self.within = False

    def join(self) -> None:
        for _ in range(LAST_TURNS_MAX):
            if self.ended:
                return
            self.step()
        raise AssertionError(f"the loop {self.name} never ends")


class StepPool(Executor):
    """Jobs that are done when the scheduler says so, in the order in which they came."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._within = self._closed = False

    @property
    def waits(self) -> bool:
        return bool(self._jobs) and not self._within

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        if self._closed:
            raise RuntimeError("a job for a pool that is closed")
        future: Future[Any] = Future()
        self._jobs.append((future, lambda: function(*args, **named)))
        return future

    def step(self) -> None:
        future, job = self._jobs.popleft()
        if not future.set_running_or_notify_cancel():
            return
        self._within = True
        try:
            future.set_result(job())
        except Exception as error:  # noqa: BLE001 - the future's
            future.set_exception(error)
        finally:
            self._within = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._closed = True
        if cancel_futures:
            for future, _ in self._jobs:
                future.cancel()
        while wait and self._jobs:
            self.step()


class Steps:
    """Loops (see ``consumers.loops``) of one simulated process. Whoever polls or pauses lets the others go on."""

    def __init__(self, rng: random.Random, clock: HandClock) -> None:
        self._rng = rng
        self._clock = clock
        self._loops: list[StepLoop] = []
        self._pools: list[StepPool] = []

    def start(self, name: str, turn: Callable[[], Turn], *, idle_s: float) -> StepLoop:
        del idle_s
        self._loops.append(StepLoop(name, turn))
        return self._loops[-1]

    def pool(self, name: str, workers: int) -> StepPool:
        del name, workers
        self._pools.append(StepPool())
        return self._pools[-1]

    def pause(self, seconds: float, stop: threading.Event | None = None) -> None:
        del stop
        self._clock.advance(seconds)
        self.go_on()

    def settle(self) -> None:
        pass

    def unsettle(self) -> None:
        pass

    def go_on(self) -> None:
        for _ in range(self._rng.randint(0, TURNS_MAX)):
            ready: list[StepLoop | StepPool] = [loop for loop in self._loops if not (loop.ended or loop.within)]
            ready += [pool for pool in self._pools if pool.waits]
            if not ready:
                return
            self._rng.choice(ready).step()
