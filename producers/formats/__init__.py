"""Formats of recorded streams: which one a file is in, and its events and item documents as records for the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from producers.formats import (
    deskdrop,
    ga4,
    google_retail,
    metarank,
    movielens,
    otto,
    rees46,
    retailrocket,
    segment,
    snowplow,
    streamer_jsonl,
    yoochoose,
)
from producers.formats.base import LeftOut, Recorded, RecordingError, in_time_order, with_times
from producers.formats.choose import AUTO, Reading, open_reading
from producers.formats.reader import Format

__all__ = [
    "AUTO",
    "FORMATS",
    "FORMAT_HELP",
    "Format",
    "LeftOut",
    "Reading",
    "Recorded",
    "RecordingError",
    "in_time_order",
    "open_events",
    "open_items",
    "read_events",
    "read_items",
    "with_times",
]

FORMATS: tuple[Format, ...] = tuple(
    module.FORMAT
    for module in (
        *(streamer_jsonl, segment, ga4, snowplow, google_retail, metarank),
        *(movielens, retailrocket, otto, rees46, deskdrop, yoochoose),
    )
)
"""Live systems' formats first, then those of public recordings."""

FORMAT_HELP = f"{AUTO}, {', '.join(known.name for known in FORMATS)}."


def open_events(path: Path, name: str = AUTO) -> Reading:
    """A file of events, its format named or told from its beginning. Raises RecordingError."""
    return open_reading(path, FORMATS, "events", name)


def open_items(path: Path, name: str = AUTO) -> Reading:
    """A file of item documents; as ``open_events``."""
    return open_reading(path, FORMATS, "items", name)


def read_events(path: Path, name: str = AUTO) -> Iterator[Recorded]:
    """The events of a file, streamed in its order. Raises RecordingError, at once for the format, later for a damaged file."""
    return iter(open_events(path, name))


def read_items(path: Path, name: str = AUTO) -> Iterator[Recorded]:
    """The item documents of a file, streamed in its order. Raises as ``read_events``."""
    return iter(open_items(path, name))
