"""The snapshotter: jobs that write gathered tables as snapshots, one at a time, and remove old ones (steps 3 and 5 of a checkpoint)."""

from __future__ import annotations

import logging
import secrets
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from consumers.apart import OffsetRange
from consumers.measurements import Measurements
from consumers.pace import Pace
from consumers.recorded_order import RUNS_MAX, Run, merged_runs
from streamer.config.tree import Config
from streamer.engine.switch import encoder_name
from streamer.ports import Clock, LogWriter, SnapshotStore, TopicPartition
from streamer.snapshots import (
    Manifest,
    Retention,
    chunk_names,
    offsets_of,
    positions_of,
    snapshot_name,
    versions,
    write_snapshot,
)

logger = logging.getLogger(__name__)

DEAD_LETTERS_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """Copies of all tables at one moment, with what a manifest says of it."""

    fold: dict[str, NDArray[Any]]
    publisher: dict[str, NDArray[Any]]
    positions: dict[TopicPartition, int]
    order: tuple[Run, ...]
    left_out: tuple[OffsetRange, ...]
    epoch: int
    generation: int
    counters: dict[str, object]
    structural: dict[str, object]
    head_step: int
    event_ms: int


class Snapshotter:
    """Writes one snapshot at a time."""

    def __init__(
        self,
        store: SnapshotStore,
        dead_letters: LogWriter,
        clock: Clock,
        config: Config,
        measurements: Measurements,
        *,
        topic_ids: dict[str, str],
        parent: Manifest | None,
        pool: Executor,
        pace: Pace,
    ) -> None:
        self._store = store
        self._dead_letters = dead_letters
        self._clock = clock
        self._config = config
        self._measurements = measurements
        self._topic_ids = topic_ids
        self._parent = parent
        self._order: tuple[Run, ...] = ()
        """Since the parent, as far as it was handed in to be written."""
        self._order_whole = True
        self._retention = Retention(store, config.snapshots.keep, config.snapshots.history_days)
        self._pool = pool
        """Of one thread: what it is given is done in order, nothing beside another."""
        self._pace = pace
        self._pool.submit(store.remove_leftovers)

    def write(self, gathered: Gathered, *, hurried: bool) -> Future[Manifest]:
        """Starts writing, without rests where it is ``hurried``; the future's result is the manifest, on disk but not yet committed.

        One whose writing or commit fails is no parent: the order of the next one begins where its own did.
        """
        self._pace.hurry(wanted=hurried)
        self._order = merged_runs((*self._order, *gathered.order))
        if len(self._order) > RUNS_MAX:
            logger.warning("no snapshot could be kept for too long: the recorded order begins anew with the next")
            self._order, self._order_whole = (), False
        return self._pool.submit(self._write, gathered, self._order, self._parent if self._order_whole else None)

    def committed(self, manifest: Manifest) -> None:
        """The group's offsets name this snapshot now: it is the parent of the next, and old ones can go."""
        self._parent, self._order, self._order_whole = manifest, (), True
        self._measurements.snapshots += 1
        self._measurements.snapshot_ms = manifest.created_ms
        self._pool.submit(self._retain, manifest.name)

    def hurry(self) -> None:
        """Somebody waits for what is being written."""
        self._pace.hurry(wanted=True)

    def close(self, *, wait: bool) -> None:
        """Begins nothing more; ``wait`` for what was begun, which nobody commits any more."""
        self.hurry()
        self._pool.shutdown(wait=wait, cancel_futures=not wait)

    def _write(self, gathered: Gathered, order: tuple[Run, ...], parent: Manifest | None) -> Manifest:
        started_s = self._clock.monotonic_s()
        self._dead_letters.flush(DEAD_LETTERS_TIMEOUT_S)
        self._pace.begin()
        # later than the parent's whatever the clock says: names tell the order
        created_ms = max(self._clock.now_ms(), self._parent.created_ms + 1 if self._parent else 0)
        draft = Manifest(
            name=snapshot_name(created_ms, secrets.token_hex(4)),
            epoch=gathered.epoch,
            generation=gathered.generation,
            created_ms=created_ms,
            parent=parent.name if parent else None,
            topic_ids=self._topic_ids,
            offsets=offsets_of(gathered.positions),
            structural=gathered.structural,
            encoder_fingerprint=encoder_name(gathered.fold),
            versions=versions(),
            head_step=gathered.head_step,
            event_ms=gathered.event_ms,
            position=sum(gathered.positions.values()),
            counters=gathered.counters,
            order=order,
            left_out=self._since_parent(gathered.left_out),
            chunk_bytes=self._config.snapshots.chunk_bytes,
        )
        known = chunk_names(self._parent) if self._parent else frozenset()
        manifest = write_snapshot(self._store, draft, gathered.fold, gathered.publisher, known=known, rest=self._pace.rest)
        self._pace.end()
        tables = (*gathered.fold.values(), *gathered.publisher.values())
        self._measurements.snapshot_bytes = sum(table.nbytes for table in tables)
        self._measurements.snapshot_write_s = self._clock.monotonic_s() - started_s
        self._measurements.stage_s["snapshot"] += self._pace.worked_s
        return manifest

    def _since_parent(self, left_out: tuple[OffsetRange, ...]) -> tuple[tuple[str, int, int, int], ...]:
        """Those that the parent had not passed: who folds from there must know them."""
        passed = positions_of(self._parent) if self._parent else {}
        return tuple(sorted(one for one in left_out if one.stop > passed.get(one.place, 0)))

    def _retain(self, name: str) -> None:
        try:
            self._retention.run(name)
        except OSError as error:
            logger.warning("old snapshots could not be removed: %s", error)
