"""What is looked at before anything of a recording is sent: every file to its end, its order, and what the recording is."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from producers.formats import AUTO, Reading, Recorded, RecordingError, open_events, open_items, with_times
from producers.progress import Meter, Progress, no_progress

IDENTITY_BYTES = 8

Timed = tuple[int | None, Recorded]
"""A record with the time at which it stands in its recording."""


class UnsortedError(RecordingError):
    """A recording whose records do not stand in the order of their times; nothing of it was sent."""


class TimeOrder:
    """Looks at a file's records one after the other, by what replay expects: no record of an earlier time behind a later one."""

    def __init__(self) -> None:
        self._latest: Recorded | None = None
        self._latest_ms = 0

    def behind(self, record: Recorded) -> Recorded | None:
        """The record of a later time that this one stands behind; None where it stands right, or has no time."""
        if record.timestamp_ms is None:
            return None
        if self._latest is not None and record.timestamp_ms < self._latest_ms:
            return self._latest
        self._latest, self._latest_ms = record, record.timestamp_ms
        return None


@dataclass(frozen=True, slots=True)
class Interval:
    """Which records are meant: those at ``[start_ms, end_ms)``, None for no bound."""

    start_ms: int | None = None
    end_ms: int | None = None

    def holds(self, when: int | None) -> bool:
        """Whether a record that stands at this time is meant."""
        start = -math.inf if self.start_ms is None else self.start_ms
        end = math.inf if self.end_ms is None else self.end_ms
        return start <= (when or 0) < end


@dataclass(frozen=True, slots=True)
class Checked:
    """A recording that was read to its end and is good to be sent; iterate over it for its records, merged by time.

    ``identity`` is a hash of what would be sent, key by key and value by value, file after file: the same for the same events
    however they are packed, another for another interval or another order of the files.
    """

    readings: list[Reading]
    lengths: list[int]
    """Records of each file; what was added to a file since is not read."""
    interval: Interval
    inside: int
    """Records that would be sent."""
    identity: str
    left_out: dict[str, int]
    """Records that are no interactions by their format, by kind; they are not among ``records``."""
    alias: Callable[[Recorded], Recorded] | None = None
    """What is sent in the place of a record."""

    @property
    def records(self) -> int:
        """All records, inside the interval or not."""
        return sum(self.lengths)

    def __iter__(self) -> Iterator[Timed]:
        files = [with_times(self._of(one, length)) for one, length in zip(self.readings, self.lengths, strict=True)]
        if len(files) == 1:
            return files[0]
        # those of equal time come in the order in which the files were named
        return heapq.merge(*files, key=lambda timed: timed[0] or 0)

    def _of(self, reading: Reading, length: int) -> Iterator[Recorded]:
        records = islice(iter(reading), length)
        return records if self.alias is None else map(self.alias, records)


def check(
    files: Sequence[Path],
    *,
    format_name: str = AUTO,
    interval: Interval | None = None,
    progress: Callable[[Progress], None] = no_progress,
) -> Checked:
    """Reads every file to its end. Memory does not grow with the files.

    Raises RecordingError for a file that is empty, cut, damaged or in no known format, UnsortedError for one out of time order.
    """
    meter = Meter("check", None, progress)
    digest = _Digest(interval or Interval())
    readings = [open_events(path, format_name) for path in files]
    lengths = [_checked(reading, meter, digest) for reading in readings]
    meter.tell()
    if not digest.count:
        names, count = ", ".join(map(str, files)), sum(lengths)
        raise RecordingError(f"{names}: none of its {count} events lies in the interval asked for")
    left_out: Counter[str] = Counter()
    for reading in readings:
        left_out.update(reading.left_out.by_kind)
    return Checked(readings, lengths, digest.interval, digest.count, digest.identity, dict(left_out))


def check_items(path: Path, progress: Callable[[Progress], None] = no_progress) -> Reading:
    """Reads a file of item documents to its end, and gives it back to be read again. Raises RecordingError."""
    meter = Meter("check", None, progress)
    reading = open_items(path)
    count = 0
    for record in reading:
        count += 1
        meter.count(record.timestamp_ms)
    if not count:
        raise _nothing(reading, "item document")
    return reading


class _Digest:
    """Counts and hashes the records that would be sent."""

    def __init__(self, interval: Interval) -> None:
        self.interval = interval
        self.count = 0
        self._hash = blake2b(digest_size=IDENTITY_BYTES)

    @property
    def identity(self) -> str:
        return self._hash.hexdigest()

    def begin_file(self) -> None:
        self._hash.update(b"file")

    def note(self, when: int | None, record: Recorded) -> None:
        if not self.interval.holds(when):
            return
        self.count += 1
        key = b"-" if record.key is None else b"%d:%b" % (len(record.key), record.key)
        self._hash.update(b"%b,%d:%b" % (key, len(record.value), record.value))


def _checked(reading: Reading, meter: Meter, digest: _Digest) -> int:
    """Reads a file to its end: how many records it holds. Raises RecordingError, UnsortedError."""
    records = 0
    order = TimeOrder()
    digest.begin_file()
    for when, record in with_times(reading):
        records += 1
        meter.count(record.timestamp_ms)
        digest.note(when, record)
        if (later := order.behind(record)) is not None:
            raise _unsorted(reading, record, later)
    if not records:
        raise _nothing(reading, "event")
    return records


def _unsorted(reading: Reading, record: Recorded, later: Recorded) -> UnsortedError:
    path, unit = reading.path, reading.unit
    return UnsortedError(
        f"{path}, {unit} {record.line}: an event of {shown(record.timestamp_ms or 0)} stands behind one of "
        f"{shown(later.timestamp_ms or 0)} ({unit} {later.line}), expected events in the order of their times: "
        f"sort it with `streamer sort {path}`, and replay what that writes"
    )


def _nothing(reading: Reading, wanted: str) -> RecordingError:
    told = "; ".join(f"{count} of kind {kind}" for kind, count in reading.left_out.by_kind.items())
    seen = f" but those that are no interactions ({told})" if told else ""
    return RecordingError(f"{reading.path}: holds no records{seen}, expected at least one {wanted}")


def shown(epoch_ms: int) -> str:
    """A time as people read it; a number of milliseconds where no calendar has it.

    >>> shown(1_795_485_458_344)
    '2026-11-24T01:57:38.344Z'
    """
    try:
        return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{epoch_ms} ms"
