"""Metrics as Prometheus' client writes them, with the unit that a name ends with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "0 to 1"}
"""By the last word of a name, and how it is written for people."""


def unit_of(name: str) -> str:
    """The unit that a metric's name says, empty where it counts.

    >>> unit_of("streamer_stage_seconds_total"), unit_of("streamer_users")
    ('seconds', '')
    """
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in UNITS else ""


def family(
    name: str, kind: str, meaning: str, label_names: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """A counter or gauge with its samples: label values and the number."""
    made = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    found = made(name, meaning, labels=label_names, unit=unit_of(name))
    for labels, value in values:
        found.add_metric(labels, value)
    return found


def histogram_family(name: str, meaning: str, bounds_s: Sequence[float], counts: Sequence[int], sum_s: float) -> Metric:
    """A histogram of seconds without labels; ``counts`` has one more than there are bounds."""
    found = HistogramMetricFamily(name, meaning, unit=unit_of(name))
    found.add_metric([], list(zip([*map(str, bounds_s), "+Inf"], accumulate(counts), strict=True)), sum_s)
    return found
