"""More rows of the metrics page: how long things have waited, how full tables are, drift; and an encoder worker's backlog."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from consumers.drift import STREAMS, Drift
from consumers.metric_rows import Row, Sample, Values, by, one, owned
from consumers.vector_source import EncoderCounters
from streamer.catalog.belonging import NAMES_MAX
from streamer.ranking.exposure import NAMED_MAX, Shares

OTHERS = "other"
"""The label of all names that have none of their own."""


class EncoderGauge(NamedTuple):
    """A gauge of an encoder worker, read at a time in epoch ms."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    read: Callable[[EncoderCounters, int], Values]


def _lag_seconds(sample: Sample) -> Values:
    lag_s = sample.measured.lag_s(sample.now_ms)
    return [] if lag_s is None else [((), lag_s)]


def _failing(sample: Sample) -> Values:
    measured = sample.measured
    return [((), max(0, sample.now_ms - measured.store_fault_ms) / 1_000 if measured.store_fault else 0.0)]


def _lists_age(sample: Sample) -> Values:
    written_ms = sample.measured.lists_written_ms
    return [((), max(0, sample.now_ms - written_ms) / 1_000)] if written_ms else []


def _drift(read: Callable[[Drift], float | None]) -> Callable[[Sample], Values]:
    """One sample a stream that enough is known of."""

    def values(sample: Sample) -> Values:
        found = [((name,), read(drift)) for name, drift in dict(sample.measured.drift).items()]
        return [(labels, value) for labels, value in found if value is not None]

    return values


def _exposure(sample: Sample) -> Values:
    """At most NAMED_MAX names a kind and one sample for all others; who is called as those are is counted with them."""
    found = []
    for kind, shares in dict(sample.measured.shares).items():
        named = {name: share for name, share in shares.most.items() if share and name != OTHERS}
        rest = max(0.0, 1.0 - sum(named.values())) if shares.shown else 0.0
        found += [((kind, name), share) for name, share in (*named.items(), (OTHERS, rest))]
    return found


def _of_names(read: Callable[[Shares], float]) -> Callable[[Sample], Values]:
    """One sample a kind that items name any of."""
    return lambda sample: [((kind,), read(shares)) for kind, shares in dict(sample.measured.shares).items()]


WATCH: tuple[Row, ...] = (
    Row(
        "streamer_lag_seconds",
        "gauge",
        "About how long the oldest record that was not read has waited; 0 where none waited when last looked (every 2 s).",
        (),
        owned(_lag_seconds),
    ),
    Row(
        "streamer_log_age_seconds",
        "gauge",
        "Since the log last answered what its ends are (asked every 2 s): large where it is away.",
        (),
        owned(lambda sample: [((), max(0, sample.now_ms - sample.measured.looked_ms) / 1_000)]),
    ),
    Row(
        "streamer_events_read_total",
        "counter",
        "Events folded by this process, whatever became of them: for rates, since counters of the state go back with it.",
        (),
        one(lambda m: m.events_read),
    ),
    Row(
        "streamer_events_lost_timestamp_seconds",
        "gauge",
        "When this process last found that retention had removed events before they were read; 0 where it never did.",
        (),
        one(lambda m: m.lost_ms / 1_000),
    ),
    Row(
        "streamer_store_failing_seconds",
        "gauge",
        "For how long the store of lists has failed; 0 where it answered last.",
        (),
        owned(_failing),
    ),
    Row(
        "streamer_lists_age_seconds", "gauge", "Since lists were written last; absent before the first.", (), owned(_lists_age)
    ),
    Row(
        "streamer_lists_from_fixed_weights",
        "gauge",
        "1 while lists come from the fixed weights, since the learned ones were lately worse by 5 %; 0 while they come from these.",
        (),
        owned(one(lambda m: float(m.falls_back))),
    ),
    Row(
        "streamer_users_max",
        "gauge",
        "windows.users_max: at that many the least recently active sixteenth makes room.",
        (),
        one(lambda m: m.users_max),
    ),
    Row(
        "streamer_items_max",
        "gauge",
        "catalog.items_max: at that many the least recently chosen sixteenth makes room.",
        (),
        one(lambda m: m.items_max),
    ),
    Row(
        "streamer_table_bound_bytes",
        "gauge",
        "Bytes that each table may hold as configured; forgotten.* has no bound. Read at snapshots, as streamer_table_bytes.",
        ("table",),
        owned(by(lambda m: m.table_bound_bytes)),
    ),
    Row(
        "streamer_exposure_ratio",
        "gauge",
        f"Share of the lists' attention of late that a provider or a category has, the {NAMED_MAX} largest by name; all others together are `{OTHERS}`.",
        ("kind", "name"),
        owned(_exposure),
    ),
    Row(
        "streamer_exposure_gini_ratio",
        "gauge",
        "How unequal these shares are over all providers, and over all categories: 0 where all have the same, near 1 where few have all.",
        ("kind",),
        owned(_of_names(lambda shares: shares.gini)),
    ),
    Row(
        "streamer_exposure_catalogue_gini_ratio",
        "gauge",
        "The same over items, each with an equal part of what its name has: 0 where providers are shown by the sizes of their catalogues.",
        ("kind",),
        owned(_of_names(lambda shares: shares.catalogue_gini)),
    ),
    Row(
        "streamer_exposure_names",
        "gauge",
        f"Providers, and categories, of the items that may be listed; what comes when there are {NAMES_MAX:,} has no share.",
        ("kind",),
        owned(_of_names(lambda shares: shares.known)),
    ),
    Row(
        "streamer_exposure_names_shown",
        "gauge",
        "Those of them that lists have shown.",
        ("kind",),
        owned(_of_names(lambda shares: shares.shown)),
    ),
    Row(
        "streamer_drift_alarms_total",
        "counter",
        f"Times that ADWIN found a stream changed; by stream: {', '.join(STREAMS)}. It changes nothing by itself.",
        ("stream",),
        lambda sample: [((name,), _alarms(sample, name)) for name in STREAMS],
    ),
    Row(
        "streamer_drift_mean_ratio",
        "gauge",
        "Mean of the stream in ADWIN's window: a share of the events applied, or NDCG at 10.",
        ("stream",),
        owned(_drift(lambda drift: drift.mean)),
    ),
    Row(
        "streamer_drift_before_ratio",
        "gauge",
        "The mean that the last alarm left behind; absent before the first.",
        ("stream",),
        _drift(lambda drift: drift.before),
    ),
    Row(
        "streamer_drift_samples",
        "gauge",
        "Samples in ADWIN's window, each of 100 events or 20 judged interactions at least: how far back the stream is like now.",
        ("stream",),
        owned(_drift(lambda drift: drift.samples)),
    ),
    Row(
        "streamer_drift_alarm_timestamp_seconds",
        "gauge",
        "When the last alarm was raised; absent before the first.",
        ("stream",),
        _drift(lambda drift: None if drift.alarm_ms is None else drift.alarm_ms / 1_000),
    ),
)

ENCODER_GAUGES: tuple[EncoderGauge, ...] = (
    EncoderGauge(
        "streamer_encoder_lag_records",
        "Records of items between the committed position and the end of the log; absent of a member without partitions.",
        ("partition",),
        lambda c, _: [((part,), n) for parts in dict(c.backlog.lag).values() for part, n in dict(parts).items()],
    ),
    EncoderGauge(
        "streamer_encoder_lag_seconds",
        "About how long the oldest record of items without vectors has waited; 0 where none waited when last looked.",
        (),
        lambda c, now_ms: [] if (lag_s := c.backlog.lag_s(now_ms)) is None else [((), lag_s)],
    ),
)


def _alarms(sample: Sample, name: str) -> int:
    drift = sample.measured.drift.get(name)
    return drift.alarms if drift else 0
