"""The owner's loop: poll, decode, hand over; restore when a generation begins; commit when a snapshot is written; end cleanly.

One thread runs it and it alone touches the log. What depends on owning the partitions lives in a tenure.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from consumers.apart import Apart, OffsetRange
from consumers.checkpoint import Checkpoint
from consumers.fold import PieceFailed
from consumers.lag import LagWatch
from consumers.letters import DeadLetters
from consumers.loops import Loops, Threads
from consumers.measurements import Measurements
from consumers.pace import Pace
from consumers.questions import Questions
from consumers.restoring import Restored, Restorer
from consumers.snapshotter import Snapshotter
from consumers.tenure import Tenure
from consumers.work import OWNER_TOPICS, Work, decode
from streamer.config.tree import Config
from streamer.events.model import EVENTS
from streamer.ports import (
    Clock,
    EventLog,
    FencedError,
    LogAdmin,
    LogError,
    LogReader,
    LogWriter,
    OffsetGapError,
    OwnerStatus,
    Polled,
    RecommendationStore,
    SnapshotStore,
    TopicPartition,
)
from streamer.snapshots import (
    Override,
    offsets_of,
)

logger = logging.getLogger(__name__)
_DIGITS = re.compile(r"[0-9]+")

POLL_MS = 100
BUSY_POLL_MS = 5
"""While somebody waits for the end of the fold's work."""
FULL_REST_S, FULL_POLL_EVERY_S = 0.005, 0.05
"""While the fold has work for longer: how soon to look again, and how often to poll, which takes nothing then but shows that the owner lives.
Such a poll costs the better part of a millisecond."""
POLL_EVERY_S = 0.01
"""From the end of a poll that brought a few records to the next one."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.2, 5.0
SAY_AGAIN_S = 60.0
"""From one line on why nothing happens to the next."""
LAST_STEP_S_MAX = 10.0
"""How long each step of the end waits for a log that is away."""
SNAPSHOT_SHARE, SNAPSHOT_SHARE_MAX = 0.6, 0.9
"""Of the time from one snapshot to the next: writing one is spread over the first share, and goes on with rests up to the second where it takes longer."""
WENT_BACK_MAX = 8
"""Times that a failed fold goes back to the snapshot before another one is committed."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The world as the owner sees it."""

    log: EventLog
    admin: LogAdmin
    open_reader: Callable[[], LogReader]
    dead_letters: LogWriter
    store: RecommendationStore
    snapshots: SnapshotStore
    clock: Clock


class Owner:
    """Owns all partitions or stands by. ``run`` returns when told to stop, or in bounded mode when all is done."""

    def __init__(
        self,
        ports: Ports,
        config: Config,
        measurements: Measurements,
        override: Override,
        *,
        bounded: bool = False,
        loops: Loops | None = None,
    ) -> None:
        self._ports = ports
        self._loops = loops or Threads()
        self._config = config
        self._measurements = measurements
        measurements.poll_gap_bound_s = config.kafka.max_poll_interval_ms / 1_000
        measurements.users_max, measurements.items_max = config.windows.users_max, config.catalog.items_max
        self._restorer = Restorer(ports.admin, ports.open_reader, ports.snapshots, ports.clock, config, override)
        self._bounded = bounded
        self._ends: dict[TopicPartition, int] | None = None
        self._generation: int | None = None
        self._tenure: Tenure | None = None
        self._checkpoint: Checkpoint | None = None
        self._restoring: Future[Restored] | None = None
        self._waiting: deque[Work] = deque()
        self._letters = DeadLetters(ports.dead_letters, ports.clock, measurements)
        """Their records are handed over; no snapshot is written before they are sent."""
        self._topic_ids: dict[str, str] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._apart: Apart | None = None
        self._suspects: set[OffsetRange] = set()
        self._went_back = 0
        self._made_safe = 0
        """How many times it had gone back when a snapshot of what came after was last wanted."""
        self._handed: dict[TopicPartition, int] = {}
        """Next offsets of what the tenure was handed."""
        self._polled_at_s: float | None = None
        self._pool = self._loops.pool("owner", 2)
        self._lag = LagWatch(ports.admin, ports.clock.now_ms, measurements, self._pool)

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set; then applies what was polled, snapshots, commits and leaves the group.

        Raises:
            RecoveryRefused: where to start can't be explained; the message names the flag that overrides.
            LogError: the log refused in a way that does not pass.
        """
        backoff_s = BACKOFF_S_MIN
        try:
            while not stop.is_set() and not self._done():
                try:
                    self._step()
                    backoff_s, self._waits_for, self._measurements.log_fault = BACKOFF_S_MIN, "", None
                except LogError as error:
                    if not error.retriable:
                        raise
                    self._measurements.log_errors += 1
                    self._measurements.log_fault = str(error)
                    self._say_waiting(error, backoff_s)
                    self._loops.pause(backoff_s, stop)
                    backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
            self._finish()
        finally:
            self._ended = True
            self._drop(wait=True)
            self._pool.shutdown(wait=False, cancel_futures=True)

    def status(self) -> OwnerStatus:
        """What the worker is doing; readable from any thread."""
        tenure = self._tenure
        owning = "owner" if tenure else "restoring"
        role = owning if self._generation is not None else "standby" if self._joined else "starting"
        return OwnerStatus(
            role=role,
            namespace=self._config.namespace,
            epoch=tenure.epoch if tenure else None,
            generation=self._generation,
            counters=tenure.counters if tenure else None,
            offsets=offsets_of(dict(tenure.positions)) if tenure else {},
            snapshot=tenure.snapshot if tenure else None,
            lag=self._measurements.lag,
            learning={"frozen": self._measurements.frozen} if tenure else None,
            lists=self._measurements.lists() if tenure else None,
        )

    @property
    def questions(self) -> Questions | None:
        """Where the state is asked, None where this process has none; to be had from any thread."""
        tenure = self._tenure
        return tenure.questions if tenure else None

    @property
    def ended(self) -> bool:
        """Whether ``run`` has returned or raised."""
        return self._ended

    def _say_waiting(self, error: LogError, backoff_s: float) -> None:
        """Says why it waits at once, and again once a minute at most as long as the reason is the same."""
        reason, now_s = _DIGITS.sub("", str(error)), self._ports.clock.monotonic_s()
        if self._waits_for == reason and now_s < self._said_at_s + SAY_AGAIN_S:
            return
        self._waits_for, self._said_at_s = reason, now_s
        logger.warning("waiting, tried again in %.1f s and then every %.0f s at least: %s", backoff_s, BACKOFF_S_MAX, error)

    _waits_for = ""
    _said_at_s = 0.0
    reached_ends = False
    """In bounded mode, once ended: whether everything up to the ends taken at the start is in the last snapshot."""
    _joined = False
    _ended = False
    _settled = False
    """Whether all that a tenure needs has been loaded, and counts as there to stay."""

    def _step(self) -> None:
        busy = self._tenure is None or bool(self._waiting or self._letters) or self._tenure.full
        polled = self._poll(paused=busy)
        self._joined = True
        if polled.generation != self._generation:
            self._drop()
            self._generation = polled.generation
            if polled.generation is None:
                logger.info("standing by: another member owns the partitions")
            return
        if self._tenure is None and self._generation is not None:
            self._restore_in_steps(self._generation)
        elif self._tenure is not None and self._tenure.failure is not None:
            self._go_back(self._tenure.failure)
        elif self._tenure is not None:
            self._take_in(polled)
            if self._may_go_on(self._tenure):
                self._hand_over(self._tenure)
            self._letters.send_if_due()
            self._keep_checkpoints()
            self._lag.look(self._positions)
            self._gather_more(sum(len(batch.offsets) for batch in polled.batches))

    def _gather_more(self, records: int) -> None:
        """After a poll that brought a few records: lets some more come, for a piece of work costs much the same however small it is."""
        if 0 < records < self._config.kafka.max_poll_records and self._polled_at_s is not None:
            since_s = self._ports.clock.monotonic_s() - self._polled_at_s
            if since_s < POLL_EVERY_S:
                self._loops.pause(POLL_EVERY_S - since_s)

    def _poll(self, *, paused: bool) -> Polled:
        started_s = self._ports.clock.monotonic_s()
        waits = paused and self._tenure is not None
        if waits and self._polled_at_s is not None and started_s - self._polled_at_s < FULL_POLL_EVERY_S:
            self._loops.pause(FULL_REST_S)
            return Polled([], self._generation)
        try:
            return self._ports.log.poll(0 if waits else POLL_MS, paused=paused)
        except OffsetGapError as gap:
            self._skip_gap(gap)
            return Polled([], self._generation)
        finally:
            now_s = self._ports.clock.monotonic_s()
            self._measurements.stage_s["poll"] += now_s - started_s
            if self._polled_at_s is not None:
                self._measurements.poll_gap.observe_one(now_s - self._polled_at_s)
            self._polled_at_s = now_s

    def _skip_gap(self, gap: OffsetGapError) -> None:
        """Goes on where the log begins; what retention removed is counted."""
        if gap.position > gap.end:
            raise gap
        lost = gap.beginning - gap.position
        logger.error("%d records of %s were removed before they were read: %s", lost, gap.partition, gap)
        self._positions[gap.partition] = gap.beginning
        if gap.partition.topic == EVENTS:
            self._measurements.lost_ms = self._ports.clock.now_ms()
        self._ports.log.seek(self._positions)
        self._waiting.append(Work(lost=lost if gap.partition.topic == EVENTS else 0, runs=[(gap.partition, 0, gap.beginning)]))

    # -- beginning and end of a tenure --------------------------------------------------------------------------------------

    def _restore_in_steps(self, generation: int) -> None:
        """Begins to restore, or takes up what was restored; what fails for a reason that passes is begun anew."""
        if self._restoring is None:
            self._begin_restoring(generation)
        elif self._restoring.done():
            restoring, self._restoring = self._restoring, None
            self._begin_tenure(restoring.result())

    def _begin_restoring(self, generation: int) -> None:
        committed = {place: at for place, at in self._ports.log.committed().items() if place.topic in OWNER_TOPICS}
        logger.info("owning all partitions under generation %d; restoring", generation)
        self._restoring = self._pool.submit(self._restorer.restore, generation, committed)

    def _begin_tenure(self, restored: Restored) -> None:
        birth, ports = restored.birth, self._ports
        self._measurements.restore_s = restored.seconds
        if self._bounded and self._ends is None:
            self._ends = restored.ends
        self._topic_ids = {name: info.topic_id for name, info in restored.topics.items()}
        self._positions, self._handed = dict(birth.start.positions), dict(birth.start.positions)
        ports.log.seek(self._positions)
        self._apart = Apart(birth.left_out, self._suspects) if birth.left_out or self._suspects else None
        self._tenure = Tenure(birth, self._config, ports.store, ports.clock, self._measurements, self._loops)
        interval_s = self._config.snapshots.interval_ms / 1_000
        snapshotter = Snapshotter(
            ports.snapshots,
            ports.dead_letters,
            ports.clock,
            self._config,
            self._measurements,
            topic_ids=self._topic_ids,
            parent=birth.parent,
            pool=self._loops.pool("snapshot", 1),
            pace=Pace(SNAPSHOT_SHARE * interval_s, SNAPSHOT_SHARE_MAX * interval_s, ports.clock, self._loops.pause),
        )
        self._checkpoint = Checkpoint(
            self._tenure,
            snapshotter,
            ports.log,
            self._letters,
            ports.clock,
            self._measurements,
            interval_ms=self._config.snapshots.interval_ms,
        )
        self._measurements.takeovers += not self._went_back

    def _drop(self, *, wait: bool = False) -> None:
        """Discards all state of the present generation."""
        over = self._tenure is not None or self._settled
        self._waiting.clear()
        self._letters.clear()
        if self._restoring is not None:
            self._restoring.cancel()
            self._restoring = None
        if self._tenure is not None:
            logger.warning("a tenure of generation %s is over; what was not committed will be done again", self._generation)
            self._tenure.drop()
            self._tenure = None
        if self._checkpoint is not None:
            self._checkpoint.close(wait=wait)
            self._checkpoint = None
        if over:
            self._settled = False
            self._loops.unsettle()

    def _done(self) -> bool:
        """In bounded mode: whether everything up to the ends taken at the start is applied."""
        if self._ends is None or self._tenure is None or self._waiting:
            return False
        positions = self._tenure.positions
        return all(positions.get(place, 0) >= end for place, end in self._ends.items())

    def _finish(self) -> None:
        """1. Apply and publish what was polled. 2. Write a last snapshot. 3. Commit the offsets that name it. 4. Leave."""
        tenure, checkpoint = self._tenure, self._checkpoint
        if tenure is not None and checkpoint is not None:
            try:
                checkpoint.hurry()
                self._apply_rest(tenure)
                self.reached_ends = self._done()
                manifest = checkpoint.last(self._stay)
                self._tenure = None
                unpublished = self._measurements.lists_unpublished
                logger.info("ended cleanly at snapshot %s, %d lists not written to the store", manifest.name, unpublished)
            except (FencedError, PieceFailed) as error:
                logger.warning("the end comes without a last snapshot: %s", error)
                self._drop()
                if self._bounded:
                    raise  # what was asked for is the snapshot
        self._ports.log.close()
        self._generation = None

    def _apply_rest(self, tenure: Tenure) -> None:
        while self._waiting and not tenure.ended:
            self._stay(lambda: tenure.ended or not tenure.full)
            self._hand_over(tenure, to_the_end=True)
        tenure.end()
        self._stay(lambda: tenure.ended)

    def _stay(self, until: Callable[[], bool]) -> None:
        """Keeps the ownership until something is so; a group that rebalances, and a log that is away for a while, are waited for.

        Raises FencedError where the ownership is lost meanwhile, LogError where the log stays away.
        """
        deadline_s = self._ports.clock.monotonic_s() + LAST_STEP_S_MAX
        while not self._tried(until, deadline_s):
            self._tried(self._still_owns, deadline_s)

    def _tried(self, step: Callable[[], bool], deadline_s: float) -> bool:
        try:
            return step()
        except LogError as error:
            if not error.retriable or self._ports.clock.monotonic_s() > deadline_s:
                raise
            logger.warning("the end waits for the log: %s", error)
            self._loops.pause(BACKOFF_S_MIN)
            return False

    def _still_owns(self) -> bool:
        if self._ports.log.poll(BUSY_POLL_MS, paused=True).generation != self._generation:
            raise FencedError(f"generation {self._generation} is over")
        return True

    # -- work ---------------------------------------------------------------------------------------------------------------

    def _take_in(self, polled: Polled) -> None:
        if not polled.batches:
            return
        started_s = self._ports.clock.monotonic_s()
        traces = self._measurements.traces
        polled_ns = traces.now_ns() if traces is not None else 0
        works = decode(polled.batches, self._topic_ids, self._apart)
        if traces is not None:
            traces.begin(polled.batches, works, polled_ns)
        for work in works:
            self._letters.add(work.dead)
            self._waiting.append(work)
        for batch in polled.batches:
            self._positions[TopicPartition(batch.topic, batch.partition)] = batch.next_offset
        self._measurements.stage_s["decode"] += self._ports.clock.monotonic_s() - started_s

    def _go_back(self, failure: Exception) -> None:
        """The state is half changed: back to the snapshot; the records of the piece at which it failed come again one at a time."""
        if not isinstance(failure, PieceFailed) or self._went_back == WENT_BACK_MAX:
            raise failure
        self._went_back += 1
        self._measurements.went_back += 1
        logger.error("%s; going back to the last snapshot to find the record", failure)
        self._suspects.update(failure.ranges)
        self._drop()

    def _may_go_on(self, tenure: Tenure) -> bool:
        """Whether more may be applied: what a failed fold has passed at last is made safe first, since the next record may fail too.

        So however many records fail, each time that the fold goes back it has come further. A snapshot that fails holds nothing up.
        """
        assert self._checkpoint is not None
        if self._went_back > self._made_safe and self._is_past_suspects(tenure.positions):
            self._made_safe = self._went_back
            self._checkpoint.want_now()
        return not self._checkpoint.holds

    def _hand_over(self, tenure: Tenure, *, to_the_end: bool = False) -> None:
        """As much as there is room for; nothing beyond suspects that are still to be made safe, unless it is ``to_the_end``."""
        while self._waiting and not tenure.full:
            if self._went_back > self._made_safe and self._is_past_suspects(self._handed) and not to_the_end:
                return
            work = self._waiting.popleft()
            tenure.put(work)
            self._handed.update((place, next_offset) for place, _, next_offset in work.runs)

    def _is_past_suspects(self, positions: Mapping[TopicPartition, int]) -> bool:
        return all(positions.get(one.place, 0) >= one.stop for one in self._suspects)

    def _keep_checkpoints(self) -> None:
        assert self._checkpoint is not None
        committed = self._checkpoint.keep()
        if committed is not None:
            if not self._settled:
                self._settled = True
                self._loops.settle()
            self._went_back = self._made_safe = 0
            self._suspects = {one for one in self._suspects if one.stop > committed.get(one.place, 0)}
