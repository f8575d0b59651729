"""What a backtest found, told to a tracker: figures over the stream, step by step, and what they sum up to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamer.tracking import RunTracker


def settings_of(report: Mapping[str, Any], method: str) -> dict[str, object]:
    """What a method's run was made with, flat."""
    ran_on = report["ran_on"]
    about = {
        "method": method,
        "seed": report["seed"],
        "events": ran_on["events"],
        "users": ran_on["users"],
        "items": ran_on["items"],
    }
    about |= {f"version/{name}": version for name, version in report["versions"].items()}
    if "events_file" in ran_on:
        about |= {"events_file": ran_on["events_file"]["path"], "events_sha256": ran_on["events_file"]["sha256"]}
    return about | dict(report["effective"])


def track(tracker: RunTracker, report: Mapping[str, Any], method: str) -> None:
    """Tells what one method did: every part of the stream at the step that is its last event, then the windows at the end.

    Times are of the stream, spread evenly: what is shown over time is the recording's time, not that of the machine.
    """
    found, ran_on = report["methods"][method], report["ran_on"]
    tracker.settings(settings_of(report, method))
    bins, events = report["protocol"]["bins"], ran_on["events"]
    span_ms = ran_on["last_ms"] - ran_on["first_ms"]
    curves = {f"over_time/{name}": values for name, values in found["over_time"].items()}
    curves |= {f"gate/{name}": values for name, values in found.get("gates", {}).items()}
    for n in range(bins):
        values = {name: curve[n] for name, curve in curves.items() if curve[n] is not None}
        if values:
            tracker.figures(values, step=events * (n + 1) // bins, at_ms=ran_on["first_ms"] + span_ms * (n + 1) // bins)
    summary = {
        f"window_{window}/{name}": value
        for window, means in found["windows"].items()
        for name, value in means.items()
        if value is not None
    }
    tracker.figures(summary | {"seconds": found["seconds"]}, step=events, at_ms=ran_on["last_ms"])


def track_files(tracker: RunTracker, folder: Path) -> None:
    """Tells the report's files."""
    for name in ("report.html", "report.json"):
        tracker.file(folder / name)
