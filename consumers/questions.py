"""Questions about the state, asked by any thread and answered by the fold's loop between two pieces of work.

So an answer is of one moment, whatever is folded meanwhile, and the fold waits for nobody: at most one question is answered a turn, and
whoever asked and gave up is passed over. A question only reads, and returns plain values that outlive the moment.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from streamer.engine.engine import Engine

WAITING_MAX = 8
"""Questions that wait; one more is refused."""

Answer = TypeVar("Answer")


class NoAnswer(Exception):  # noqa: N818 - says what is the case
    """The state could not be asked; the message says why."""


class Questions:
    """Of one tenure."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[Engine], Any], Future[Any]]] = deque()
        self._closed = False

    def ask(self, question: Callable[[Engine], Answer], timeout_s: float) -> Answer:
        """What ``question`` finds in the state. Raises NoAnswer, or what the question raised."""
        future: Future[Answer] = Future()
        with self._lock:
            if self._closed:
                raise NoAnswer("this worker has just lost its state: ask the owner")
            if len(self._waiting) >= WAITING_MAX:
                raise NoAnswer(f"{WAITING_MAX} questions wait already: try again in a moment")
            self._waiting.append((question, future))
        self._wake()
        try:
            return future.result(timeout_s)
        except FutureTimeout as error:
            if future.done():
                raise  # the question's own
            future.cancel()
            raise NoAnswer(f"the fold was busy for {timeout_s:g} s: try again in a moment") from error

    def answer_one(self, engine: Engine) -> None:
        """Answers the question that waits longest, if there is one. Nothing raises."""
        if not self._waiting:
            return
        with self._lock:
            question, future = self._waiting.popleft()
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(question(engine))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the asker's
            future.set_exception(error)

    def close(self) -> None:
        """There is no state any more: whoever waits is told so."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(NoAnswer("this worker has just lost its state: ask the owner"))
