"""A tenure: the time under one generation in which this process owns all partitions. One loop folds, ranks and gathers.

All state lives here and ends here: when the generation is lost the tenure is dropped, and the next one starts from the snapshot that
the group has committed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import cast

from consumers.apart import OffsetRange
from consumers.copies import Copies, Tables, touched
from consumers.drift import DriftWatch, Totals
from consumers.fold import Fold
from consumers.lists import IDLE_POLL_S, Lists
from consumers.loops import Loops, Turn
from consumers.measurements import Measurements
from consumers.questions import Questions
from consumers.recorded_order import merged_runs
from consumers.snapshotter import Gathered
from consumers.work import Work
from streamer.config.tree import Config
from streamer.engine.bounds import bound_bytes
from streamer.engine.engine import Engine
from streamer.engine.published import ARRIVED, HITS, JUDGED, NDCG
from streamer.engine.rules import structure_of
from streamer.engine.state import LOST
from streamer.events.control import Freeze
from streamer.events.model import EVENTS, DeadLetter
from streamer.ports import Clock, RecommendationStore, SnapshotStore, TopicPartition
from streamer.snapshots import Manifest, Start

logger = logging.getLogger(__name__)

QUEUE_MAX = 2


@dataclass(frozen=True, slots=True)
class Birth:
    """How a tenure starts: engine, positions and losses as recovered, the epoch, the snapshot it continues, where the log ended."""

    generation: int
    engine: Engine
    start: Start
    epoch: int
    parent: Manifest | None
    ends: Mapping[TopicPartition, int] = field(default_factory=dict)
    snapshots: SnapshotStore | None = None
    """Where a rollback finds what it goes back to."""
    left_out: tuple[OffsetRange, ...] = ()
    """What the snapshot says is not to be applied, of what is still to come."""


class Tenure:
    """Takes work in order, folds it, publishes, and gathers tables when asked. ``put`` and ``gathered`` are for the polling thread."""

    def __init__(
        self,
        birth: Birth,
        config: Config,
        store: RecommendationStore,
        clock: Clock,
        measurements: Measurements,
        loops: Loops,
    ) -> None:
        self.generation = birth.generation
        self.failure: Exception | None = None
        self.counters: dict[str, object] = birth.engine.counters()
        self._fold = Fold(
            birth.engine,
            config,
            dict(birth.start.positions),
            birth.left_out,
            epoch=birth.epoch,
            snapshots=birth.snapshots,
            clock_s=clock.monotonic_s,
        )
        self._drift = DriftWatch(measurements.drift)
        self._config = config
        self._clock = clock
        self._measurements = measurements
        self._lost = dict(birth.start.lost)
        self._queue: deque[Work] = deque()
        self._copies = Copies()
        """Of the snapshot that is being written; another is asked for only after it."""
        self._pool = loops.pool("room", 1)
        self._making_room: Future[Tables] | None = None
        self._asked = False
        self._gather_asked = threading.Event()
        self._gathered: deque[Gathered] = deque()
        self._ending = threading.Event()
        self._dropped = threading.Event()
        self._lists = Lists(
            self._fold,
            config,
            store,
            clock,
            measurements,
            loops,
            epoch=birth.epoch,
            generation=birth.generation,
            trusted_from=birth.parent.generation if birth.parent else birth.generation,
            ends=birth.ends,
            wake=self._wake,
        )
        self._lists.snapshot = birth.parent.name if birth.parent else None
        self._count_lost()
        measurements.lag, measurements.caught_up_ms, measurements.looked_ms = {}, 0, clock.now_ms()
        measurements.append_ms = birth.parent.created_ms if birth.parent else clock.now_ms()  # of what was applied before
        measurements.snapshot_ms = birth.parent.created_ms if birth.parent else 0
        self.questions = Questions(self._wake)
        """About the state, from any thread."""
        self._loop = loops.start("fold", self._turn, idle_s=IDLE_POLL_S)

    @property
    def epoch(self) -> int:
        """Born with an empty state or an operator's word; lists of a later one are newer, whatever their position."""
        return self._lists.epoch

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """Next offsets as applied."""
        return self._fold.positions

    @property
    def snapshot(self) -> str | None:
        """The one in force."""
        return self._lists.snapshot

    @property
    def applied_since_gather(self) -> int:
        """Records, and lists of forgotten users that the store dropped: the snapshot before has their ids still."""
        return self._fold.records + self._fold.engine.published.erased_since

    @property
    def full(self) -> bool:
        """Whether ``put`` would be too much."""
        return len(self._queue) >= QUEUE_MAX

    @property
    def backlog(self) -> int:
        """Pieces of work not yet taken up."""
        return len(self._queue)

    def put(self, work: Work) -> None:
        """Hands over work; the caller has seen that there is room."""
        self._queue.append(work)
        self._loop.wake()

    def committed(self, manifest: Manifest) -> None:
        """Another snapshot is in force now."""
        self._lists.snapshot = manifest.name

    def take_letters(self) -> list[DeadLetter]:
        """Dead letters of records at which the fold failed; those that a gathered state counts are there before it is."""
        letters = self._fold.letters
        return [letters.popleft() for _ in range(len(letters))]

    def ask_to_gather(self) -> None:
        """Wants a copy of all tables, taken between two pieces of work; nothing where one was asked for and not yet taken."""
        if not self._asked:
            self._asked = True
            self._gather_asked.set()
            self._loop.wake()

    def gathered(self) -> Gathered | None:
        """The copy, once it is there."""
        if not self._gathered:
            return None
        self._asked = False
        return self._gathered.popleft()

    def end(self) -> None:
        """Ends the loop once all that was handed over is applied and published; ``ended`` tells when."""
        self._ending.set()
        self._loop.wake()

    @property
    def ended(self) -> bool:
        """Whether the loop has ended."""
        return self._loop.ended

    def finish(self) -> Gathered:
        """The tables as they are at the end, once ``ended``.

        Raises:
            Exception: what ended the fold before.
        """
        self._loop.join()
        if self.failure is not None:
            raise self.failure
        unwritten, last = self.gathered(), self._gather()
        return last if unwritten is None else replace(last, order=merged_runs((*unwritten.order, *last.order)))

    def drop(self) -> None:
        """Ends the loop; whatever was not committed is lost with the tenure and will be done again."""
        self._dropped.set()
        self._loop.wake()
        self._loop.join()

    def _turn(self) -> Turn:
        try:
            turn = self._work()
        except Exception as error:
            logger.exception("the fold failed at %s", self.positions)
            self.failure = error
            turn = Turn.ENDED
        if turn is Turn.ENDED:
            self.questions.close()
            self._lists.close()
            self._pool.shutdown(wait=False, cancel_futures=True)
        return turn

    def _work(self) -> Turn:
        if self._dropped.is_set():
            return Turn.ENDED
        started_s = self._clock.monotonic_s()
        ending = self._ending.is_set()  # looked at first: nothing is handed over after it
        applied = self._apply_next()
        self.questions.answer_one(self._fold.engine)
        self._fold.epoch = max(self._fold.epoch, self._lists.epoch_wanted())
        if self._fold.epoch != self._lists.epoch:
            self._lists.begin_epoch(self._fold.epoch)
        if self._gather_asked.is_set() and not ending and self._has_room():
            self._gather_asked.clear()
            self._gathered.append(self._gather(beside=self._pool))
        if self._lists.between(backlog=self.backlog):
            self._measure()
        self._lists.was_busy(self._clock.monotonic_s() - started_s)
        if applied or self._lists.in_round:
            return Turn.WORKED
        if not ending:
            return Turn.IDLE
        return Turn.ENDED if self._lists.publish_last() else Turn.IDLE

    def _wake(self) -> None:
        self._loop.wake()

    def _has_room(self) -> bool:
        """Whether the copies have room; else it is made beside the fold, which goes on meanwhile."""
        if self._making_room is not None:
            if not self._making_room.done():
                return False
            self._copies.take(self._making_room.result())
            self._making_room = None
        engine = self._fold.engine
        lacking = self._copies.lacking(engine.fold_tables() | engine.publisher_tables())
        if lacking:
            self._making_room = self._pool.submit(touched, lacking)
        return not lacking

    def _apply_next(self) -> bool:
        """Takes up the next piece of work, if there is one."""
        if not self._queue:
            return False
        work = self._queue.popleft()
        started_s, learned_s = self._clock.monotonic_s(), self._fold.engine.learn_s
        traces = self._measurements.traces
        folding_ns = traces.now_ns() if traces is not None else 0
        self._fold.apply(work)
        if traces is not None and work.traced:
            traces.folded(work.traced, folding_ns)
        append_ms = int(work.columns.append_N[-1]) if work.columns is not None and len(work.columns.append_N) else None
        self._lists.changed(append_ms)
        measured = self._measurements
        if append_ms is not None:
            measured.append_ms = append_ms
        measured.events_read += sum(count for place, count, _ in work.runs if place.topic == EVENTS)
        learn_s = max(0.0, self._fold.engine.learn_s - learned_s)
        measured.stage_s["learn"] += learn_s
        measured.stage_s["fold"] += self._clock.monotonic_s() - started_s - learn_s
        return True

    def _count_lost(self) -> None:
        lost = sum(count for place, count in self._lost.items() if place.topic == EVENTS)
        if lost:
            self._fold.engine.count(LOST, lost)
            self._measurements.lost_ms = self._clock.now_ms()

    def _measure(self) -> None:
        engine, measured = self._fold.engine, self._measurements
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
        measured.learning_frozen, measured.frozen = engine.frozen, _frozen(engine.frozen_by, self._fold.freeze)
        measured.falls_back = engine.falls_back
        measured.lists_unpublished = engine.published.unpublished
        measured.queue_batches = self.backlog
        measured.shares = engine.exposed.shares(engine.belonging)
        sizes = engine.sizes()
        measured.users, measured.items = sizes["users"], sizes["items"]
        self._drift.look(_totals(engine, measured, sizes["admitted"]), self._clock.now_ms())

    def _gather(self, beside: Executor | None = None) -> Gathered:
        started_s = self._clock.monotonic_s()
        engine = self._fold.engine
        tables, shown = engine.fold_tables(), engine.publisher_tables()
        copies = self._copies.of(tables | shown, beside)
        fold, publisher = ({name: copies[name] for name in part} for part in (tables, shown))
        order = self._fold.take_order()
        engine.published.erased_since = 0
        self._measure()
        self._measurements.table_bytes = {name: table.nbytes for name, table in fold.items()}
        self._measurements.table_bound_bytes = bound_bytes(fold, self._config)
        gathered = Gathered(
            fold=fold,
            publisher=publisher,
            positions=dict(self.positions),
            order=order,
            left_out=tuple(self._fold.left_out),
            epoch=self.epoch,
            generation=self.generation,
            counters=engine.counters(),
            structural=structure_of(self._config),
            head_step=engine.head_step,
            event_ms=engine.event_ms,
        )
        self._measurements.snapshot_pause.observe_one(self._clock.monotonic_s() - started_s)
        return gathered


def _totals(engine: Engine, measured: Measurements, items_admitted: int) -> Totals:
    """What drift is looked for in."""
    applied = cast("dict[str, int]", engine.counters()["applied"])
    live, served = measured.quality["live"], measured.served
    return Totals(
        applied=applied,
        items_admitted=items_admitted,
        users=measured.users,
        fresh_judged=live["judged"],
        fresh_ndcg=live["ndcg"],
        served_judged=served["judged"],
        served_ndcg=served["ndcg"],
    )


def _frozen(by: str | None, word: Freeze | None) -> dict[str, object] | None:
    """What ``/status`` says of a freeze."""
    if by is None:
        return None
    if by != "operator" or word is None:
        return {"by": by}
    return {"by": by, "name": word.by, "reason": word.reason, "since_ms": word.timestamp_ms}
