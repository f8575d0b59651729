"""The publisher: a loop that writes rendered lists to the store. Nothing ever waits for it; what it could not write is told back."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.loops import Loops, Turn
from consumers.measurements import Measurements
from consumers.store_watch import Status, StoreWatch
from consumers.traced import Traced
from streamer.ports import Clock, RecommendationStore, StoreError

logger = logging.getLogger(__name__)

QUEUE_MAX = 2
IDLE_S = 1.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 5.0
STATUS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """Lists of users (rows [T]), ready to write: their ids, payloads, first items [T, L], and when the log had their last event."""

    user_T: NDArray[np.int32]
    user_ids: list[bytes]
    payloads: list[bytes]
    item_TL: NDArray[np.int32]
    append_ms_T: NDArray[np.int64]
    fresh_T: NDArray[np.bool_]
    """False for lists rendered again without a new event: they say nothing of freshness."""
    unseen_s: list[int]
    """For how long the log had no event of each, as far as his list should expire sooner for it."""
    traced: tuple[Traced, ...] = ()
    """Events whose way is traced, which these lists show."""
    erases: bool = False
    """Empty lists in the place of those of forgotten users, who have no row."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of rendered lists: in the store since ``written_ms``, or not written (None).

    Of those written, the ones not in ``accepted_T`` were refused: the store holds newer ones, of another owner or of a life before.
    """

    rendered: Rendered
    accepted_T: NDArray[np.bool_]
    written_ms: int | None


@dataclass(frozen=True, slots=True)
class Shared:
    """What all readers share: the payloads of ``popular`` and ``gone``, and the status."""

    popular: bytes
    gone: bytes
    status: Status


class Publisher:
    """Writes lists in the order given. ``outcomes`` is read by the loop that renders."""

    def __init__(
        self,
        store: RecommendationStore,
        clock: Clock,
        measurements: Measurements,
        *,
        epoch: int,
        generation: int,
        trusted_from: int,
        shared: Callable[[], Shared | None],
        answered: Callable[[], None],
        loops: Loops,
    ) -> None:
        """``answered`` is called after each outcome: there is room again."""
        self.outcomes: deque[Outcome] = deque()
        self.watch = StoreWatch(store, epoch, generation=generation, trusted_from=trusted_from)
        self._store = store
        self._clock = clock
        self._measurements = measurements
        self._shared = shared
        self._on_answer = answered
        self._queue: deque[Rendered] = deque()
        self._closing = threading.Event()
        self._handed = self._answered = 0
        self._backoff_s = 0.0
        self._retry_at_s = 0.0
        self._written_ms = 0
        self._status_at_s = 0.0
        self._loop = loops.start("publisher", self._turn, idle_s=IDLE_S)

    @property
    def ready(self) -> bool:
        """Whether another rendering would be written soon."""
        return len(self._queue) < QUEUE_MAX and self._clock.monotonic_s() >= self._retry_at_s

    @property
    def busy(self) -> bool:
        """Whether lists that were handed over have no outcome yet."""
        return self._answered < self._handed

    @property
    def away(self) -> bool:
        """Whether the store failed when it was last tried."""
        return self._backoff_s > 0.0

    def put(self, rendered: Rendered) -> None:
        """Hands over lists; the caller has seen that there is room."""
        self._handed += 1
        self._queue.append(rendered)
        self._loop.wake()

    def begin_epoch(self, epoch: int) -> None:
        """From now on the store should be of this epoch; found to be of the one before, it lost all lists."""
        self.watch.begin_epoch(epoch)
        self._status_at_s = 0.0
        self._loop.wake()

    def close(self) -> None:
        """Writes what was handed over, then ends; later outcomes stay in ``outcomes``."""
        self._closing.set()
        self._loop.wake()
        self._loop.join()

    def _turn(self) -> Turn:
        ending = self._closing.is_set()  # looked at first: nothing is handed over after it
        if self._queue:
            self._write(self._queue.popleft())
            self._answered += 1
            self._on_answer()
            self._keep_status()
            return Turn.WORKED
        if ending:
            self._status_at_s = 0.0
        self._keep_status()
        return Turn.ENDED if ending else Turn.IDLE

    def _write(self, rendered: Rendered) -> None:
        started_s = self._clock.monotonic_s()
        traces = self._measurements.traces if rendered.traced else None
        writing_ns = traces.now_ns() if traces is not None else 0
        try:
            accepted = self._store.write_lists(rendered.user_ids, rendered.payloads, rendered.unseen_s, erases=rendered.erases)
        except Exception as error:  # noqa: BLE001 - whatever it is, learning goes on, and the lists are tried again
            self._fail(error)
            self.outcomes.append(Outcome(rendered, np.zeros(len(rendered.user_T), np.bool_), None))
            return
        self._written_ms = now_ms = max(self._clock.now_ms(), self._written_ms + 1)  # no two portions at one time
        self._backoff_s = 0.0
        measured = self._measurements
        measured.stage_s["publish"] += self._clock.monotonic_s() - started_s
        measured.lists_written += sum(accepted)
        measured.lists_written_ms, measured.store_fault = now_ms, None
        measured.lists_refused += len(accepted) - sum(accepted)
        accepted_T = np.array(accepted, np.bool_)
        waited_ms_T = now_ms - rendered.append_ms_T[rendered.fresh_T & accepted_T]
        measured.freshness.observe(np.maximum(waited_ms_T, 0) / 1_000.0)
        if traces is not None:
            traces.written(rendered.traced, writing_ns, dict(zip(rendered.user_ids, accepted, strict=True)))
        self.outcomes.append(Outcome(rendered, accepted_T, now_ms))
        self._vouch(now_ms)

    def _vouch(self, now_ms: int) -> None:
        """Puts the time of the lists just written in the store's status."""
        self.watch.wrote_lists(now_ms)
        shared = self._shared()
        if shared is None:
            return
        try:
            self.watch.vouch(shared.status, now_ms)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        measured = self._measurements
        measured.store_errors += 1
        measured.store_fault_ms = measured.store_fault_ms if measured.store_fault else self._clock.now_ms()
        measured.store_fault = str(error)
        self._backoff_s = min(max(2 * self._backoff_s, BACKOFF_S_MIN), BACKOFF_S_MAX)
        self._retry_at_s = self._clock.monotonic_s() + self._backoff_s
        known = isinstance(error, StoreError)
        logger.warning(
            "lists wait, the store is tried again in %.1f s: %s", self._backoff_s, error, exc_info=None if known else error
        )

    def _keep_status(self) -> None:
        """Every few seconds: whether the store still is what we filled, and what all readers share."""
        now_s = self._clock.monotonic_s()
        if now_s < self._status_at_s or now_s < self._retry_at_s:
            return
        shared = self._shared()
        if shared is None:
            return
        self._status_at_s = now_s + STATUS_EVERY_S
        try:
            self.watch.vouch(shared.status, max(self._clock.now_ms(), self._written_ms))
            self._store.write_shared("popular", shared.popular)
            self._store.write_shared("gone", shared.gone)
            self._measurements.store_fault = None
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
