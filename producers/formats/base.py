"""What every format of recorded streams gives: records ready for the log, and errors that say what is wrong with a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import NamedTuple, Protocol


class Recorded(NamedTuple):
    """One record of a recording, as it goes onto the log.

    ``line`` counts from 1. ``timestamp_ms`` is None where the record has none that can be read. ``error`` says why the line
    is no record of its format; such a line is kept as it is, without a key, so that it ends where rejected records end.
    """

    line: int
    key: bytes | None
    value: bytes
    timestamp_ms: int | None
    error: str | None = None


class RecordingError(Exception):
    """A recording that cannot be used: empty, cut, unknown, out of order; ``unreadable`` where it could not even be opened."""

    def __init__(self, message: str, *, unreadable: bool = False) -> None:
        super().__init__(message)
        self.unreadable = unreadable


class Format(Protocol):
    """A format of recorded streams: a module of pure functions."""

    NAME: str

    def sniff(self, head: bytes, path: PurePath) -> str | None:
        """Why a file that begins with ``head`` holds events in this format, in words; None where it does not."""
        ...

    def read_events(self, lines: Iterable[bytes]) -> Iterator[Recorded]:
        """Every line that is not blank as one event, in the order of the file."""
        ...

    def sniff_items(self, head: bytes, path: PurePath) -> str | None:
        """Why a file that begins with ``head`` holds item documents in this format, in words; None where it does not."""
        ...

    def read_items(self, lines: Iterable[bytes]) -> Iterator[Recorded]:
        """Every line that is not blank as one item document, in the order of the file."""
        ...


def with_times(records: Iterable[Recorded]) -> Iterator[tuple[int | None, Recorded]]:
    """Each record with the time at which it stands in its recording: its own, or where it has none its predecessor's."""
    reached: int | None = None
    for record in records:
        if record.timestamp_ms is not None:
            reached = record.timestamp_ms
        yield reached, record


def in_time_order(records: Iterable[Recorded]) -> list[Recorded]:
    """The records sorted by (time, line), in memory; a record without a time stays behind its predecessor."""
    timed = sorted(with_times(records), key=lambda pair: (pair[0] or 0, pair[1].line))
    return [record for _, record in timed]
