"""What the metrics page shows: one row a metric, with its name, its meaning, and where its number comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from consumers.measurements import STAGES, Durations, Measurements
from consumers.vector_source import EncoderCounters
from streamer import __version__
from streamer.engine.learn import RECENT_DECAY
from streamer.events.model import RejectReason
from streamer.ports import OwnerStatus

ROLES = ("starting", "restoring", "standby", "owner")
METHODS = ("live", "fixed", "popularity")

Values = Iterable[tuple[tuple[str, ...], float]]
"""Label values and the number, one pair a sample."""


class Sample(NamedTuple):
    """What a worker's page is made from, at one moment."""

    measured: Measurements
    status: OwnerStatus
    now_ms: int


class Row(NamedTuple):
    """One metric of a worker's page."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    labels: tuple[str, ...]
    read: Callable[[Sample], Values]


class HistogramRow(NamedTuple):
    """One histogram of seconds."""

    name: str
    meaning: str
    read: Callable[[Sample], Durations]


class EncoderRow(NamedTuple):
    """One counter of an encoder worker."""

    name: str
    meaning: str
    read: Callable[[EncoderCounters], float]


def one(read: Callable[[Measurements], float]) -> Callable[[Sample], Values]:
    """One number of the process."""
    return lambda sample: [((), read(sample.measured))]


def owned(read: Callable[[Sample], Values]) -> Callable[[Sample], Values]:
    """What is true of an owner alone: a worker that lost the partitions, or has not yet restored, says nothing."""
    return lambda sample: read(sample) if sample.status.counters is not None else []


def by(read: Callable[[Measurements], Mapping[str, float]]) -> Callable[[Sample], Values]:
    """One sample a key; the mapping is copied, since the worker may add to it meanwhile."""
    return lambda sample: [((key,), value) for key, value in dict(read(sample.measured)).items()]


def _folded(name: str) -> Callable[[Sample], Values]:
    """A counter of the fold; absent on a standby, which knows none."""

    def read(sample: Sample) -> Values:
        value = (sample.status.counters or {}).get(name)
        return [((), value)] if isinstance(value, int) else []

    return read


def _applied(sample: Sample) -> Values:
    applied = (sample.status.counters or {}).get("applied")
    return [((kind,), count) for kind, count in applied.items()] if isinstance(applied, dict) else []


def _dead_letters(sample: Sample) -> Values:
    found = dict.fromkeys(map(str, RejectReason), 0) | sample.measured.rejected
    return [((reason,), count) for reason, count in found.items()]


def _lag(sample: Sample) -> Values:
    return [((topic, part), behind) for topic, parts in dict(sample.status.lag).items() for part, behind in dict(parts).items()]


def _since(read: Callable[[Measurements], int]) -> Callable[[Sample], Values]:
    """Seconds since a time that is 0 before it was first reached."""

    def age(sample: Sample) -> Values:
        reached_ms = read(sample.measured)
        return [((), (sample.now_ms - reached_ms) / 1000)] if reached_ms else []

    return age


def _quality(name: str) -> Callable[[Sample], Values]:
    """A prequential sum as a share of what was judged, by method; absent where nothing was judged."""

    def read(sample: Sample) -> Values:
        found = dict(sample.measured.quality)
        return [((method,), sums[name] / sums["judged"]) for method, sums in found.items() if sums.get("judged")]

    return read


def _recent(sample: Sample) -> Values:
    """The decayed mean over what was judged alone: the sum begins at nothing, and would take a thousand to come up to it."""
    found = dict(sample.measured.quality)
    return [
        ((m,), sums["recent_ndcg"] / (1.0 - RECENT_DECAY ** sums["judged"])) for m, sums in found.items() if sums.get("judged")
    ]


def _quality_as_is(name: str) -> Callable[[Sample], Values]:
    return lambda sample: [((method,), sums.get(name, 0.0)) for method, sums in dict(sample.measured.quality).items()]


def _served(above: str, below: str) -> Callable[[Sample], Values]:
    def read(sample: Sample) -> Values:
        served = sample.measured.served
        return [((), served[above] / served[below])] if served.get(below) else []

    return read


def _role(sample: Sample) -> Values:
    return [((role,), float(role == sample.status.role)) for role in ROLES]


def _build(sample: Sample) -> Values:
    return [((__version__, sample.status.namespace), 1.0)]


HISTOGRAMS: tuple[HistogramRow, ...] = (
    HistogramRow(
        "streamer_freshness_seconds",
        "From the log's append time of a user's last event to his list visible in the store.",
        lambda sample: sample.measured.freshness,
    ),
    HistogramRow(
        "streamer_poll_gap_seconds",
        "From the end of one poll to the end of the next: beyond streamer_poll_gap_bound_seconds the worker loses the log.",
        lambda sample: sample.measured.poll_gap,
    ),
    HistogramRow(
        "streamer_snapshot_pause_seconds",
        "How long the fold stood still while a snapshot's tables were copied.",
        lambda sample: sample.measured.snapshot_pause,
    ),
)

WORKER: tuple[Row, ...] = (
    Row("streamer_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "namespace"), _build),
    Row("streamer_role", "gauge", f"1 for the worker's role, 0 for the others: {', '.join(ROLES)}.", ("role",), _role),
    Row("streamer_takeovers_total", "counter", "Times this process became the owner.", (), one(lambda m: m.takeovers)),
    Row(
        "streamer_restore_seconds",
        "gauge",
        "How long reading the last snapshot at start took.",
        (),
        one(lambda m: m.restore_s),
    ),
    Row(
        "streamer_poll_gap_bound_seconds",
        "gauge",
        "kafka.max_poll_interval_ms.",
        (),
        one(lambda m: m.poll_gap_bound_s),
    ),
    Row(
        "streamer_fold_restarts_total",
        "counter",
        "Times that the fold failed at a record and went back to the last snapshot to find and leave it out.",
        (),
        one(lambda m: m.went_back),
    ),
    Row(
        "streamer_stage_seconds_total",
        "counter",
        f"Seconds spent a stage: {', '.join(STAGES)}.",
        ("stage",),
        by(lambda m: m.stage_s),
    ),
    Row(
        "streamer_queue_batches",
        "gauge",
        "Batches decoded and waiting for the fold.",
        (),
        owned(one(lambda m: m.queue_batches)),
    ),
    Row(
        "streamer_lag_records",
        "gauge",
        "Records between the position and the end of the log.",
        ("topic", "partition"),
        owned(_lag),
    ),
    Row(
        "streamer_event_time_lag_seconds",
        "gauge",
        "Wall clock less the largest event time applied; absent before the first event. Of a recording it is the recording's age.",
        (),
        owned(_since(lambda m: m.event_time_ms)),
    ),
    Row(
        "streamer_events_applied_total",
        "counter",
        "Events applied to the state, by type; of the state, so a restart does not reset it (nor the next seven).",
        ("type",),
        _applied,
    ),
    Row(
        "streamer_events_duplicate_total",
        "counter",
        "Events left out since their event_id was applied before.",
        (),
        _folded("duplicate"),
    ),
    Row(
        "streamer_events_late_total",
        "counter",
        "Events left out since they came later than windows.lateness_ms_max, or than the dedup table remembers.",
        (),
        _folded("late"),
    ),
    Row("streamer_events_rejected_total", "counter", "Records of events that are none.", (), _folded("rejected")),
    Row(
        "streamer_events_lost_total",
        "counter",
        "Offsets of events that retention removed before they were read.",
        (),
        _folded("lost"),
    ),
    Row(
        "streamer_events_clamped_total",
        "counter",
        "Events from the future, set to the log's own time (windows.clock_ahead_ms_max).",
        (),
        _folded("clamped"),
    ),
    Row(
        "streamer_events_capped_total",
        "counter",
        "Interactions that moved no global state, beyond signals.user_contributions_per_hour_max.",
        (),
        _folded("capped"),
    ),
    Row(
        "streamer_events_forgotten_total",
        "counter",
        "Events left out since their user asked to be forgotten after them.",
        (),
        _folded("forgotten"),
    ),
    Row(
        "streamer_dead_letters_total",
        "counter",
        "Records sent to events.dead by this process, by reason.",
        ("reason",),
        _dead_letters,
    ),
    Row(
        "streamer_list_score_parts_total",
        "counter",
        "What each part gave to the scores of entries listed, without sign: signals (counting), text, image, item (its own vector), rerank (fairness and diversity).",
        ("part",),
        by(lambda m: m.list_parts),
    ),
    Row("streamer_lists_written_total", "counter", "Lists written to the store.", (), one(lambda m: m.lists_written)),
    Row(
        "streamer_lists_refused_total",
        "counter",
        "Lists that the store refused since it held a newer one.",
        (),
        one(lambda m: m.lists_refused),
    ),
    Row(
        "streamer_lists_swept_total",
        "counter",
        "Lists rendered again in idle time, without a new event of their user.",
        (),
        one(lambda m: m.swept),
    ),
    Row(
        "streamer_lists_unpublished",
        "gauge",
        "Users whose list is older than their last event.",
        (),
        owned(one(lambda m: m.lists_unpublished)),
    ),
    Row("streamer_store_errors_total", "counter", "Failed calls of the store of lists.", (), one(lambda m: m.store_errors)),
    Row("streamer_log_errors_total", "counter", "Failed calls of the log.", (), one(lambda m: m.log_errors)),
    Row("streamer_snapshots_total", "counter", "Snapshots committed.", (), one(lambda m: m.snapshots)),
    Row(
        "streamer_snapshot_failures_total",
        "counter",
        "Snapshots that could not be written or committed.",
        (),
        one(lambda m: m.snapshot_failures),
    ),
    Row(
        "streamer_snapshot_age_seconds",
        "gauge",
        "Since the last committed snapshot; absent before the first.",
        (),
        owned(_since(lambda m: m.snapshot_ms)),
    ),
    Row("streamer_snapshot_bytes", "gauge", "Bytes of the last snapshot's tables.", (), owned(one(lambda m: m.snapshot_bytes))),
    Row(
        "streamer_snapshot_write_seconds",
        "gauge",
        "How long writing the last snapshot took, beside the stream: rests between its steps included.",
        (),
        one(lambda m: m.snapshot_write_s),
    ),
    Row("streamer_users", "gauge", "Users in the state.", (), owned(one(lambda m: m.users))),
    Row("streamer_items", "gauge", "Items in the state.", (), owned(one(lambda m: m.items))),
    Row(
        "streamer_table_bytes",
        "gauge",
        "Bytes held by each table of the state.",
        ("table",),
        owned(by(lambda m: m.table_bytes)),
    ),
    Row("streamer_head_steps_total", "counter", "Blocks that the fusion head learned.", (), owned(one(lambda m: m.head_steps))),
    Row(
        "streamer_head_skipped_total",
        "counter",
        "Blocks skipped since their loss or gradient was not finite.",
        (),
        owned(one(lambda m: m.head_skipped)),
    ),
    Row(
        "streamer_learning_frozen",
        "gauge",
        "1 while the head learns nothing, by an operator's `freeze` or after ten skipped blocks in a row; `streamer unfreeze` ends it.",
        (),
        owned(one(lambda m: float(m.learning_frozen))),
    ),
    Row(
        "streamer_quality_judged_total",
        "counter",
        f"Interactions of scored groups (head.judged_every), judged just before they were learned; by method: {', '.join(METHODS)}.",
        ("method",),
        owned(_quality_as_is("judged")),
    ),
    Row(
        "streamer_quality_hit_ratio",
        "gauge",
        "Share of them whose item was among the first 10 (fresh, since the beginning). The first after a pause always counts (head.judged_gap_ms).",
        ("method",),
        owned(_quality("hits")),
    ),
    Row(
        "streamer_quality_ndcg_ratio",
        "gauge",
        "Mean NDCG at 10 of the same.",
        ("method",),
        owned(_quality("ndcg")),
    ),
    Row(
        "streamer_quality_recent_ndcg_ratio",
        "gauge",
        "The same over the last 1,000 or so judged, older ones less: compare live with fixed.",
        ("method",),
        owned(_recent),
    ),
    Row(
        "streamer_served_judged_ratio",
        "gauge",
        "Share of interactions that could be judged by the list that a reader would have got.",
        (),
        owned(_served("judged", "arrived")),
    ),
    Row(
        "streamer_served_hit_ratio",
        "gauge",
        "Share of those whose item was on that list's first 10 places.",
        (),
        owned(_served("hits", "judged")),
    ),
    Row("streamer_served_ndcg_ratio", "gauge", "Mean NDCG at 10 of those lists.", (), owned(_served("ndcg", "judged"))),
)

ENCODER: tuple[EncoderRow, ...] = (
    EncoderRow("streamer_encoder_encoded_total", "Texts that went through the encoder.", lambda c: c.encoded),
    EncoderRow("streamer_encoder_cached_total", "Texts whose vectors the cache had.", lambda c: c.cached),
    EncoderRow("streamer_encoder_images_encoded_total", "Images that went through the encoder.", lambda c: c.images_encoded),
    EncoderRow("streamer_encoder_images_cached_total", "Images whose vectors the cache had.", lambda c: c.images_cached),
    EncoderRow(
        "streamer_encoder_images_unusable_total",
        "Documents whose image was forbidden, missing, broken or too large: dead letters.",
        lambda c: c.images_unusable,
    ),
    EncoderRow("streamer_encoder_written_total", "Vector records acknowledged by the log.", lambda c: c.written),
    EncoderRow("streamer_encoder_rejected_total", "Records of items that are no documents.", lambda c: c.rejected),
    EncoderRow("streamer_encoder_failed_total", "Documents that an encoder could not encode.", lambda c: c.failed),
    EncoderRow("streamer_encoder_refused_total", "Records that the log will never take.", lambda c: c.refused),
    EncoderRow("streamer_encoder_cache_errors_total", "Failed calls of the cache of vectors.", lambda c: c.cache_errors),
    EncoderRow("streamer_encoder_seconds_total", "Seconds spent in the text encoder.", lambda c: c.encode_seconds),
    EncoderRow(
        "streamer_encoder_images_seconds_total", "Seconds spent in the image encoder.", lambda c: c.image_encode_seconds
    ),
)
