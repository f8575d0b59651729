"""The owner's loop: poll, decode, hand over; restore when a generation begins; commit when a snapshot is written; end cleanly.

One thread runs it and it alone touches the log. What depends on owning the partitions lives in a tenure.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from consumers.letters import DeadLetters
from consumers.measurements import Measurements
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
    LogWriter,
    OffsetGapError,
    OwnerStatus,
    Polled,
    Positions,
    RecommendationStore,
    SnapshotStore,
    TopicPartition,
)
from streamer.snapshots import (
    Manifest,
    Override,
    format_metadata,
    offsets_of,
)

logger = logging.getLogger(__name__)

POLL_MS = 100
BUSY_POLL_MS = 20
"""While the fold has work for longer than this."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.2, 5.0
LAG_EVERY_S = 2.0
LAST_STEP_S_MAX = 10.0
"""How long each step of the end waits for a log that is away."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The world as the owner sees it."""

    log: EventLog
    admin: LogAdmin
    dead_letters: LogWriter
    store: RecommendationStore
    snapshots: SnapshotStore
    clock: Clock


class Owner:
    """Owns all partitions or stands by. ``run`` returns when told to stop, or in bounded mode when all is done."""

    def __init__(
        self, ports: Ports, config: Config, measurements: Measurements, override: Override, *, bounded: bool = False
    ) -> None:
        self._ports = ports
        self._config = config
        self._measurements = measurements
        self._restorer = Restorer(ports.admin, ports.snapshots, ports.clock, config, override)
        self._bounded = bounded
        self._ends: dict[TopicPartition, int] | None = None
        self._generation: int | None = None
        self._tenure: Tenure | None = None
        self._snapshotter: Snapshotter | None = None
        self._restoring: Future[Restored] | None = None
        self._writing: Future[Manifest] | None = None
        self._written: Positions = {}
        self._waiting: deque[Work] = deque()
        self._letters = DeadLetters(ports.dead_letters, ports.clock, measurements)
        """Their records are handed over; no snapshot is written before they are sent."""
        self._topic_ids: dict[str, str] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._snapshot_at_s = 0.0
        self._snapshot_owed = False
        """The last one failed: the next is due whether or not anything was applied since."""
        self._lag_at_s = 0.0
        self._measuring: Future[None] | None = None
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="owner")

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
                    backoff_s = BACKOFF_S_MIN
                except LogError as error:
                    if not error.retriable:
                        raise
                    self._measurements.log_errors += 1
                    logger.warning("the log is away, tried again in %.1f s: %s", backoff_s, error)
                    stop.wait(backoff_s)
                    backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
            self._finish()
        finally:
            self._ended = True
            self._drop()
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
        )

    @property
    def ended(self) -> bool:
        """Whether ``run`` has returned or raised."""
        return self._ended

    _joined = False
    _ended = False

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
        elif self._tenure is not None:
            self._take_in(polled, self._tenure)
            self._hand_over(self._tenure)
            self._letters.send_if_due()
            self._keep_snapshots(self._tenure)
            self._watch_lag()

    def _poll(self, *, paused: bool) -> Polled:
        started_s = self._ports.clock.monotonic_s()
        try:
            waits = paused and self._tenure is not None
            return self._ports.log.poll(BUSY_POLL_MS if waits else POLL_MS, paused=paused)
        except OffsetGapError as gap:
            self._skip_gap(gap)
            return Polled([], self._generation)
        finally:
            self._measurements.stage_s["poll"] += self._ports.clock.monotonic_s() - started_s

    def _skip_gap(self, gap: OffsetGapError) -> None:
        """Goes on where the log begins; what retention removed is counted."""
        if gap.position > gap.end:
            raise gap
        lost = gap.beginning - gap.position
        logger.error("%d records of %s were removed before they were read: %s", lost, gap.partition, gap)
        self._positions[gap.partition] = gap.beginning
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
        self._positions = dict(birth.start.positions)
        ports.log.seek(self._positions)
        self._snapshotter = Snapshotter(
            ports.snapshots,
            ports.dead_letters,
            ports.clock,
            self._config,
            self._measurements,
            topic_ids=self._topic_ids,
            parent=birth.parent,
        )
        self._tenure = Tenure(birth, self._config, ports.store, ports.clock, self._measurements)
        self._snapshot_at_s = ports.clock.monotonic_s()
        self._measurements.takeovers += 1

    def _drop(self) -> None:
        """Discards all state of the present generation."""
        self._waiting.clear()
        self._letters.clear()
        self._snapshot_owed = False
        if self._restoring is not None:
            self._restoring.cancel()
            self._restoring = None
        if self._tenure is not None:
            logger.warning("generation %s is over; what was not committed will be done again", self._generation)
            self._tenure.drop()
            self._tenure = None
        if self._snapshotter is not None:
            self._snapshotter.close()
            self._snapshotter = None
        self._writing = None

    def _done(self) -> bool:
        """In bounded mode: whether everything up to the ends taken at the start is applied."""
        if self._ends is None or self._tenure is None or self._waiting:
            return False
        positions = self._tenure.positions
        return all(positions.get(place, 0) >= end for place, end in self._ends.items())

    def _finish(self) -> None:
        """1. Apply and publish what was polled. 2. Write a last snapshot. 3. Commit the offsets that name it. 4. Leave."""
        tenure, snapshotter = self._tenure, self._snapshotter
        if tenure is not None and snapshotter is not None:
            try:
                self._apply_rest(tenure)
                self._commit_last(tenure, snapshotter)
            except FencedError as error:
                logger.warning("the end comes without a last snapshot: %s", error)
                self._drop()
                if self._bounded:
                    raise  # what was asked for is the snapshot
        self._ports.log.close()
        self._generation = None

    def _apply_rest(self, tenure: Tenure) -> None:
        while self._waiting and not tenure.ended:
            self._stay(lambda: tenure.ended or not tenure.full)
            self._hand_over(tenure)
        tenure.end()
        self._stay(lambda: tenure.ended)

    def _commit_last(self, tenure: Tenure, snapshotter: Snapshotter) -> None:
        if self._writing is not None:
            self._stay(self._writing.done)  # whatever became of it: the last one holds all that it holds
        gathered = tenure.finish()
        self._letters.begin_snapshot()
        self._stay(self._letters.send)
        writing = snapshotter.write(gathered)
        self._stay(writing.done)
        manifest = writing.result()
        self._letters.require_none_returned()
        self._stay(lambda: self._commits(gathered.positions, manifest))
        snapshotter.committed(manifest)
        self._tenure = None
        logger.info("ended cleanly at snapshot %s", manifest.name)

    def _commits(self, positions: Positions, manifest: Manifest) -> bool:
        self._ports.log.commit(positions, format_metadata(manifest.name))
        return True

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
            threading.Event().wait(BACKOFF_S_MIN)
            return False

    def _still_owns(self) -> bool:
        if self._ports.log.poll(BUSY_POLL_MS, paused=True).generation != self._generation:
            raise FencedError(f"generation {self._generation} is over")
        return True

    # -- work ---------------------------------------------------------------------------------------------------------------

    def _take_in(self, polled: Polled, tenure: Tenure) -> None:
        if tenure.failure is not None:
            raise tenure.failure
        if not polled.batches:
            return
        started_s = self._ports.clock.monotonic_s()
        for work in decode(polled.batches, self._topic_ids):
            self._letters.add(work.dead)
            self._waiting.append(work)
        for batch in polled.batches:
            self._positions[TopicPartition(batch.topic, batch.partition)] = batch.next_offset
        self._measurements.stage_s["decode"] += self._ports.clock.monotonic_s() - started_s

    def _hand_over(self, tenure: Tenure) -> None:
        while self._waiting and not tenure.full:
            tenure.put(self._waiting.popleft())

    # -- snapshots ----------------------------------------------------------------------------------------------------------

    def _keep_snapshots(self, tenure: Tenure) -> None:
        """The steps of a snapshot as far as they have come; never waits."""
        snapshotter = self._snapshotter
        assert snapshotter is not None
        now_s, returned = self._ports.clock.monotonic_s(), self._letters.returned
        if self._writing is not None:
            if self._writing.done():
                self._commit(self._writing, tenure, snapshotter)
                self._writing = None
        elif not self._letters and (gathered := tenure.gathered()) is not None:
            self._written = gathered.positions
            self._letters.begin_snapshot(returned)
            self._writing = snapshotter.write(gathered)
        elif (now_s - self._snapshot_at_s) * 1_000 >= self._config.snapshots.interval_ms and (
            tenure.applied_since_gather or self._snapshot_owed
        ):
            self._snapshot_at_s, self._snapshot_owed = now_s, False
            tenure.ask_to_gather()

    def _commit(self, writing: Future[Manifest], tenure: Tenure, snapshotter: Snapshotter) -> None:
        try:
            manifest = writing.result()
            self._letters.require_none_returned()
        except (OSError, LogError) as error:
            self._snapshot_owed = True
            self._measurements.snapshot_failures += 1
            logger.error("the snapshot failed, the next one is due in %d ms: %s", self._config.snapshots.interval_ms, error)  # noqa: TRY400
            return
        try:
            self._ports.log.commit(self._written, format_metadata(manifest.name))
        except FencedError as error:
            self._snapshot_owed = True
            logger.warning("snapshot %s is an orphan: %s", manifest.name, error)
            return
        tenure.snapshot = manifest.name
        snapshotter.committed(manifest)

    def _watch_lag(self) -> None:
        now_s = self._ports.clock.monotonic_s()
        if now_s - self._lag_at_s >= LAG_EVERY_S and (self._measuring is None or self._measuring.done()):
            self._lag_at_s = now_s
            self._measuring = self._pool.submit(self._measure_lag, dict(self._positions))

    def _measure_lag(self, positions: dict[TopicPartition, int]) -> None:
        lag: dict[str, dict[str, int]] = {}
        try:
            for place, (_, end) in self._ports.admin.bounds().items():
                if place in positions:
                    lag.setdefault(place.topic, {})[str(place.partition)] = max(0, end - positions[place])
        except LogError as error:
            logger.debug("lag is not known now: %s", error)
            return
        self._measurements.lag = lag
