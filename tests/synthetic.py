"""Stretches of synthetic traffic for tests, as columns or as records."""

from __future__ import annotations

from itertools import chain, islice

import numpy as np

from producers.formats import Recorded
from producers.synthetic import SyntheticStream, Traffic
from producers.synthetic.defects import LATE, Rows, joined

SOUND = {"late": 0.0, "duplicate": 0.0, "broken": 0.0, "disorder": 0.0, "bots": 0.0}
"""People's events, each once and in order."""


def columns(traffic: Traffic, *, records: int = 0, hours: float = 0.0) -> Rows:
    """At least so many records, of so many hours."""
    parts: list[Rows] = []
    made = 0
    for _, end_ms, rows in SyntheticStream(traffic).rows():
        parts.append(rows)
        made += len(rows.due_N)
        if made >= records and end_ms >= traffic.start_ms + hours * 3_600_000:
            return joined(parts)
    raise AssertionError


def applied(rows: Rows) -> Rows:
    """The sound events."""
    return rows.where(rows.label_N % 32 < LATE)


def labelled(traffic: Traffic, count: int) -> list[tuple[int, int, Recorded]]:
    """(due, label, record) of the first so many."""
    batches = SyntheticStream(traffic).batches()
    rows = chain.from_iterable(zip(*batch[:3], strict=True) for batch in batches)
    return list(islice(rows, count))


def within(found: int, trials: int, chance: float) -> bool:
    """Whether a count is within five standard deviations of a binomial's mean."""
    return bool(abs(found - trials * chance) <= 5 * np.sqrt(trials * chance * (1 - chance)) + 1)
