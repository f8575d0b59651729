"""Telling senders what became of their records, on a thread of its own: a callback may take its time, raise, or send again."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from producers.resend import Pending

log = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 10.0


class Callbacks:
    """Calls back once a record, in the order of the outcomes, and then says that it did.

    On the client's own thread a callback that waits would stop the very connection that it waits for.

    Args:
        told: called on this thread after each callback.
    """

    def __init__(self, told: Callable[[Pending], None]) -> None:
        self._told = told
        self._outcomes: queue.SimpleQueue[tuple[Pending, Exception | None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def here(self) -> bool:
        """Whether the caller runs on the thread of the callbacks."""
        return threading.current_thread() is self._thread

    def tell(self, one: Pending, reason: Exception | None) -> None:
        """Calls back later: with None where the log has the record, else with the reason why it has not."""
        if one.on_done is None:
            if reason is not None:
                log.error("record refused, and nobody asked to be told: %s", reason)
            self._told(one)
            return
        self._outcomes.put((one, reason))
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Returns when all that was to be told is told, or after ``JOIN_TIMEOUT_S``."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._outcomes.put(None)
            thread.join(JOIN_TIMEOUT_S)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="streamer-sender-callbacks", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (outcome := self._outcomes.get()) is not None:
            one, reason = outcome
            try:
                if one.on_done is not None:
                    one.on_done(one.record, reason)
            except Exception:
                log.exception("the callback of a record for %s failed", one.record.topic)
            finally:
                self._told(one)
