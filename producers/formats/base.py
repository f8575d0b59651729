"""What every format of recorded streams gives: records ready for the log, and errors that say what is wrong with a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

LEFT_OUT_NAMES_MAX = 50
"""Kinds of records left out that are counted by name; what comes after them is counted as one."""

OTHERS = "others"


class Recorded(NamedTuple):
    """One record of a recording, as it goes onto the log.

    ``line`` counts from 1: lines of a text file, records of one that has none (see ``Reading.unit``); one line can hold several
    records. ``timestamp_ms`` is None where the record has none that can be read. ``error`` says why the line is no record of
    its format; such a line is kept as it is, without a key, so that it ends where rejected records end.
    """

    line: int
    key: bytes | None
    value: bytes
    timestamp_ms: int | None
    error: str | None = None


class Row(NamedTuple):
    """One record of a file before a format has read it: a JSON text, or the cells of a table's row.

    ``raw`` is what stands in the file; ``cells`` is empty for JSON, and for a row whose ``error`` says why it is none.
    """

    line: int
    raw: bytes
    cells: tuple[str, ...] = ()
    error: str | None = None


class RecordingError(Exception):
    """A recording that cannot be used: empty, cut, unknown, out of order; ``unreadable`` where it could not even be opened."""

    def __init__(self, message: str, *, unreadable: bool = False) -> None:
        super().__init__(message)
        self.unreadable = unreadable


class NotOursError(Exception):
    """Raised by a format for a record that is sound but no interaction with an item; its text names the kind of record."""


class LeftOut:
    """Counts the records of a file that its format leaves out on purpose: page views, removals from a cart, and the like."""

    def __init__(self) -> None:
        self.by_kind: dict[str, int] = {}

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.by_kind.values())

    def note(self, kind: str) -> None:
        """Counts one."""
        name = kind if kind in self.by_kind or len(self.by_kind) < LEFT_OUT_NAMES_MAX else OTHERS
        self.by_kind[name] = self.by_kind.get(name, 0) + 1


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
