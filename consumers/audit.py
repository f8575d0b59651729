"""The audit: folds the log anew from one snapshot, in the order that its descendants recorded, and compares the tables.

It is also the exact replay of an incident: the state between two snapshots comes about again, record by record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from consumers.apart import Apart, OffsetRange
from consumers.cursor import Cursor
from consumers.fold import Fold, PieceFailed
from consumers.work import decode
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.engine.rules import structure_of
from streamer.engine.state import LOST
from streamer.ports import LogReader, OffsetGapError, RecordBatch, SnapshotStore, TopicPartition
from streamer.snapshots import (
    FORMAT,
    AuditImpossible,
    Manifest,
    fold_hashes,
    lineage,
    losses,
    other_versions,
    positions_of,
    read_snapshot,
    require_same_structure,
    require_same_topics,
    runs_of,
    table_hashes,
    versions,
)

FOLD_RECORDS_MAX = 4_096
"""Records decoded and folded at once."""

Progress = Callable[[int, int], None]
"""Told records folded, and how many there are in all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found: the tables that differ, none where the descendant is what its records make of the ancestor."""

    records: int
    tables: int
    differing: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether every fold table is the same, bit for bit."""
        return not self.differing


class Audit:
    """One audit, of the line from one snapshot to another.

    Raises:
        AuditImpossible: the line is broken, or its topics were made again.
        SnapshotDamaged, StructureDiffers: a snapshot cannot be loaded here.
    """

    def __init__(
        self,
        store: SnapshotStore,
        reader: LogReader,
        config: Config,
        names: tuple[str, str],
        topic_ids: Mapping[str, str],
    ) -> None:
        self.line: list[Manifest] = lineage(store, *names)
        require_same_topics(self.line, topic_ids)
        self.warnings = (*other_versions(self.line, versions()), *_earlier_formats(self.line))
        self._store = store
        self._reader = reader
        self._config = config
        self._topic_ids = topic_ids

    def run(self, progress: Progress | None = None) -> Verdict:
        """Folds and compares. Some thousand records are held at a time.

        Raises:
            AuditImpossible: records of the range are gone, or the order does not fit the log.
            LogError: the log is away.
        """
        engine = self._loaded()
        engine.count(LOST, losses(self.line))
        left_out = [OffsetRange(*one) for manifest in self.line for one in manifest.left_out]
        fold = Fold(engine, self._config, dict(positions_of(self.line[0])), snapshots=self._store)
        records = _fold(fold, Replayed(self._reader, self.line), self._topic_ids, Apart(left_out), progress)
        last = self.line[-1]
        expected, found = fold_hashes(last), table_hashes(fold.engine.fold_tables(), last.chunk_bytes)
        names = expected | found if last.format == FORMAT else expected.keys() & found  # an earlier format has other tables
        differing = sorted(name for name in names if expected.get(name) != found.get(name))
        return Verdict(records, len(names), tuple(differing), self.warnings)

    def _loaded(self) -> Engine:
        structure = structure_of(self._config)
        for manifest in self.line:
            require_same_structure(manifest, structure)
        _, fold, publisher = read_snapshot(self._store, self.line[0].name)
        return Engine(self._config, fold, publisher)


def _earlier_formats(line: Sequence[Manifest]) -> list[str]:
    earlier = sorted({manifest.format for manifest in line[1:] if manifest.format != FORMAT})
    told = (
        "an earlier release made it: tables that only one of the two has are not compared, and where sums were taken in another order the last "
        "bits of what was learned may differ"
    )
    return [f"format {number} of a snapshot, {FORMAT} now: {told}" for number in earlier]


def _fold(fold: Fold, replayed: Replayed, topic_ids: Mapping[str, str], apart: Apart, progress: Progress | None) -> int:
    folded = 0
    while batches := replayed.next(FOLD_RECORDS_MAX):
        for work in decode(batches, topic_ids, apart):
            try:
                fold.apply(work)
            except PieceFailed as error:
                raise AuditImpossible(str(error)) from error
            if fold.letters:
                letter = fold.letters[0]
                raise AuditImpossible(
                    f"{letter.topic}[{letter.partition}] offset {letter.offset} cannot be done again as it was: {letter.reject.error}"
                )
        fold.take_order()  # it is known
        folded += sum(len(batch.offsets) for batch in batches)
        if progress is not None:
            progress(folded, replayed.records)
    return folded


class Replayed:
    """The records between two snapshots, as batches in the order in which they were applied."""

    def __init__(self, reader: LogReader, line: Sequence[Manifest]) -> None:
        before, after = positions_of(line[0]), positions_of(line[-1])
        self._cursors = {place: Cursor(reader, place, before.get(place, 0), stop) for place, stop in after.items()}
        self._runs = [run for run in runs_of(line) if run[1]]  # a run of none stands for a gap or for transaction markers
        self._runs.reverse()
        self.records = sum(count for _, count in self._runs)

    def next(self, records_max: int) -> list[RecordBatch]:
        """The next records; none where all were given, and the log holds no others in between.

        Raises AuditImpossible where it holds fewer or more than the order says.
        """
        batches: list[RecordBatch] = []
        left = records_max
        while left and self._runs:
            place, count = self._runs.pop()
            batch = self._taken(place, min(count, left), count)
            batches.append(batch)
            left -= len(batch.offsets)
            if len(batch.offsets) < count:
                self._runs.append((place, count - len(batch.offsets)))
        if not batches:
            self._require_ends()
        return batches

    def _taken(self, place: TopicPartition, count: int, wanted: int) -> RecordBatch:
        cursor = self._cursors.get(place)
        if cursor is None or not _filled(cursor):
            stop = "" if cursor is None else f" before offset {cursor.stop}"
            raise AuditImpossible(
                f"{_text(place)}: the snapshots say that {wanted} more records were applied than the log holds{stop}; "
                "retention or compaction removed some of them since, so what they did cannot be seen again"
            )
        return cursor.take(count)

    def _require_ends(self) -> None:
        for place, cursor in self._cursors.items():
            if _filled(cursor):
                raise AuditImpossible(
                    f"{_text(place)}: the log holds records from offset {cursor.position} to {cursor.stop} that the snapshots "
                    "passed over without applying them; their order does not fit this log"
                )


def _filled(cursor: Cursor) -> bool:
    """Whether there is another record before the cursor's end; what retention removed is passed over."""
    while True:
        try:
            return cursor.fill()
        except OffsetGapError as gap:
            if gap.position > gap.end:
                raise AuditImpossible(f"{gap}: the log is not the one that was read") from gap
            cursor.skip_to(gap.beginning)  # before it was read, or since: the number of records tells


def _text(place: TopicPartition) -> str:
    return f"{place.topic}[{place.partition}]"
