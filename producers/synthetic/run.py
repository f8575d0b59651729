"""A stretch of synthetic traffic onto a log or into a file, with what is to be said of it afterwards."""

from __future__ import annotations

import contextlib
import gzip
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from producers.checks import Timed
from producers.progress import Progress, no_progress
from producers.replay import MAX_SPEED, Pace, replay_timed
from producers.synthetic.catalogue import Catalogue
from producers.synthetic.settings import Traffic
from producers.synthetic.stream import Batch
from producers.synthetic.tally import Tally
from streamer.events.model import ITEMS
from streamer.ports import LogWriter, OutRecord

STDOUT = Path("-")


@dataclass(slots=True)
class Made:
    """What became of a run. ``behind_s`` is how long after it was due the last record was handed to the log, ``behind_s_max`` any."""

    tally: Tally = field(default_factory=Tally)
    last_ms: int | None = None
    items: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    timed: bool = False
    behind_s: float = 0.0
    behind_s_max: float = 0.0


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a run ends: after so many records, or where one is due so many seconds after the start; never where both are None."""

    events: int | None = None
    seconds: float | None = None

    def of(self, batches: Iterator[Batch], start_ms: int) -> Iterator[Batch]:
        """The batches up to there, the last one cut."""
        made = 0
        for batch in batches:
            size = len(batch.labels) if self.events is None else min(len(batch.labels), self.events - made)
            if self.seconds is not None:
                end_ms = start_ms + 1_000 * self.seconds
                size = min(size, sum(due_ms < end_ms for due_ms in batch.due_ms))
            yield Batch(batch.due_ms[:size], batch.labels[:size], batch.records[:size], batch.items)
            made += size
            if size < len(batch.labels) or made == self.events:
                return


def send(batches: Iterable[Batch], writer: LogWriter, pace: Pace, progress: Callable[[Progress], None] = no_progress) -> Made:
    """Sends every record when it is due by the pace, or as soon after it as the log takes it. Raises LogError where the log fails."""
    made = Made(timed=pace.speed != MAX_SPEED)
    report = replay_timed(_watched(batches, writer, pace, made), writer, pace=pace, progress=progress)
    made.refused += report.refused
    made.problems += [problem for problem in report.problems if problem.startswith("refused")]
    made.seconds = report.seconds
    return made


def _watched(batches: Iterable[Batch], writer: LogWriter, pace: Pace, made: Made) -> Iterator[Timed]:
    """Each record with the time at which it is due. Control comes back once it was handed to the log: only then it is counted."""
    started_s, first_ms = pace.clock_s(), None

    def done(_: OutRecord, error: Exception | None) -> None:
        if error is None:
            made.items += 1
        else:
            made.refused += 1

    for batch in batches:
        for item in batch.items:
            writer.send(OutRecord(ITEMS, item.key, item.value), done)
        for due_ms, label, record in zip(batch.due_ms, batch.labels, batch.records, strict=True):
            first_ms = due_ms if first_ms is None else first_ms
            yield due_ms, record
            made.tally.note(label)
            made.last_ms = due_ms
            made.behind_s = pace.clock_s() - started_s - (due_ms - first_ms) / 1_000 / pace.speed
            made.behind_s_max = max(made.behind_s, made.behind_s_max)


def write_events(batches: Iterable[Batch], path: Path, stopped: Callable[[], bool]) -> Made:
    """Writes the values as JSON Lines: packed where the name ends in .gz, to stdout where it is ``-``."""
    made = Made()
    started_s = time.monotonic()
    with _opened(path) as out:
        for batch in batches:
            if stopped():
                break
            out.write(b"".join([record.value + b"\n" for record in batch.records]))
            made.tally.note_all(batch.labels)
            made.last_ms = batch.due_ms[-1] if batch.due_ms else made.last_ms
    made.seconds = time.monotonic() - started_s
    return made


def write_items(traffic: Traffic, last_ms: int | None, path: Path) -> int:
    """Writes the documents of the items at the start, and what changes up to that time; returns how many."""
    catalogue = Catalogue(traffic)
    count = 0
    with _opened(path) as out:
        for documents in (catalogue.documents(), catalogue.changes(traffic.start_ms, 1 + (last_ms or traffic.start_ms))):
            for document in documents:
                out.write(document.value + b"\n")
                count += 1
    return count


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """To be written: equal content makes equal bytes, packed too."""
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    with path.open("wb") as file:
        if path.suffix != ".gz":
            yield file
            return
        with gzip.GzipFile("", "wb", 6, file, 0) as packed:
            yield cast("IO[bytes]", packed)
