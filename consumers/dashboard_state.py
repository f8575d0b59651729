"""Dashboards of what is kept and made: learning, lists, snapshots, encoders."""

from __future__ import annotations

from consumers.dashboard_parts import (
    CHOSEN,
    FRESHNESS,
    PUBLISH_SECONDS,
    RECENT_QUALITY,
    SNAPSHOT_AGE,
    UNPUBLISHED,
    Dashboard,
    folded,
    per_second,
    quantile,
    series,
)

PARTS = per_second("streamer_list_score_parts_total{$N}", "part")

LEARNING = Dashboard(
    "learning",
    "Streamer: learning and quality",
    "Fresh: judged in the fold just before the event is learned. As served: judged by the list that a reader would have got.",
    (
        RECENT_QUALITY,
        series(
            "By how much is it better?",
            ("{{namespace}}", f"streamer:quality_gain:ratio{{{CHOSEN}}}"),
            unit="percentunit",
            note="Recent NDCG over the better one of fixed weights and popularity, less one.",
            from_zero=False,
        ),
        series(
            "Is it learning?",
            ("blocks {{namespace}}", folded("streamer_head_steps_total")),
            ("skipped {{namespace}}", folded("streamer_head_skipped_total")),
            unit="ops",
            note="Blocks a second; ten skipped in a row freeze learning.",
        ),
        series(
            "How often was it right, since the beginning?",
            ("{{method}} {{namespace}}", "max by (namespace, method) (streamer_quality_hit_ratio{$N})"),
            unit="percentunit",
            note="Hit at 10, fresh.",
        ),
        series(
            "NDCG at 10 since the beginning",
            ("{{method}} {{namespace}}", "max by (namespace, method) (streamer_quality_ndcg_ratio{$N})"),
            unit="percentunit",
        ),
        series(
            "How many were judged?", ("{{namespace}}", folded('streamer_quality_judged_total{method="live",$N}')), unit="reqps"
        ),
        series(
            "Are lists as served as good?",
            ("hit {{namespace}}", "max by (namespace) (streamer_served_hit_ratio{$N})"),
            ("NDCG {{namespace}}", "max by (namespace) (streamer_served_ndcg_ratio{$N})"),
            unit="percentunit",
            note="Since the beginning; compare with fresh.",
        ),
        series(
            "How many of them can be judged?",
            ("{{namespace}}", "max by (namespace) (streamer_served_judged_ratio{$N})"),
            unit="percentunit",
            note="Only those whose list was confirmed before the event arrived.",
        ),
        series(
            "What are lists made of?",
            ("{{part}} {{namespace}}", f"{PARTS} / on (namespace) group_left () (sum by (namespace) ({PARTS}) > 0)"),
            unit="percentunit",
            note="What each part gave to the scores of entries listed, without sign.",
            stacked=True,
        ),
        series(
            "Who is shown?",
            ("{{kind}} {{name}} {{namespace}}", "max by (namespace, kind, name) (streamer_exposure_ratio{$N})"),
            unit="percentunit",
            note="Shares of the lists' attention of late: the ten largest providers and categories, and all others together.",
        ),
        series(
            "Is attention shared unequally?",
            ("{{kind}} {{namespace}}", "max by (namespace, kind) (streamer_exposure_gini_ratio{$N})"),
            ("{{kind}} for its size {{namespace}}", "max by (namespace, kind) (streamer_exposure_catalogue_gini_ratio{$N})"),
            unit="percentunit",
            note="Gini over all providers, and over all categories: 0 where all have the same, near 1 where few have all. For its size: 0 where each is shown by its number of items.",
        ),
        series(
            "Is it switched off?",
            ("frozen {{namespace}}", "max by (namespace) (streamer_learning_frozen{$N})"),
            ("fixed weights {{namespace}}", "max by (namespace) (streamer_lists_from_fixed_weights{$N})"),
        ),
        series(
            "Has the stream changed?",
            ("{{stream}} {{namespace}}", "max by (namespace, stream) (streamer_drift_mean_ratio{$N})"),
            unit="percentunit",
            note="Means in ADWIN's windows.",
        ),
        series(
            "When did it change?",
            ("{{stream}} {{namespace}}", "sum by (namespace, stream) (streamer_drift_alarms_total{$N})"),
            note="Alarms since each process began.",
        ),
        series(
            "How far back is it like now?",
            ("{{stream}} {{namespace}}", "max by (namespace, stream) (streamer_drift_samples{$N})"),
            note="Samples in the window: it grows while nothing changes, and an alarm cuts it.",
        ),
    ),
)

LISTS = Dashboard(
    "redis",
    "Streamer: lists and Redis",
    "Lists are derived: nothing waits for the store, and it is filled again from the state.",
    (
        FRESHNESS,
        UNPUBLISHED,
        series(
            "Does the store answer?",
            ("failing for {{namespace}}", "max by (namespace) (streamer_store_failing_seconds{$N})"),
            unit="s",
        ),
        series(
            "How many lists are written?",
            ("written {{namespace}}", per_second("streamer_lists_written_total{$N}")),
            ("swept {{namespace}}", per_second("streamer_lists_swept_total{$N}")),
            ("refused {{namespace}}", per_second("streamer_lists_refused_total{$N}")),
            unit="wps",
            note="Swept: rendered again without a new event. Refused: the store held a newer one.",
        ),
        series("Which calls failed?", ("{{namespace}}", per_second("streamer_store_errors_total{$N}")), unit="reqps"),
        series(
            "What does a list cost the store?",
            (
                "{{namespace}}",
                f"{per_second(PUBLISH_SECONDS)} / ({per_second('streamer_lists_written_total{$N}')} > 0)",
            ),
            unit="s",
            note="Seconds of writing a list, in portions of 128.",
        ),
        series(
            "When was a list last written?", ("{{namespace}}", "max by (namespace) (streamer_lists_age_seconds{$N})"), unit="s"
        ),
        series(
            "What do readers find?",
            ("{{outcome}} {{namespace}}", per_second("streamer_gateway_lists_total{$N}", "outcome")),
            unit="reqps",
            note="Through the gateway.",
            stacked=True,
        ),
    ),
)

SNAPSHOTS = Dashboard(
    "snapshots",
    "Streamer: snapshots and takeovers",
    "What a crash would do again, what a snapshot costs, who took over.",
    (
        SNAPSHOT_AGE,
        series(
            "Are they committed?",
            ("committed {{namespace}}", per_second("streamer_snapshots_total{$N}")),
            ("failed {{namespace}}", per_second("streamer_snapshot_failures_total{$N}")),
            unit="ops",
        ),
        series(
            "Does the stream stand still for them?",
            ("99 of 100 {{namespace}}", quantile(0.99, "streamer_snapshot_pause_seconds")),
            unit="s",
            note="While tables are copied.",
        ),
        series(
            "How long is one written?",
            ("{{namespace}}", "max by (namespace) (streamer_snapshot_write_seconds{$N})"),
            unit="s",
            note="Beside the stream.",
        ),
        series(
            "How large is one?",
            ("{{namespace}}", "max by (namespace) (streamer_snapshot_bytes{$N})"),
            unit="bytes",
            note="Of which only chunks that changed are written.",
        ),
        series("How long did a start take?", ("{{instance}} {{namespace}}", "streamer_restore_seconds{$N}"), unit="s"),
        series(
            "Who took over?",
            ("{{instance}} {{namespace}}", "streamer_takeovers_total{$N}"),
            note="Times each process became the owner.",
        ),
        series("Who is what?", ("{{instance}} {{role}} {{namespace}}", "streamer_role{$N} == 1")),
    ),
)

ENCODERS = Dashboard(
    "encoders",
    "Streamer: encoders",
    "Texts of items to vectors: a slow model holds up no event, only the content of new items.",
    (
        series(
            "How long do items wait for vectors?", ("{{instance}} {{namespace}}", "streamer_encoder_lag_seconds{$N}"), unit="s"
        ),
        series(
            "How many wait?",
            ("{{partition}} {{namespace}}", "max by (namespace, partition) (streamer_encoder_lag_records{$N})"),
            stacked=True,
        ),
        series(
            "How many vectors are written?",
            ("{{instance}} {{namespace}}", "rate(streamer_encoder_written_total{$N}[$__rate_interval])"),
            unit="wps",
        ),
        series(
            "Does the cache help?",
            ("encoded {{namespace}}", per_second("streamer_encoder_encoded_total{$N}")),
            ("images encoded {{namespace}}", per_second("streamer_encoder_images_encoded_total{$N}")),
            ("from the cache {{namespace}}", per_second("streamer_encoder_cached_total{$N}")),
            ("images from the cache {{namespace}}", per_second("streamer_encoder_images_cached_total{$N}")),
            unit="reqps",
            stacked=True,
        ),
        series(
            "How busy is the model?",
            ("texts {{instance}} {{namespace}}", "rate(streamer_encoder_seconds_total{$N}[$__rate_interval])"),
            ("images {{instance}} {{namespace}}", "rate(streamer_encoder_images_seconds_total{$N}[$__rate_interval])"),
            unit="percentunit",
        ),
        series(
            "What went wrong?",
            ("no documents {{namespace}}", per_second("streamer_encoder_rejected_total{$N}")),
            ("not encoded {{namespace}}", per_second("streamer_encoder_failed_total{$N}")),
            ("images not usable {{namespace}}", per_second("streamer_encoder_images_unusable_total{$N}")),
            ("refused by the log {{namespace}}", per_second("streamer_encoder_refused_total{$N}")),
            ("cache {{namespace}}", per_second("streamer_encoder_cache_errors_total{$N}")),
            unit="reqps",
        ),
    ),
)
