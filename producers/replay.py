"""Recorded events onto the log: in the order of their files, as fast as the log takes them or in step with their own time."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from producers.checks import Checked, Timed
from producers.formats import Recorded, RecordingError, with_times
from producers.landed import Landed, Placed
from producers.progress import Meter, Progress, no_progress
from streamer.events.codec import InvalidEventError
from streamer.events.model import EVENTS
from streamer.ports import LogError, LogWriter, OutRecord

logger = logging.getLogger(__name__)

MAX_SPEED = math.inf
"""As fast as the log takes the records."""

NAMED_PROBLEMS_MAX = 10
"""Refused and malformed records that a report tells one by one; the others are counted."""

FLUSH_TIMEOUT_S = 120.0


@dataclass(slots=True)
class ReplayReport:
    """What became of a recording: ``read`` = ``sent`` + ``refused`` + ``outside`` + ``landed``.

    ``malformed`` ones are among those sent: they are sent as they are, so that they end among the rejected records.
    """

    read: int = 0
    sent: int = 0
    """Acknowledged by the log."""
    refused: int = 0
    """Not taken by the log, for the reasons in ``problems``."""
    outside: int = 0
    """Before the first or after the last time asked for."""
    landed: int = 0
    """On the log already, put there before this replay was interrupted."""
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
    recording: Checked,
    writer: LogWriter,
    *,
    place: Placed | None = None,
    landed: Landed | None = None,
    pace: Pace | None = None,
    progress: Callable[[Progress], None] = no_progress,
) -> ReplayReport:
    """Sends every event of a checked recording, keyed by user; each user's records keep their order. Memory does not grow with it.

    Args:
        recording: what to send.
        writer: where to.
        place: the partition of each record; None leaves it to the writer.
        landed: what of it is on the log already, and is not sent again; it needs ``place``.
        pace: when each record may go.
        progress: told now and then.

    Raises LogError where the log fails, or is away for so long that it does not take a record that it should, RecordingError
    where a file has become shorter since it was checked.
    """
    pace = pace or Pace()
    report = ReplayReport(left_out=recording.left_out)
    meter = Meter("send", recording.records, progress, pace.clock_s)
    records = _inside(recording, meter, report)
    if landed is not None and place is not None:
        records = _not_landed(records, place, landed, meter, report)
    sending = _Sending(writer, EVENTS, place, ends_where_away=True)
    report = sending.run(records, pace, meter, report)
    if report.read < recording.records and not pace.stopped():
        names = ", ".join(str(reading.path) for reading in recording.readings)
        raise RecordingError(
            f"{names}: held {recording.records:,} records when it was checked and {report.read:,} when it was sent, so it was changed "
            "meanwhile: restore it and run the same command again, which goes on where this one ended"
        )
    return report


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
    meter = Meter("send", total, progress, pace.clock_s)
    return _Sending(writer, topic).run(records, pace, meter, ReplayReport())


def _inside(recording: Checked, meter: Meter, report: ReplayReport) -> Iterator[Timed]:
    """The records of the interval asked for; the others are counted."""
    for when, record in recording:
        if recording.interval.holds(when):
            yield when, record
        else:
            report.read += 1
            report.outside += 1
            meter.count(when)


def _not_landed(records: Iterator[Timed], place: Placed, landed: Landed, meter: Meter, report: ReplayReport) -> Iterator[Timed]:
    """The records that are not on the log; the others are counted."""
    turns: dict[int, int] = {}
    for when, record in records:
        partition = place(record)
        turn = turns[partition] = turns.get(partition, -1) + 1
        if landed.has(partition, turn):
            report.read += 1
            report.landed += 1
            meter.count(when)
        else:
            yield when, record


class _Acknowledgements:
    """Counts what the log says of each record, from whatever thread it says so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = 0
        self.refused = 0
        self.problems: list[str] = []
        self.away: Exception | None = None
        """Why the log did not take a record that it might have taken: it was not there."""

    def __call__(self, record: OutRecord, error: Exception | None) -> None:
        with self._lock:
            if error is None:
                self.sent += 1
                return
            self.refused += 1
            if self.away is None and isinstance(error, LogError) and error.retriable:
                self.away = error
            if len(self.problems) < NAMED_PROBLEMS_MAX:
                key = record.key.decode(errors="replace") if record.key else "none"
                self.problems.append(f"refused by the log, key {key}, {len(record.value or b'')} bytes: {error}")


class _Sending:
    """Hands records to the log; ``ends_where_away`` gives up at the first that it does not take for want of a log."""

    def __init__(self, writer: LogWriter, topic: str, place: Placed | None = None, *, ends_where_away: bool = False) -> None:
        self._writer = writer
        self._topic = topic
        self._place = place
        self._ends_where_away = ends_where_away
        self._told = _Acknowledgements()

    def run(self, records: Iterator[Timed], pace: Pace, meter: Meter, report: ReplayReport) -> ReplayReport:
        for handed, (when, record) in enumerate(_in_step(records, pace, meter)):
            pace.gate(handed)
            self._require_log()
            partition = None if self._place is None else self._place(record)
            sent = OutRecord(self._topic, record.key, record.value, partition=partition)
            try:
                self._writer.send(sent, self._told)
            except InvalidEventError as error:  # where users are pseudonyms, what names its user nowhere
                self._told(sent, error)
            _note(report, record)
            meter.count(when)
        self._writer.flush(FLUSH_TIMEOUT_S)
        self._require_log()
        meter.tell()
        report.sent, report.refused = self._told.sent, self._told.refused
        report.problems += self._told.problems
        report.seconds = pace.clock_s() - meter.started_s
        logger.info("replayed %d of %d records, %d refused, %.1f s", report.sent, report.read, report.refused, report.seconds)
        return report

    def _require_log(self) -> None:
        if self._ends_where_away and self._told.away is not None:
            raise LogError(
                f"the log took {self._told.sent} events and then one no more: {self._told.away}; once the log is back run the same "
                "command again, which goes on where this one ended",
                retriable=True,
            ) from self._told.away


def _in_step(records: Iterator[Timed], pace: Pace, meter: Meter) -> Iterator[Timed]:
    """Each record no sooner than its distance from the first one, divided by the speed."""
    if pace.speed == MAX_SPEED:
        for timed in records:
            if pace.stopped():
                return
            yield timed
        return
    started_s: float | None = None
    first_ms: int | None = None
    for when, record in records:
        if first_ms is None:
            first_ms, started_s = when, pace.clock_s()
        if when is not None and first_ms is not None and started_s is not None:
            wait_s = started_s + (when - first_ms) / 1000 / pace.speed - pace.clock_s()
            meter.behind_s = max(0.0, -wait_s)
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
