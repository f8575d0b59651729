"""Recorded events onto the log: in the order of their files, as fast as the log takes them or in step with their own time."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from producers.formats import AUTO, Reading, Recorded, RecordingError, open_events, with_times
from streamer.events.model import EVENTS
from streamer.ports import LogWriter, OutRecord

logger = logging.getLogger(__name__)

MAX_SPEED = math.inf
"""As fast as the log takes the records."""

PROGRESS_INTERVAL_S = 0.2
NAMED_PROBLEMS_MAX = 10
"""Refused and malformed records that a report tells one by one; the others are counted."""

FLUSH_TIMEOUT_S = 120.0

Timed = tuple[int | None, Recorded]
"""A record with the time at which it stands in its recording."""


class UnsortedError(RecordingError):
    """A recording whose records do not stand in the order of their times; nothing of it was sent."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is. ``done`` counts records looked at (``check``) or handed to the log (``send``)."""

    stage: Literal["check", "send"]
    done: int
    total: int | None
    events_per_s: float
    event_ms: int | None


@dataclass(slots=True)
class ReplayReport:
    """What became of a recording: ``read`` = ``sent`` + ``refused`` + ``outside``.

    ``malformed`` ones are among them: they are sent as they are, so that they end among the rejected records.
    """

    read: int = 0
    sent: int = 0
    """Acknowledged by the log."""
    refused: int = 0
    """Not taken by the log, for the reasons in ``problems``."""
    outside: int = 0
    """Before the first or after the last time asked for."""
    malformed: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    """Records that are no interactions by their format, by kind; they are not among those read."""
    first_ms: int | None = None
    last_ms: int | None = None
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def never() -> bool:
    """Goes on to the last record."""
    return False


def no_gate(handed: int) -> None:
    """Holds nothing back."""
    _ = handed


def no_progress(progress: Progress) -> None:
    """Shows nothing."""
    _ = progress


@dataclass(frozen=True, slots=True)
class Pace:
    """When each record may go.

    ``speed`` divides the recording's own time; MAX_SPEED does not wait. ``gate`` is called before each record with the number
    already handed to the log, and may wait; what it raises ends the replay. ``stopped`` is asked after each wait: once it says yes,
    no record follows, and the report tells of those before.
    """

    speed: float = MAX_SPEED
    gate: Callable[[int], None] = no_gate
    clock_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    stopped: Callable[[], bool] = never

    def __post_init__(self) -> None:
        if not self.speed > 0:
            raise ValueError(
                f"speed is {self.speed}, expected more than 0: 1 is the recording's own time, 100 a hundred times it"
            )


def parse_speed(text: str) -> float:
    """``max`` or a positive number. Raises ValueError.

    >>> parse_speed("max"), parse_speed("2.5")
    (inf, 2.5)
    """
    if text == "max":
        return MAX_SPEED
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ValueError(f"speed is {text!r}, expected max or a number above 0: 1 is the recording's own time")
    return speed


def replay(
    files: Sequence[Path],
    writer: LogWriter,
    *,
    format_name: str = AUTO,
    start_ms: int | None = None,
    end_ms: int | None = None,
    pace: Pace | None = None,
    progress: Callable[[Progress], None] = no_progress,
) -> ReplayReport:
    """Sends every event of these files that lies in ``[start_ms, end_ms)``, keyed by user, merged by time if several.

    Each file is read twice: first to its end, so that nothing is sent of a recording that is empty, cut or unsorted.
    Memory does not grow with the files. The user's records keep their order.

    Raises RecordingError, and UnsortedError for a file out of time order, before anything is sent; LogError where the log fails.
    """
    pace = pace or Pace()
    meter = _Meter("check", None, pace.clock_s, progress)
    readings = [open_events(path, format_name) for path in files]
    total = sum(_checked(reading, meter) for reading in readings)
    report = ReplayReport()
    for reading in readings:
        for kind, count in reading.left_out.by_kind.items():
            report.left_out[kind] = report.left_out.get(kind, 0) + count
    merged = _merged([with_times(reading) for reading in readings])
    inside = _inside(merged, start_ms, end_ms, report)
    meter = _Meter("send", total, pace.clock_s, progress)
    return _sent(inside, writer, topic=EVENTS, pace=pace, meter=meter, report=report)


def replay_records(
    records: Iterable[Recorded],
    writer: LogWriter,
    *,
    topic: str = EVENTS,
    total: int | None = None,
    pace: Pace | None = None,
    progress: Callable[[Progress], None] = no_progress,
) -> ReplayReport:
    """Sends records in the order given, whatever their times. Raises LogError where the log fails."""
    return replay_timed(with_times(records), writer, topic=topic, total=total, pace=pace, progress=progress)


def replay_timed(
    records: Iterator[Timed],
    writer: LogWriter,
    *,
    topic: str = EVENTS,
    total: int | None = None,
    pace: Pace | None = None,
    progress: Callable[[Progress], None] = no_progress,
) -> ReplayReport:
    """The same with the time at which each is due, which may be another one than its own. Raises LogError where the log fails."""
    pace = pace or Pace()
    meter = _Meter("send", total, pace.clock_s, progress)
    return _sent(records, writer, topic=topic, pace=pace, meter=meter, report=ReplayReport())


class _Meter:
    """Tells progress at most every PROGRESS_INTERVAL_S."""

    def __init__(
        self,
        stage: Literal["check", "send"],
        total: int | None,
        clock_s: Callable[[], float],
        tell: Callable[[Progress], None],
    ) -> None:
        self._stage: Literal["check", "send"] = stage
        self._total = total
        self._clock_s = clock_s
        self._tell = tell
        self.started_s = clock_s()
        self._told_s = self.started_s
        self._done = 0
        self._event_ms: int | None = None

    def count(self, event_ms: int | None) -> None:
        self._done += 1
        self._event_ms = event_ms
        if self._clock_s() - self._told_s >= PROGRESS_INTERVAL_S:
            self.tell()

    def tell(self) -> None:
        self._told_s = self._clock_s()
        rate = self._done / max(self._told_s - self.started_s, 1e-9)
        self._tell(Progress(self._stage, self._done, self._total, rate, self._event_ms))


def _checked(reading: Reading, meter: _Meter) -> int:
    """Reads a file to its end: how many records it holds. Raises RecordingError, UnsortedError."""
    path, unit = reading.path, reading.unit
    records = 0
    latest: Recorded | None = None
    for record in reading:
        records += 1
        meter.count(record.timestamp_ms)
        if record.timestamp_ms is None:
            continue
        if latest and latest.timestamp_ms is not None and record.timestamp_ms < latest.timestamp_ms:
            raise UnsortedError(
                f"{path}, {unit} {record.line}: an event of {_shown(record.timestamp_ms)} stands behind one of "
                f"{_shown(latest.timestamp_ms)} ({unit} {latest.line}), expected events in the order of their times: "
                f"sort it with `streamer sort {path}`, and replay what that writes"
            )
        latest = record
    if not records:
        told = "; ".join(f"{count} of kind {kind}" for kind, count in reading.left_out.by_kind.items())
        seen = f" but those that are no interactions ({told})" if told else ""
        raise RecordingError(f"{path}: holds no records{seen}, expected at least one event")
    return records


def _shown(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _merged(files: list[Iterator[Timed]]) -> Iterator[Timed]:
    """All records, those of equal time in the order in which the files were named."""
    if len(files) == 1:
        return files[0]
    return heapq.merge(*files, key=lambda timed: timed[0] or 0)


def _inside(records: Iterator[Timed], start_ms: int | None, end_ms: int | None, report: ReplayReport) -> Iterator[Timed]:
    """The records of ``[start_ms, end_ms)``; the others are counted."""
    start = -math.inf if start_ms is None else start_ms
    end = math.inf if end_ms is None else end_ms
    for when, record in records:
        if start <= (when or 0) < end:
            yield when, record
        else:
            report.read += 1
            report.outside += 1


class _Acknowledgements:
    """Counts what the log says of each record, from whatever thread it says so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = 0
        self.refused = 0
        self.problems: list[str] = []

    def __call__(self, record: OutRecord, error: Exception | None) -> None:
        with self._lock:
            if error is None:
                self.sent += 1
                return
            self.refused += 1
            if len(self.problems) < NAMED_PROBLEMS_MAX:
                key = record.key.decode(errors="replace") if record.key else "none"
                self.problems.append(f"refused by the log, key {key}, {len(record.value or b'')} bytes: {error}")


def _sent(
    records: Iterator[Timed], writer: LogWriter, *, topic: str, pace: Pace, meter: _Meter, report: ReplayReport
) -> ReplayReport:
    acknowledgements = _Acknowledgements()
    for handed, (when, record) in enumerate(_in_step(records, pace)):
        pace.gate(handed)
        writer.send(OutRecord(topic, record.key, record.value), acknowledgements)
        _note(report, record)
        meter.count(when)
    writer.flush(FLUSH_TIMEOUT_S)
    meter.tell()
    report.sent, report.refused = acknowledgements.sent, acknowledgements.refused
    report.problems += acknowledgements.problems
    report.seconds = pace.clock_s() - meter.started_s
    logger.info("replayed %d of %d records, %d refused, %.1f s", report.sent, report.read, report.refused, report.seconds)
    return report


def _in_step(records: Iterator[Timed], pace: Pace) -> Iterator[Timed]:
    """Each record no sooner than its distance from the first one, divided by the speed."""
    if pace.speed == MAX_SPEED:
        for timed in records:
            if pace.stopped():
                return
            yield timed
        return
    started_s = pace.clock_s()
    first_ms: int | None = None
    for when, record in records:
        first_ms = when if first_ms is None else first_ms
        if when is not None and first_ms is not None:
            wait_s = started_s + (when - first_ms) / 1000 / pace.speed - pace.clock_s()
            if wait_s > 0:
                pace.sleep(wait_s)
        if pace.stopped():
            return
        yield when, record


def _note(report: ReplayReport, record: Recorded) -> None:
    report.read += 1
    if record.timestamp_ms is not None:
        report.first_ms = record.timestamp_ms if report.first_ms is None else report.first_ms
        report.last_ms = record.timestamp_ms
    if record.error is not None:
        report.malformed += 1
        if report.malformed <= NAMED_PROBLEMS_MAX:
            report.problems.append(f"line {record.line} is no event and was sent as it is: {record.error}")
