"""A short history of the line in bounded memory: rows at three spans, each made of two readings of the worker's numbers.

A reading is a few counters; a row is what happened between two of them. Old rows fall off.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.measurements import Durations
from streamer.engine.learn import RECENT_DECAY

METHODS = ("live", "fixed", "popularity")
RECENT_JUDGED = 1_000
"""Judged interactions that a figure of the lists as served speaks of."""
SERVED_POINTS = 400


@dataclass(frozen=True, slots=True)
class Span:
    """Rows kept a span: one every ``step_s``."""

    name: str
    step_s: float
    rows: int


SPANS = (Span("10 min", 1.0, 600), Span("2 h", 15.0, 480), Span("24 h", 180.0, 480))


@dataclass(frozen=True, slots=True)
class Reading:
    """The worker's numbers at one moment; those of the state are None where it has none."""

    at_ms: int
    applied: int | None
    dead: int
    """Letters sent by this process."""
    freshness_B: NDArray[np.int64]
    lag: int | None
    unpublished: int | None
    event_time_ms: int
    quality: Mapping[str, Mapping[str, float]]
    served: Mapping[str, float]
    term_T: NDArray[np.float64]
    weights: Mapping[str, float]
    """Of the gate, summed by family of terms."""
    snapshot_ms: int


Row = dict[str, float | int | dict[str, float] | None]


def recent_ndcg(sums: Mapping[str, float]) -> float | None:
    """NDCG at 10 of about the last 1,000 judged, a mean from the first one on; None before it."""
    judged = sums.get("judged", 0.0)
    return sums["recent_ndcg"] / (1.0 - RECENT_DECAY**judged) if judged else None


class RecentlyServed:
    """NDCG at 10 as served over about the last judged interactions, from sums that only grow."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=SERVED_POINTS)

    def add(self, judged: float, ndcg: float) -> float | None:
        """The figure now; None where nothing was judged since the first reading."""
        if self._points and judged < self._points[-1][0]:
            self._points.clear()  # another state
        if not self._points or judged - self._points[-1][0] >= RECENT_JUDGED / SERVED_POINTS * 2:
            self._points.append((judged, ndcg))
        while len(self._points) > 1 and self._points[1][0] <= judged - RECENT_JUDGED:
            self._points.popleft()
        then_judged, then_ndcg = self._points[0]
        if judged <= then_judged:
            return ndcg / judged if judged else None
        return (ndcg - then_ndcg) / (judged - then_judged)


class History:
    """Rows by span; ``add`` is for one thread, ``rows`` for any."""

    def __init__(self, families: tuple[str, ...]) -> None:
        """``families`` of terms, by number of the term."""
        self._families = families
        self._lock = threading.Lock()
        self._rows: dict[str, deque[Row]] = {span.name: deque(maxlen=span.rows) for span in SPANS}
        self._before: dict[str, Reading] = {}
        self._served = RecentlyServed()

    def add(self, now: Reading) -> None:
        """Takes in a reading; each span gets a row where its step is over."""
        served = self._served.add(now.served.get("judged", 0.0), now.served.get("ndcg", 0.0))
        for span in SPANS:
            before = self._before.get(span.name)
            if before is not None and now.at_ms - before.at_ms < span.step_s * 1_000 - 50:
                continue
            self._before[span.name] = now
            if before is not None:
                row = self._row(before, now, served)
                with self._lock:
                    self._rows[span.name].append(row)

    def rows(self, span: str) -> list[Row]:
        """The rows of a span, oldest first; KeyError where there is no such span."""
        with self._lock:
            return list(self._rows[span])

    def newest(self) -> Row | None:
        """The newest row of the shortest span."""
        rows = self._rows[SPANS[0].name]
        with self._lock:
            return rows[-1] if rows else None

    def _row(self, before: Reading, now: Reading, served: float | None) -> Row:
        seconds = (now.at_ms - before.at_ms) / 1_000
        freshness = _between(before, now)
        row: Row = {
            "at_ms": now.at_ms,
            "events_per_s": _rate(before.applied, now.applied, seconds),
            "dead_per_s": max(now.dead - before.dead, 0) / seconds,
            "fresh_half_s": _rounded(freshness.quantile(0.5)) if freshness else None,
            "fresh_most_s": _rounded(freshness.quantile(0.99)) if freshness else None,
            "lag": now.lag,
            "unpublished": now.unpublished,
            "served": _rounded(served),
            "made_of": self._made_of(before, now),
            "weights": {name: round(value, 4) for name, value in now.weights.items()},
        }
        for method in METHODS:
            row[method] = _rounded(recent_ndcg(now.quality.get(method, {})))
        return row

    def _made_of(self, before: Reading, now: Reading) -> dict[str, float]:
        """What lists written in between were made of: the share of each family of terms."""
        given_T = now.term_T - before.term_T if len(before.term_T) == len(now.term_T) else now.term_T
        total = float(given_T.sum())
        if total <= 0.0:
            return {}
        shares: dict[str, float] = {}
        for family, given in zip(self._families, given_T.tolist(), strict=False):
            shares[family] = shares.get(family, 0.0) + given / total
        return {family: round(share, 4) for family, share in shares.items() if share > 0.0}


def _between(before: Reading, now: Reading) -> Durations | None:
    """How long lists took that were written in between; None where none was."""
    found = Durations()
    found.count_B = now.freshness_B - before.freshness_B
    return found if found.count_B.min() >= 0 and found.count_B.sum() > 0 else None


def _rate(before: int | None, now: int | None, seconds: float) -> float | None:
    if before is None or now is None or now < before:
        return None
    return round((now - before) / seconds, 2)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
