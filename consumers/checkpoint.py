"""The checkpoints of one tenure: from tables gathered between two pieces of work to the commit that makes them the ones to start from.

The steps, in order: 1. gather tables and next offsets between two pieces of work (the tenure); 2. dead letters are handed to the log,
and acknowledged; 3. files, the manifest last (the snapshotter); 4. the commit of all next offsets, whose metadata names the
manifest (here); 5. old snapshots are removed (the snapshotter).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from consumers.letters import DeadLetters
from consumers.measurements import Measurements
from consumers.recorded_order import merged_runs
from consumers.snapshotter import Gathered, Snapshotter
from consumers.tenure import Tenure
from streamer.ports import Clock, EventLog, FencedError, LogError, Positions
from streamer.snapshots import Manifest, format_metadata

logger = logging.getLogger(__name__)

LAST_ROUNDS = 3
"""How often the end sends dead letters that come back."""

Stay = Callable[[Callable[[], bool]], None]
"""Keeps the ownership until something is so."""


class Checkpoint:
    """For the polling thread. ``keep`` never waits, ``last`` does."""

    def __init__(
        self,
        tenure: Tenure,
        snapshotter: Snapshotter,
        log: EventLog,
        letters: DeadLetters,
        clock: Clock,
        measurements: Measurements,
        *,
        interval_ms: int,
    ) -> None:
        self._tenure = tenure
        self._snapshotter = snapshotter
        self._log = log
        self._letters = letters
        self._clock = clock
        self._measurements = measurements
        self._interval_ms = interval_ms
        self._gathered: Gathered | None = None
        self._writing: Future[Manifest] | None = None
        self._written: Positions = {}
        self._owed = False
        """The last one failed, or one is wanted: the next is due whether or not anything was applied since."""
        self._wanted = False
        """One is wanted at once: nothing more is applied until it is known what became of it."""
        self._at_s = clock.monotonic_s()

    @property
    def holds(self) -> bool:
        """Whether the next piece of work must wait for the one that is wanted."""
        return self._wanted

    def want_now(self) -> None:
        """What was applied up to now must not be done again, whatever comes next."""
        self._wanted = self._owed = True
        self._at_s = -math.inf
        self._snapshotter.hurry()

    def keep(self) -> Positions | None:
        """The steps as far as they have come; what was committed, once it is."""
        now_s, returned = self._clock.monotonic_s(), self._letters.returned
        if self._gathered is None:
            self._gathered = self._tenure.gathered()
        self._letters.add(self._tenure.take_letters())  # after that: none is missed that the gathered state counts
        if self._writing is not None:
            if not self._writing.done():
                return None
            committed = self._commit(self._writing)  # where the log is away, the same is tried again
            self._writing = None
            self._wanted = self._wanted and self._at_s == -math.inf  # begun before it was wanted
            return committed
        if self._gathered is not None:
            if not self._letters:
                gathered, self._gathered = self._gathered, None
                self._written = gathered.positions
                self._letters.begin_snapshot(returned)
                self._writing = self._snapshotter.write(gathered, hurried=self._wanted)
        elif (now_s - self._at_s) * 1_000 >= self._interval_ms and (self._tenure.applied_since_gather or self._owed):
            self._at_s, self._owed = now_s, False
            self._tenure.ask_to_gather()
        return None

    def hurry(self) -> None:
        """The end is near: nobody should wait for a snapshot that rests."""
        self._snapshotter.hurry()

    def last(self, stay: Stay) -> Manifest:
        """The checkpoint of a tenure that has ended. Raises LogError, OSError or what ended the tenure before."""
        if self._writing is not None:
            stay(self._writing.done)  # whatever became of it: the last one holds all that it holds
        unwritten, gathered = self._gathered, self._tenure.finish()
        if unwritten is not None:
            gathered = replace(gathered, order=merged_runs((*unwritten.order, *gathered.order)))
        self._letters.add(self._tenure.take_letters())
        manifest = self._written_last(gathered, stay)
        stay(lambda: self._commits(gathered.positions, manifest))
        self._snapshotter.committed(manifest)
        return manifest

    def _written_last(self, gathered: Gathered, stay: Stay) -> Manifest:
        for rounds_left in reversed(range(LAST_ROUNDS)):
            self._letters.begin_snapshot()
            stay(self._letters.send)
            writing = self._snapshotter.write(gathered, hurried=True)
            gathered = replace(gathered, order=())  # what was handed in is kept
            stay(writing.done)
            manifest = writing.result()
            try:
                self._letters.require_none_returned()
            except LogError:
                if not rounds_left:
                    raise
            else:
                break
        return manifest

    def close(self, *, wait: bool) -> None:
        """No more of them. The polling thread may ``wait`` only at its end: a write takes as long as it takes."""
        self._snapshotter.close(wait=wait)

    def _commit(self, writing: Future[Manifest]) -> Positions | None:
        try:
            manifest = writing.result()
            self._letters.require_none_returned()
        except (OSError, LogError) as error:
            self._owed = True
            self._measurements.snapshot_failures += 1
            logger.error("the snapshot failed, the next one is due in %d ms: %s", self._interval_ms, error)  # noqa: TRY400
            return None
        try:
            self._commits(self._written, manifest)
        except FencedError as error:
            self._owed = True
            logger.warning("snapshot %s is an orphan: %s", manifest.name, error)
            return None
        self._tenure.committed(manifest)
        self._snapshotter.committed(manifest)
        return self._written

    def _commits(self, positions: Positions, manifest: Manifest) -> bool:
        self._log.commit(positions, format_metadata(manifest.name))
        return True
