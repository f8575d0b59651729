"""What a run found: as JSON to keep, and as a table for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Figures, rounded
from benchmarks.latency import HALF, Latency
from benchmarks.machine import short_name
from benchmarks.quality import Quality
from benchmarks.whole_line import Run
from benchmarks.world import World

BASE, EVENTS_PER_S, LATENCY_OK = "bare_poll", "events/s", "latency_p99_ok_at_half_load"
"""Every speed in events/s is also told as a share of the bare poll's: that is what can be compared between machines."""


@dataclass(frozen=True)
class Found:
    """Everything that a run found."""

    machine: dict[str, object]
    versions: dict[str, str]
    traffic: dict[str, float]
    figures: Figures
    whole_line: dict[str, object]
    quality: Quality
    latency: dict[str, Latency]
    """By share of what a worker takes in live."""

    def as_json(self) -> dict[str, object]:
        """``ratios`` and ``medians`` by figure, with what is needed to believe them."""
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": self.machine,
            "versions": self.versions,
            "traffic": self.traffic,
            "ratios": self.ratios(),
            **self.figures.as_json(),
            "latency": {share: found.as_json() for share, found in self.latency.items()},
            "whole_line": self.whole_line,
            "quality": self.quality,
        }

    def ratios(self) -> dict[str, float]:
        """Every speed as a share of the bare poll; and whether lists are fast enough at half of the capacity, 1 or 0."""
        return self.figures.ratios(BASE, EVENTS_PER_S) | {LATENCY_OK: int(self.latency[HALF].is_ok)}

    def in_words(self) -> str:
        """The table for people."""
        about = [_line(name, getattr(self, name)) for name in ("machine", "versions", "traffic")]
        table = self.figures.table(self.figures.ratios(BASE, EVENTS_PER_S))
        late = [_line(f"  at {share}", found.as_json()) for share, found in self.latency.items()]
        line = [_line(f"  {name}", value) for name, value in self.whole_line.items()]
        quality = [
            text
            for name, methods in self.quality.items()
            for text in (f"\nquality of fresh lists, {name}", *(_line(f"  {method}", sums) for method, sums in methods.items()))
        ] or ["\nquality: the recorded stream is not installed"]
        lists = [
            "",
            "from an event that is due to the list that shows it",
            *late,
            _line(LATENCY_OK, int(self.latency[HALF].is_ok)),
        ]
        return "\n".join([*about, "", table, "", "whole line, the run in the middle", *line, *lists, *quality])

    def write(self, folder: Path) -> Path:
        """One file a day and machine: a later run of the same day replaces it."""
        folder.mkdir(parents=True, exist_ok=True)
        found = self.as_json()
        path = folder / f"{found['date']}-{short_name(self.machine)}.json"
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return path


def of_traffic(world: World) -> dict[str, float]:
    """What was on the log, and how fast it got there."""
    return {
        "events": world.events,
        "event_bytes": rounded(world.event_bytes_mean),
        "partitions": len(world.ends),
        "sent_per_s": rounded(world.produced_per_s),
    }


def of_whole_line(runs: list[Run], events: int) -> dict[str, object]:
    """Where the time of the run in the middle went: wall time by stage, CPU time by thread and process, a record."""
    run = sorted(runs, key=lambda one: one.events_per_s)[len(runs) // 2]
    measured = run.measurements
    pauses = int(measured.snapshot_pause.count_B.sum())
    return {
        "wall_s": rounded(run.wall_s),
        "lists_written": measured.lists_written,
        "snapshots": measured.snapshots,
        "snapshot_pause_ms": rounded(1e3 * measured.snapshot_pause.sum_s / max(1, pauses)),
        "stage_us_per_event": _per_event(measured.stage_s, events),
        "cpu_us_per_event": _per_event(run.cpu_s, events),
    }


def _per_event(seconds: dict[str, float], events: int) -> dict[str, float]:
    microseconds = {name: value / events * 1e6 for name, value in seconds.items()}
    return {name: rounded(value) for name, value in microseconds.items() if value >= 0.01}


def _line(name: str, value: object) -> str:
    text = ", ".join(f"{key} {_shown(one)}" for key, one in value.items()) if isinstance(value, dict) else _shown(value)
    return f"{name:22}{text}"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
