"""CPU seconds of this process's threads and of its child processes, from ``/proc``."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

LOOK_S = 0.25
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_UTIME = 11
"""Of the fields after the name in ``stat``; the system time follows it."""


class CpuWatch:
    """Looks at threads and children while it is entered: threads end, and what they used is gone with them."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu watch", daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self) -> dict[str, float]:
        """CPU seconds since it was entered, by thread name or process name, the largest first."""
        self._look()
        total: dict[str, float] = {}
        for place, seconds in self._last.items():
            name = self._names[place]
            total[name] = total.get(name, 0.0) + seconds - self._first.get(place, 0.0)
        return dict(sorted(total.items(), key=lambda pair: -pair[1]))

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        before = not self._last
        for place, name, seconds in (*_threads(), *_children()):
            self._names[place] = name
            self._last[place] = seconds
            if before:
                self._first[place] = seconds


def _threads() -> list[tuple[str, str, float]]:
    found = []
    for thread in threading.enumerate():
        place = f"/proc/self/task/{thread.native_id}/stat"
        seconds = _seconds(place)
        if seconds is not None:
            found.append((place, f"thread {thread.name}", seconds))
    return found


def _children() -> list[tuple[str, str, float]]:
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in _text(children).split():
            place = f"/proc/{pid}/stat"
            seconds = _seconds(place)
            if seconds is not None:
                found.append((place, f"process {_text(Path(f'/proc/{pid}/comm')).strip()}", seconds))
    return found


def _seconds(place: str) -> float | None:
    fields = _text(Path(place)).rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_PER_S if fields else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""
