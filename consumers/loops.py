"""The loops of a worker behind one small interface: threads in a process, steps of one seeded scheduler in a simulation."""

from __future__ import annotations

import enum
import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol

GIL_SWITCH_S = 0.00002
"""The fold takes the interpreter's lock back after each kernel: it must not wait long for a thread that decodes (5 ms by default)."""


class Turn(enum.Enum):
    """What one turn of a loop did: something, so that the next is due at once; nothing; its last."""

    WORKED = enum.auto()
    IDLE = enum.auto()
    ENDED = enum.auto()


class Loop(Protocol):
    """Calls a function again and again until it says ENDED; after IDLE it rests, until woken or for the loop's time."""

    @property
    def ended(self) -> bool:
        """Whether the last turn is over."""
        ...

    def wake(self) -> None:
        """Ends a rest: there is something to do."""
        ...

    def join(self) -> None:
        """Waits for the last turn."""
        ...


class Loops(Protocol):
    """Where everything that a worker does side by side begins. A function that a loop calls must not wait for another loop's next turn."""

    def start(self, name: str, turn: Callable[[], Turn], *, idle_s: float) -> Loop:
        """A loop, at work."""
        ...

    def pool(self, name: str, workers: int) -> Executor:
        """Where single jobs are done."""
        ...

    def pause(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Rests; the others go on. ``stop`` ends it early."""
        ...

    def settle(self) -> None:
        """What there is now will be there for long: it is not to be looked at for garbage any more."""
        ...

    def unsettle(self) -> None:
        """Much of it is garbage now."""
        ...


class ThreadLoop:
    """A loop in a thread of its own."""

    def __init__(self, name: str, turn: Callable[[], Turn], idle_s: float) -> None:
        self._turn = turn
        self._idle_s = idle_s
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def wake(self) -> None:
        """Ends a rest; the next one too where none is now, so that no news is missed."""
        self._news.set()

    def join(self) -> None:
        """Waits for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        while (turn := self._turn()) is not Turn.ENDED:
            if turn is Turn.IDLE:
                self._news.wait(self._idle_s)
                self._news.clear()


class Threads:
    """Loops as threads."""

    def __init__(self) -> None:
        sys.setswitchinterval(GIL_SWITCH_S)

    def start(self, name: str, turn: Callable[[], Turn], *, idle_s: float) -> Loop:
        """A loop in a thread of its own."""
        return ThreadLoop(name, turn, idle_s)

    def pool(self, name: str, workers: int) -> Executor:
        """Threads that take jobs."""
        return ThreadPoolExecutor(workers, thread_name_prefix=name)

    def pause(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Sleeps."""
        (stop or threading.Event()).wait(seconds)

    def settle(self) -> None:
        """Some million objects, mostly of compiled kernels: a collection among them holds all threads up for a tenth of a second."""
        gc.freeze()

    def unsettle(self) -> None:
        """Looks for garbage at once: what the next ``settle`` finds would stay."""
        gc.unfreeze()
        gc.collect()
