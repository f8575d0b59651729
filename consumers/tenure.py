"""A tenure: the time under one generation in which this process owns all partitions. One thread folds, ranks and gathers.

All state lives here and ends here: when the generation is lost the tenure is dropped, and the next one starts from the snapshot that
the group has committed.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumers.measurements import Measurements
from consumers.publisher import Publisher, Rendered, Shared
from consumers.reader import encode_gone, version_text
from consumers.snapshotter import Gathered, merged_runs
from consumers.work import Work
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.engine.published import ARRIVED, HITS, JUDGED, JUDGED_ENTRIES, NDCG
from streamer.engine.state import LOST
from streamer.events.model import EVENTS, FORGET
from streamer.ports import Clock, RecommendationStore, TopicPartition
from streamer.ranking.lists import NOBODY
from streamer.snapshots import Manifest, Start

logger = logging.getLogger(__name__)

QUEUE_MAX = 2
IDLE_POLL_S = 0.01
RANKED_AT_ONCE_MAX = 128
"""Lists in a portion: some 10 ms of the fold's time."""
BEHIND_MS, CATCHING_UP_PUBLISH_MS = 5_000, 500
"""Where the log is further ahead and work waits: time between two portions of lists."""
SWEEP_EVERY_S_MAX = 1.0
SWEEPS_A_REFRESH = 4
"""A list is rendered again at most a part of ``ranking.refresh_ms_max`` late, however short that is: no less than one in so many."""
SHARED_EVERY_S = 1.0
GONE_MAX = 10_000
LAST_LISTS_S_MAX = 10.0
"""How long the end waits for the store to take lists."""


@dataclass(frozen=True, slots=True)
class Birth:
    """How a tenure starts: engine, positions and losses as recovered, the epoch, the snapshot it continues, where the log ended."""

    generation: int
    engine: Engine
    start: Start
    epoch: int
    parent: Manifest | None
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)


class Tenure:
    """Takes work in order, folds it, publishes, and gathers tables when asked. ``put`` and ``gather`` are for the polling thread."""

    def __init__(
        self, birth: Birth, config: Config, store: RecommendationStore, clock: Clock, measurements: Measurements
    ) -> None:
        self.generation = birth.generation
        self.epoch = birth.epoch
        self.positions = dict(birth.start.positions)
        """Next offsets as applied."""
        self.failure: Exception | None = None
        self._engine = birth.engine
        self._config = config
        self._clock = clock
        self._measurements = measurements
        self._lost = dict(birth.start.lost)
        self._forget_ends = {place: end for place, end in birth.ends.items() if place.topic == FORGET}
        self._order: list[tuple[TopicPartition, int]] = []
        self._queue: queue.Queue[Work] = queue.Queue(QUEUE_MAX)
        self._asked = False
        self._gather_asked = threading.Event()
        self._gathered: queue.Queue[Gathered] = queue.Queue(1)
        self._ending = threading.Event()
        self._dropped = threading.Event()
        self._shared: Shared = {}
        self._refused: list[tuple[NDArray[np.int32], list[bytes]]] = []
        self.counters: dict[str, object] = birth.engine.counters()
        self.snapshot = birth.parent.name if birth.parent else None
        self.applied_since_gather = 0
        self._changed_ms, self._behind_ms = clock.now_ms(), 0
        self._ranked_at_s = self._swept_at_s = self._shared_at_s = 0.0
        self._sweep_every_s = min(SWEEP_EVERY_S_MAX, max(IDLE_POLL_S, config.ranking.refresh_ms_max / 1_000 / SWEEPS_A_REFRESH))
        self._publisher = Publisher(store, clock, measurements, epoch=birth.epoch, shared=lambda: self._shared)
        self._thread = threading.Thread(target=self._run, name="fold", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether ``put`` would wait."""
        return self._queue.full()

    @property
    def backlog(self) -> int:
        """Pieces of work not yet taken up."""
        return self._queue.qsize()

    def put(self, work: Work) -> None:
        """Hands over work; the caller has seen that there is room."""
        self._queue.put(work)

    def ask_to_gather(self) -> None:
        """Wants a copy of all tables, taken between two pieces of work; nothing where one was asked for and not yet taken."""
        if not self._asked:
            self._asked = True
            self._gather_asked.set()

    def gathered(self) -> Gathered | None:
        """The copy, once it is there."""
        try:
            gathered = self._gathered.get_nowait()
        except queue.Empty:
            return None
        self._asked = False
        return gathered

    def end(self) -> None:
        """Ends the threads once all that was handed over is applied and published; ``ended`` tells when."""
        self._ending.set()

    @property
    def ended(self) -> bool:
        """Whether the threads have ended."""
        return not self._thread.is_alive()

    def finish(self) -> Gathered:
        """The tables as they are at the end, once ``ended``.

        Raises:
            Exception: what ended the fold before.
        """
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        unwritten, last = self.gathered(), self._gather()
        return last if unwritten is None else replace(last, order=merged_runs((*unwritten.order, *last.order)))

    def drop(self) -> None:
        """Ends the threads; whatever was not committed is lost with the tenure and will be done again."""
        self._dropped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._count_lost()
            while not self._dropped.is_set():
                self._apply_next()
                self._between()
                if self._ending.is_set() and self._queue.empty():
                    self._publish_all()
                    break
        except Exception as error:
            logger.exception("the fold failed at %s", self.positions)
            self.failure = error
        finally:
            self._publisher.close()
            self._settle()

    def _apply_next(self) -> None:
        """Takes up the next piece of work, if one comes soon."""
        try:
            work = self._queue.get(timeout=IDLE_POLL_S)
        except queue.Empty:
            return
        started_s = self._clock.monotonic_s()
        work.apply(self._engine)
        for place, count, next_offset in work.runs:
            self.positions[place] = next_offset
            self._order.append((place, count))
        self.applied_since_gather += work.records
        self._changed_ms = self._clock.now_ms()
        if work.columns is not None and len(work.columns.append_N):
            self._behind_ms = self._changed_ms - int(work.columns.append_N[-1])
        self._measurements.stage_s["fold"] += self._clock.monotonic_s() - started_s

    def _between(self) -> None:
        """Between two pieces of work: what is due of gathering, publishing, sweeping and measuring."""
        if self._gather_asked.is_set():
            self._gather_asked.clear()
            self._gathered.put(self._gather())
        self._settle()
        now_s = self._clock.monotonic_s()
        if (now_s - self._ranked_at_s) * 1_000 >= self._publish_every_ms:
            self._ranked_at_s = now_s
            self._publish()
        if now_s - self._swept_at_s >= self._sweep_every_s and not self.backlog:
            self._swept_at_s = now_s
            self._sweep()
        if now_s - self._shared_at_s >= SHARED_EVERY_S:
            self._shared_at_s = now_s
            self._try_refused_again()
            self._measure()
            self._shared = self._render_shared()

    @property
    def _publish_every_ms(self) -> int:
        """Time between two portions of lists: longer while the log is far ahead, when none can be fresh and each would be of many to come."""
        catching_up = self.backlog > 0 and self._behind_ms > BEHIND_MS
        return max(self._config.ranking.publish_ms, CATCHING_UP_PUBLISH_MS if catching_up else 0)

    def _count_lost(self) -> None:
        lost = sum(count for place, count in self._lost.items() if place.topic == EVENTS)
        if lost:
            self._engine.count(LOST, lost)

    def _settle(self) -> None:
        """Takes in what became of lists."""
        published = self._engine.published
        while self._publisher.outcomes:
            outcome = self._publisher.outcomes.popleft()
            rendered, written_ms = outcome.rendered, outcome.written_ms
            there_T = self._still_there(rendered.user_T, rendered.user_ids)
            if written_ms is None:
                published.touch(rendered.user_T[there_T])
                continue
            accepted_T, refused_T = there_T & outcome.accepted_T, np.flatnonzero(~outcome.accepted_T)
            published.confirm(rendered.user_T[accepted_T], rendered.item_TL[accepted_T], written_ms)
            self._refused.append((rendered.user_T[refused_T], [rendered.user_ids[n] for n in refused_T]))
        if self._publisher.must_rebuild.is_set():
            self._publisher.must_rebuild.clear()
            seen_after_ms = self._clock.now_ms() - 1_000 * self._config.redis.ttl_s
            recent_T = np.flatnonzero(published.append_ms_U > max(0, seen_after_ms)).astype(np.int32)
            logger.info("the store is empty or of another epoch: %d lists are rendered again", len(recent_T))
            published.touch(recent_T)

    def _try_refused_again(self) -> None:
        """Wants the lists again that the store refused.

        A life before may have written them from records that this one applies in another order, at positions that it has still to
        reach: once it is there its lists are newer, whereas theirs may lack what happened meanwhile.
        """
        while self._refused:
            user_T, user_ids = self._refused.pop()
            self._engine.published.touch(user_T[self._still_there(user_T, user_ids)])

    def _still_there(self, user_T: NDArray[np.int32], user_ids: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether rows still are those users': an evicted user's row is free, or another's."""
        present = self._engine.user_ids(user_T)
        return np.array([now == then for now, then in zip(present, user_ids, strict=True)], np.bool_)

    def _publish(self) -> None:
        """Renders touched users' lists while there are any and the publisher takes them; one portion while work waits."""
        while self._engine.published.waiting and self._publisher.ready and self._may_publish():
            self._publisher.put(self._render(self._engine.published.take(RANKED_AT_ONCE_MAX)))
            if self.backlog:
                return

    def _may_publish(self) -> bool:
        """Whether every request to forget a user that stood on the log at the start is applied: till then none has a list written."""
        if self._forget_ends and all(self.positions.get(place, 0) >= end for place, end in self._forget_ends.items()):
            self._forget_ends = {}
        return not self._forget_ends

    def _publish_all(self) -> None:
        """Before the end: every touched user's list, as far as the store takes them."""
        if not self._may_publish():
            return
        deadline_s = self._clock.monotonic_s() + LAST_LISTS_S_MAX
        self._publish_waiting(deadline_s)
        self._settle()
        self._try_refused_again()
        self._publish_waiting(deadline_s)
        self._shared = self._render_shared()

    def _publish_waiting(self, deadline_s: float) -> None:
        """Until the store has answered for every list, is away, or the time is over."""
        published, publisher = self._engine.published, self._publisher
        while (published.waiting or publisher.busy) and not self._dropped.is_set() and self._clock.monotonic_s() < deadline_s:
            if published.waiting and publisher.ready:
                publisher.put(self._render(published.take(RANKED_AT_ONCE_MAX)))
            elif publisher.away:
                return
            else:
                threading.Event().wait(IDLE_POLL_S)

    def _render(self, user_T: np.ndarray) -> Rendered:
        started_s = self._clock.monotonic_s()
        engine, published = self._engine, self._engine.published
        lists = engine.rank(user_T, entries=self._config.ranking.list_items)
        payloads = engine.render(lists, version=self._version(), written_ms=self._clock.now_ms())
        used_TK = np.arange(lists.item_UK.shape[1]) < lists.count_U[:, None]
        item_TK = np.where(used_TK, lists.item_UK, np.int32(NOBODY))
        item_TL = np.full((len(user_T), JUDGED_ENTRIES), NOBODY, np.int32)
        shared = min(JUDGED_ENTRIES, item_TK.shape[1])
        item_TL[:, :shared] = item_TK[:, :shared]
        append_ms_T = published.append_ms_U[user_T]
        fresh_T = append_ms_T > published.written_ms_U[user_T]
        unseen_s_T = np.where(fresh_T | (append_ms_T == 0), 0, np.maximum(self._clock.now_ms() - append_ms_T, 0) // 1_000)
        self._measurements.stage_s["rank"] += self._clock.monotonic_s() - started_s
        return Rendered(user_T, engine.user_ids(user_T), payloads, item_TL, append_ms_T, fresh_T, unseen_s_T.tolist())

    def _sweep(self) -> None:
        """Puts the stalest lists of users seen within the TTL in the queue, at the configured rate at most.

        A list written well after the last change, whatever it was, would come out as it is.
        """
        now_ms, ranking = self._clock.now_ms(), self._config.ranking
        stale_T = self._engine.published.stale(
            min(now_ms, self._changed_ms + 2 * ranking.refresh_ms_max) - ranking.refresh_ms_max,
            now_ms - 1_000 * self._config.redis.ttl_s,
            math.ceil(ranking.sweep_users_per_s * self._sweep_every_s),
        )
        self._engine.published.touch(stale_T)
        self._measurements.swept += len(stale_T)

    def _version(self) -> str:
        return version_text(self.epoch, sum(self.positions.values()))

    def _render_shared(self) -> Shared:
        engine, version = self._engine, self._version()
        nobody = engine.rank(np.array([NOBODY], np.int32), entries=self._config.ranking.list_items)
        status = {
            "version": version,
            "owner": self._config.namespace,
            "epoch": self.epoch,
            "generation": self.generation,
            "head_step": engine.head_step,
            "snapshot": self.snapshot,
            "event_ms": engine.event_ms,
            "written_ms": self._clock.now_ms(),
        }
        return {
            "popular": engine.render(nobody, version=version, written_ms=self._clock.now_ms())[0],
            "gone": encode_gone(version, engine.withdrawn(GONE_MAX)),
            "status": msgspec.json.encode(status),
        }

    def _measure(self) -> None:
        engine, measured = self._engine, self._measurements
        self.counters = engine.counters()
        measured.quality = engine.quality()
        served = engine.published.served
        measured.served = {
            "arrived": float(served[ARRIVED]),
            "judged": float(served[JUDGED]),
            "hits": float(served[HITS]),
            "ndcg": float(served[NDCG]),
        }
        measured.event_time_ms = engine.event_ms
        measured.head_steps, measured.head_skipped = engine.head_step, engine.head_skipped
        measured.lists_unpublished = engine.published.unpublished
        measured.queue_batches = self.backlog
        sizes = engine.sizes()
        measured.users, measured.items = sizes["users"], sizes["items"]

    def _gather(self) -> Gathered:
        started_s = self._clock.monotonic_s()
        engine = self._engine
        fold = {name: table.copy() for name, table in engine.fold_tables().items()}
        publisher = {name: table.copy() for name, table in engine.publisher_tables().items()}
        order, self._order, self.applied_since_gather = self._order, [], 0
        self._measure()
        self._measurements.table_bytes = {name: table.nbytes for name, table in fold.items()}
        gathered = Gathered(
            fold=fold,
            publisher=publisher,
            positions=dict(self.positions),
            order=merged_runs([(*place, count) for place, count in order]),
            epoch=self.epoch,
            counters=engine.counters(),
            structural=engine.structure(),
            head_step=engine.head_step,
            event_ms=engine.event_ms,
        )
        self._measurements.snapshot_pause.observe_one(self._clock.monotonic_s() - started_s)
        return gathered
