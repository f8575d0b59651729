"""Where a learning run is followed beside metrics and reports: TensorBoard's event files, MLflow. Both are extras."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

KINDS = ("tensorboard", "mlflow")


class RunTracker(Protocol):
    """Where one learning run is followed. It may raise whatever its service raises: whoever learns goes on without it."""

    def settings(self, values: Mapping[str, object]) -> None:
        """What the run was made with; once, before its figures."""
        ...

    def figures(self, values: Mapping[str, float], *, step: int, at_ms: int) -> None:
        """What was measured at a step that never falls, and when (epoch ms)."""
        ...

    def file(self, path: Path) -> None:
        """A file that belongs to the run."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class TrackingUnavailable(Exception):  # noqa: N818 - states a condition, as a sentence would
    """The package is not installed, or the place takes nothing; the message says what to do."""


class Place(NamedTuple):
    """A kind of tracker, and its folder or URI."""

    kind: str
    where: str


def parsed(text: str) -> Place:
    """``KIND:WHERE`` as on a command line. Raises ValueError.

    >>> parsed("mlflow:http://tracking:5000")
    Place(kind='mlflow', where='http://tracking:5000')
    """
    kind, colon, where = text.partition(":")
    if kind not in KINDS or not colon or not where:
        msg = f"{text!r} names no tracker: expected tensorboard:FOLDER or mlflow:URI"
        raise ValueError(msg)
    return Place(kind, where)


def open_tracker(place: Place, group: str, run: str) -> RunTracker:
    """A new run of that name among those of ``group``. Raises TrackingUnavailable."""
    # each imports its package, which is an extra and takes seconds
    if place.kind == "tensorboard":
        from streamer.tracking.event_files import EventFiles  # noqa: PLC0415

        return EventFiles(Path(place.where) / group / run)
    from streamer.tracking.mlflow_runs import MlflowRun  # noqa: PLC0415

    return MlflowRun(place.where, group, run)


def require(place: Place) -> None:
    """Raises TrackingUnavailable where the package for it is not installed."""
    importlib.import_module(f"streamer.tracking.{'event_files' if place.kind == 'tensorboard' else 'mlflow_runs'}")


def unavailable(kind: str, error: ImportError) -> TrackingUnavailable:
    """The error that names the extra."""
    return TrackingUnavailable(f"{kind} was asked for and cannot be imported ({error}): pip install 'streamer[{kind}]'")


class Several:
    """Trackers that all get the same."""

    def __init__(self, trackers: Sequence[RunTracker]) -> None:
        self._trackers = tuple(trackers)

    def settings(self, values: Mapping[str, object]) -> None:
        """What the run was made with."""
        for tracker in self._trackers:
            tracker.settings(values)

    def figures(self, values: Mapping[str, float], *, step: int, at_ms: int) -> None:
        """What was measured at a step."""
        for tracker in self._trackers:
            tracker.figures(values, step=step, at_ms=at_ms)

    def file(self, path: Path) -> None:
        """A file that belongs to the run."""
        for tracker in self._trackers:
            tracker.file(path)

    def close(self) -> None:
        """The run is over."""
        for tracker in self._trackers:
            tracker.close()
