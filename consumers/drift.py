"""Drift: whether what comes in, or how good lists are, is no longer what it was. It tells, and changes nothing by itself.

ADWIN (Bifet and Gavalda 2007, from River) keeps a window of what it was given and drops its older part once the means of the two
differ by more than chance allows. Its state can't be saved, and it is fed by the clock: so it stands outside the fold, begins anew
with each tenure, and two workers on one log need not agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

try:
    from river._river_rust.drift import (
        AdaptiveWindowing,
    )  # all that is needed: river.drift brings a second of imports to each start
except ImportError:
    from river.drift.adwin import AdaptiveWindowing  # type: ignore[no-redef]

from streamer.events.model import EVENT_TYPE_NAMES

STREAMS = (*EVENT_TYPE_NAMES, "new_items", "new_users", "quality_fresh", "quality_served")
"""Shares of the events applied: each type, those that brought a new item or user; and the mean NDCG at 10 of what was judged."""
EVENTS_MIN = 100
"""Events a share is taken of, at least."""
JUDGED_MIN = 20
"""Interactions a mean quality is taken of, at least."""
DELTA = 0.002
"""Of a stream that does not change, about so many of the looks at its window raise a false alarm, at most."""
LOOK_EVERY = 4
"""Samples from one look at the window to the next."""


class Totals(NamedTuple):
    """Sums since the state was born, as they are now; ``users`` are those in the state."""

    applied: Mapping[str, int]
    items_admitted: int
    users: int
    fresh_judged: float
    fresh_ndcg: float
    served_judged: float
    served_ndcg: float

    @property
    def events(self) -> int:
        """Events applied, of all types."""
        return sum(self.applied.values())


@dataclass(frozen=True, slots=True)
class Drift:
    """What is known of one stream."""

    mean: float
    """Of the samples in the window: of the present, as far as it is like the past."""
    samples: int
    alarms: int = 0
    """In this process."""
    before: float | None = None
    """Mean of what the last alarm dropped from the window; None before the first."""
    alarm_ms: int | None = None
    """When that was, by the wall clock."""


class DriftWatch:
    """Of one tenure. ``found`` holds what is known by stream, alarms of the process's tenures before among it; each value is replaced whole."""

    def __init__(self, found: dict[str, Drift]) -> None:
        self._found = found
        self._windows = {name: AdaptiveWindowing(DELTA, LOOK_EVERY, 5, 5, 10) for name in STREAMS}
        self._since: Totals | None = None
        """Of the last sample of shares."""
        self._fresh = self._served = (0.0, 0.0)
        """(judged, ndcg) at the last samples of quality."""

    def look(self, totals: Totals, now_ms: int) -> None:
        """Takes a sample of each stream of which enough has come since its last one."""
        if self._since is None or totals.events < self._since.events or totals.items_admitted < self._since.items_admitted:
            self._since = totals
            self._fresh = (totals.fresh_judged, totals.fresh_ndcg)
            self._served = (totals.served_judged, totals.served_ndcg)
            return
        if totals.events - self._since.events >= EVENTS_MIN:
            for name, share in shares(self._since, totals):
                self._note(name, share, now_ms)
            self._since = totals
        fresh, served = (totals.fresh_judged, totals.fresh_ndcg), (totals.served_judged, totals.served_ndcg)
        if fresh[0] - self._fresh[0] >= JUDGED_MIN:
            self._note("quality_fresh", (fresh[1] - self._fresh[1]) / (fresh[0] - self._fresh[0]), now_ms)
            self._fresh = fresh
        if served[0] - self._served[0] >= JUDGED_MIN:
            self._note("quality_served", (served[1] - self._served[1]) / (served[0] - self._served[0]), now_ms)
            self._served = served

    def _note(self, name: str, value: float, now_ms: int) -> None:
        window = self._windows[name]
        samples, total = window.get_width() + 1, window.get_total() + value
        changed = window.update(value)
        width = int(window.get_width())
        now = replace(self._found.get(name, Drift(0.0, 0)), mean=window.get_total() / width, samples=width)
        if changed:
            dropped = (total - window.get_total()) / max(1, samples - width)
            now = replace(now, alarms=now.alarms + 1, before=dropped, alarm_ms=now_ms)
        self._found[name] = now


def shares(since: Totals, now: Totals) -> Iterator[tuple[str, float]]:
    """What part of the events between two moments was of each type, or brought an item or a user; at most 1 where documents brought items too.

    Users who were evicted meanwhile hide as many new ones: where more went than came, nothing is said.
    """
    events = now.events - since.events
    yield from ((name, (now.applied[name] - since.applied[name]) / events) for name in EVENT_TYPE_NAMES)
    yield "new_items", min(1.0, (now.items_admitted - since.items_admitted) / events)
    if now.users >= since.users:
        yield "new_users", min(1.0, (now.users - since.users) / events)
