"""Formats of recorded streams: which one a file is in, and its events and item documents as records for the log."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from producers.formats import movielens, streamer_jsonl
from producers.formats.base import Format, Recorded, RecordingError, in_time_order, with_times
from producers.formats.lines import read_head, read_lines

__all__ = [
    "AUTO",
    "FORMATS",
    "Format",
    "Recorded",
    "RecordingError",
    "choose",
    "choose_items",
    "in_time_order",
    "read_events",
    "read_items",
    "with_times",
]

AUTO = "auto"
"""The format is told from the file."""

FORMATS: tuple[Format, ...] = (streamer_jsonl, movielens)


def choose(path: Path, name: str = AUTO) -> Format:
    """The format of a file of events: the one named, or the one that the file's beginning tells.

    Raises RecordingError for an unknown name, an empty file, and one in no known format.
    """
    if name != AUTO:
        return _named(name)
    head = _head(path)
    found = next((known for known in FORMATS if known.sniff(head, path)), None)
    if found:
        return found
    if any(known.sniff_items(head, path) for known in FORMATS):
        raise RecordingError(
            f"{path}: holds item documents, expected events: name a file of events, give this one as the items"
        )
    raise RecordingError(
        f"{path}: {_unknown(head)}, expected events in one of {_names()}: name its format if it is one of these"
    )


def choose_items(path: Path, name: str = AUTO) -> Format:
    """The format of a file of item documents; raises as ``choose``."""
    if name != AUTO:
        return _named(name)
    head = _head(path)
    found = next((known for known in FORMATS if known.sniff_items(head, path)), None)
    if found:
        return found
    raise RecordingError(
        f"{path}: {_unknown(head)}, expected item documents in one of {_names()}: name its format if it is one of these"
    )


def read_events(path: Path, name: str = AUTO) -> Iterator[Recorded]:
    """The events of a file, streamed in its order. Raises RecordingError, at once for the format, later for a damaged file."""
    return choose(path, name).read_events(read_lines(path))


def read_items(path: Path, name: str = AUTO) -> Iterator[Recorded]:
    """The item documents of a file, streamed in its order. Raises as ``read_events``."""
    return choose_items(path, name).read_items(read_lines(path))


def _named(name: str) -> Format:
    by_name = {known.NAME: known for known in FORMATS}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise RecordingError(f"no format is called {name!r}, expected {AUTO} or one of {_names()}{hint}", unreadable=True)


def _names() -> str:
    return ", ".join(known.NAME for known in FORMATS)


def _head(path: Path) -> bytes:
    head = read_head(path)
    if not head.strip():
        raise RecordingError(f"{path}: is empty, expected recorded events or items, one a line")
    return head


def _unknown(head: bytes) -> str:
    first = head.lstrip().partition(b"\n")[0][:60].decode(errors="replace")
    return f"is in no known format (begins {first!r})"
