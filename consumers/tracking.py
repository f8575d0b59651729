"""A worker's learning told to trackers of runs (``[tracking]``), now and then and from a thread of its own: nothing waits for them."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from consumers.measurements import Measurements
from consumers.metric_rows import WORKER, Sample
from streamer import __version__
from streamer.config import public_dict
from streamer.config.tree import Config
from streamer.ports import Clock, OwnerStatus
from streamer.tracking import Place, RunTracker, Several, open_tracker, require

logger = logging.getLogger(__name__)

TOLD = frozenset(
    f"streamer_{name}"
    for name in (
        *("quality_recent_ndcg_ratio", "quality_ndcg_ratio", "quality_hit_ratio", "quality_judged_total"),
        *("served_ndcg_ratio", "served_hit_ratio", "served_judged_ratio"),
        *("head_steps_total", "head_skipped_total", "learning_frozen", "users", "items", "events_applied_total"),
    )
)
"""Metrics that say how it learns; the others belong to Prometheus."""
SECTIONS = ("windows", "catalog", "signals", "head", "ranking", "encoder")
END_WAIT_S = 5.0
"""For the last figures when the worker ends."""

Read = Callable[[], tuple[Measurements, OwnerStatus]]


class Tracking:
    """One run a generation in which this worker is the owner; ``turn`` is called again and again by one thread."""

    def __init__(self, config: Config, places: list[Place], read: Read, clock: Clock) -> None:
        self._config = config
        self._places = places
        self._read = read
        self._clock = clock
        self._tracker: RunTracker | None = None
        self._generation: int | None = None
        self._said = ""

    def turn(self) -> None:
        """Tells what is measured now, as the owner; a tracker that fails is left, said once, and tried again as a new run."""
        measured, status = self._read()
        try:
            if status.role != "owner" or status.generation != self._generation:
                self.close()
            if status.role != "owner":
                return
            if self._tracker is None:
                self._tracker, self._generation = self._begun(status), status.generation
            values, step = _figures(Sample(measured, status, self._clock.now_ms()))
            self._tracker.figures(values, step=step, at_ms=self._clock.now_ms())
            self._said = ""
        except Exception as error:  # noqa: BLE001 - a service may raise anything, and learning goes on
            self._tracker = None
            if str(error) != self._said:
                logger.warning("what is learned is not tracked now, learning goes on: %s", error)
            self._said = str(error)

    def close(self) -> None:
        """Ends the run, if there is one."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.close()

    def _begun(self, status: OwnerStatus) -> RunTracker:
        run = f"epoch-{status.epoch}-generation-{status.generation}"
        tracker = Several([open_tracker(place, self._config.namespace, run) for place in self._places])
        shown = public_dict(self._config)
        settings = {f"{name}.{key}": value for name in SECTIONS for key, value in shown[name].items()}
        began_from = {"version": __version__, "seed": self._config.seed, "snapshot": status.snapshot}
        tracker.settings(settings | began_from)
        return tracker


def _figures(sample: Sample) -> tuple[dict[str, float], int]:
    """Figures by name, and the step: events applied, of the state, so that it goes on over restarts."""
    values = {
        "/".join((row.name.removeprefix("streamer_"), *labels)): float(value)
        for row in WORKER
        if row.name in TOLD
        for labels, value in row.read(sample)
    }
    step = sum(value for name, value in values.items() if name.startswith("events_applied_total/"))
    return values, int(step)


@contextlib.contextmanager
def tracked(config: Config, read: Read, clock: Clock) -> Iterator[None]:
    """Tells the trackers that ``[tracking]`` names every ``tracking.interval_ms``, until the end.

    Raises TrackingUnavailable where the package for one is not installed.
    """
    named = (Place("tensorboard", config.tracking.tensorboard or ""), Place("mlflow", config.tracking.mlflow or ""))
    places = [place for place in named if place.where]
    for place in places:
        require(place)
    if not places:
        yield
        return
    tracking, stop = Tracking(config, places, read, clock), threading.Event()

    def run() -> None:
        while not stop.wait(config.tracking.interval_ms / 1_000):
            tracking.turn()
        with contextlib.suppress(Exception):
            tracking.close()

    thread = threading.Thread(target=run, name="tracking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(END_WAIT_S)
