"""The hours of a day: where on the way through a stream's visits a time lies, in whole numbers."""

from __future__ import annotations

import math

import numpy as np

from producers.synthetic.draws import Ints
from producers.synthetic.settings import DAY_MS

HOUR_MS = DAY_MS // 24
LEVEL = 1024
"""Weight of an hour of the mean rate."""
BUSIEST_HOUR = 20


class Rhythm:
    """A clock that runs fast in busy hours (of UTC) and slow in quiet ones: visits that are even on it have the day's rhythm."""

    def __init__(self, swing: float) -> None:
        hours = [math.cos((hour - BUSIEST_HOUR) * math.pi / 12) for hour in range(24)]
        self._weight_H = np.array([max(1, round(LEVEL * (1 + swing * one))) for one in hours], np.int64)
        self._edge_H = np.concatenate(([0], np.cumsum(self._weight_H * HOUR_MS)))
        self._day = int(self._edge_H[-1])

    def at(self, time_ms: int) -> int:
        """The clock's reading."""
        day, inside = divmod(time_ms, DAY_MS)
        hour, rest = divmod(inside, HOUR_MS)
        return day * self._day + int(self._edge_H[hour]) + rest * int(self._weight_H[hour])

    def span(self, span_ms: float) -> int:
        """By how much it goes on in a time of mean rate."""
        return max(1, round(span_ms * self._day / DAY_MS))

    def times(self, reading_N: Ints) -> Ints:
        """The times at which it reads so."""
        inside_N = reading_N % self._day
        hour_N = np.searchsorted(self._edge_H, inside_N, side="right") - 1
        rest_N = (inside_N - self._edge_H[hour_N]) // self._weight_H[hour_N]
        return (reading_N // self._day) * DAY_MS + hour_N * HOUR_MS + rest_N

    def time(self, reading: int) -> int:
        """The same of one reading."""
        return int(self.times(np.array([reading]))[0])
