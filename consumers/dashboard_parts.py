"""What dashboards are made of: a question in each title, the queries that answer it, and what a look should tell.

``$N`` in a query stands for the choice of namespaces. Counters of the state go back with it after a crash: ``folded`` asks for their growth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CHOSEN = 'namespace=~"$namespace"'
GREEN, ORANGE, RED = "green", "orange", "red"
Steps = tuple[tuple[float | None, str], ...]
"""Colours from a value on, the first from None."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; ``queries`` are (legend, PromQL). ``width`` is in 24ths of the page."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    note: str = ""
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    steps: Steps = ()
    words: Mapping[int, str] = field(default_factory=dict)
    stacked: bool = False
    from_zero: bool = True


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page."""

    name: str
    title: str
    note: str
    panels: tuple[Panel, ...]


def ask(query: str) -> str:
    """A query about the namespaces chosen."""
    return query.replace("$N", CHOSEN)


def series(
    title: str,
    *queries: tuple[str, str],
    unit: str = "short",
    note: str = "",
    width: int = 8,
    stacked: bool = False,
    from_zero: bool = True,
) -> Panel:
    """Lines over time."""
    return Panel(
        title,
        tuple((legend, ask(query)) for legend, query in queries),
        unit,
        note,
        width=width,
        stacked=stacked,
        from_zero=from_zero,
    )


def stat(
    title: str,
    query: str,
    unit: str = "short",
    note: str = "",
    *,
    steps: Steps = (),
    words: Mapping[int, str] | None = None,
    legend: str = "{{namespace}}",
) -> Panel:
    """One number of now."""
    return Panel(title, ((legend, ask(query)),), unit, note, "stat", 4, steps, words or {})


def good_below(warn: float, bad: float) -> Steps:
    """Green, orange from the first value on, red from the second on."""
    return ((None, GREEN), (warn, ORANGE), (bad, RED))


def good_from(bad: float, good: float) -> Steps:
    """Red, orange from the first value on, green from the second on."""
    return ((None, RED), (bad, ORANGE), (good, GREEN))


def per_second(counter: str, by: str = "") -> str:
    """Growth a second of a counter of the process, with labels to keep."""
    return f"sum by (namespace{by and ', ' + by}) (rate({counter}[$__rate_interval]))"


def folded(counter: str, by: str = "") -> str:
    """Growth a second of a counter of the state, which falls where the state goes back."""
    name = counter if "{" in counter else f"{counter}{{$N}}"
    return f"max by (namespace{by and ', ' + by}) (clamp_min(deriv({name}[$__rate_interval]), 0))"


def quantile(share: float, histogram: str) -> str:
    """Of a histogram of seconds."""
    return f"histogram_quantile({share:g}, sum by (namespace, le) (rate({histogram}_bucket{{$N}}[$__rate_interval])))"


FOLD_SECONDS = 'streamer_stage_seconds_total{stage=~"fold|learn|rank",$N}'
PUBLISH_SECONDS = 'streamer_stage_seconds_total{stage="publish",$N}'

FRESHNESS = series(
    "How fresh is a list?",
    ("half {{namespace}}", quantile(0.5, "streamer_freshness_seconds")),
    ("19 of 20 {{namespace}}", quantile(0.95, "streamer_freshness_seconds")),
    ("99 of 100 {{namespace}}", quantile(0.99, "streamer_freshness_seconds")),
    unit="s",
    note="From the log's append time of a user's last event to his list visible in the store.",
)
LAG = series(
    "How long do events wait?",
    ("{{namespace}}", "max by (namespace) (streamer_lag_seconds{$N})"),
    unit="s",
    note="Age of the oldest record that was not read.",
)
RECENT_QUALITY = series(
    "Is learning helping?",
    ("{{method}} {{namespace}}", "max by (namespace, method) (streamer_quality_recent_ndcg_ratio{$N})"),
    unit="percentunit",
    note="NDCG at 10 of the last 1,000 or so interactions judged, each before it was learned: live (what is served) beside fixed weights and popularity.",
)
UNPUBLISHED = series(
    "How many lists wait for the store?",
    ("{{namespace}}", "max by (namespace) (streamer_lists_unpublished{$N})"),
    note="Users whose list is older than their last event.",
)
SNAPSHOT_AGE = series(
    "How old is the last snapshot?",
    ("{{namespace}}", "max by (namespace) (streamer_snapshot_age_seconds{$N})"),
    unit="s",
    note="Of a silent stream it grows, and costs nothing.",
)
