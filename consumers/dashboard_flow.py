"""Dashboards of what flows: the overview, ingest, the engine."""

from __future__ import annotations

from consumers.dashboard_parts import (
    CHOSEN,
    FOLD_SECONDS,
    FRESHNESS,
    GREEN,
    LAG,
    ORANGE,
    RECENT_QUALITY,
    RED,
    Dashboard,
    folded,
    good_below,
    good_from,
    per_second,
    quantile,
    series,
    stat,
)

OVERVIEW = Dashboard(
    "overview",
    "Streamer: overview",
    "Healthy, fresh, learning, better than counting? Each answer has a page of its own behind it.",
    (
        stat(
            "Alerts",
            'count(ALERTS{alertname=~"Streamer.*",alertstate="firing",$N}) or vector(0)',
            note="Firing now; docs/runbook.md says what to do.",
            steps=good_below(1, 1),
            legend="firing",
        ),
        stat(
            "Owner",
            'sum by (namespace) (streamer_role{role="owner",$N})',
            note="Workers that own the log: one.",
            steps=((None, RED), (1, GREEN), (2, RED)),
        ),
        stat(
            "Standby",
            'sum by (namespace) (streamer_role{role="standby",$N})',
            note="Workers that would take over.",
            steps=((None, ORANGE), (1, GREEN)),
        ),
        stat(
            "Freshness",
            f"streamer:freshness_seconds:p95{{{CHOSEN}}}",
            "s",
            "19 of 20 lists show a click within this time.",
            steps=good_below(2, 5),
        ),
        stat(
            "Waiting",
            "max by (namespace) (streamer_lag_seconds{$N})",
            "s",
            "Age of the oldest event that was not read.",
            steps=good_below(10, 60),
        ),
        stat(
            "Better than counting",
            f"streamer:quality_gain:ratio{{{CHOSEN}}}",
            "percentunit",
            "Recent NDCG at 10 of what is served over the better one of fixed weights and popularity.",
            steps=good_from(-0.05, 0),
        ),
        stat(
            "Learning",
            "max by (namespace) (streamer_learning_frozen{$N})",
            words={0: "on", 1: "frozen"},
            steps=((None, GREEN), (1, RED)),
        ),
        stat(
            "Lists come from",
            "max by (namespace) (streamer_lists_from_fixed_weights{$N})",
            words={0: "what was learned", 1: "fixed weights"},
            steps=((None, GREEN), (1, ORANGE)),
        ),
        stat("Events", f"streamer:events_read:rate{{{CHOSEN}}}", "reqps", "Read a second."),
        stat(
            "Not usable",
            f"streamer:dead_letters:ratio{{{CHOSEN}}}",
            "percentunit",
            "Share of records that went to events.dead.",
            steps=good_below(0.001, 0.01),
        ),
        stat("Snapshot", "max by (namespace) (streamer_snapshot_age_seconds{$N})", "s", "Age; of a silent stream it may grow."),
        stat(
            "Store",
            "max by (namespace) (streamer_store_failing_seconds{$N})",
            "s",
            "For how long the store of lists has failed.",
            steps=good_below(1, 60),
        ),
        FRESHNESS,
        LAG,
        RECENT_QUALITY,
        series(
            "What comes in?",
            ("{{type}} {{namespace}}", folded("streamer_events_applied_total", "type")),
            unit="reqps",
            note="Events applied, by type.",
            stacked=True,
        ),
        series(
            "What can't be used?",
            ("{{reason}} {{namespace}}", per_second("streamer_dead_letters_total{$N}", "reason")),
            unit="reqps",
            stacked=True,
        ),
        series(
            "Has the stream changed?",
            ("{{stream}} {{namespace}}", "max by (namespace, stream) (streamer_drift_mean_ratio{$N})"),
            unit="percentunit",
            note="Means in ADWIN's windows; orange marks are alarms. They change nothing by themselves.",
        ),
    ),
)

INGEST = Dashboard(
    "ingest",
    "Streamer: ingest",
    "From senders through the gateway and the log to the fold.",
    (
        LAG,
        series(
            "Where do records wait?",
            ("{{topic}} {{partition}} {{namespace}}", "max by (namespace, topic, partition) (streamer_lag_records{$N})"),
        ),
        series(
            "How far behind is event time?",
            ("{{namespace}}", "max by (namespace) (streamer_event_time_lag_seconds{$N})"),
            unit="s",
            note="Of a recording it is the recording's age.",
        ),
        series(
            "What was applied?",
            ("{{type}} {{namespace}}", folded("streamer_events_applied_total", "type")),
            unit="reqps",
            stacked=True,
        ),
        series(
            "What was left out or curbed?",
            ("duplicate {{namespace}}", folded("streamer_events_duplicate_total")),
            ("late {{namespace}}", folded("streamer_events_late_total")),
            ("rejected {{namespace}}", folded("streamer_events_rejected_total")),
            ("forgotten {{namespace}}", folded("streamer_events_forgotten_total")),
            ("clamped {{namespace}}", folded("streamer_events_clamped_total")),
            ("capped {{namespace}}", folded("streamer_events_capped_total")),
            unit="reqps",
            note="Clamped and capped events were applied, the first at the log's time, the second without moving global state.",
        ),
        series(
            "What went to events.dead?",
            ("{{reason}} {{namespace}}", per_second("streamer_dead_letters_total{$N}", "reason")),
            unit="reqps",
            stacked=True,
        ),
        series(
            "What did retention take?",
            ("{{namespace}}", "max by (namespace) (streamer_events_lost_total{$N})"),
            note="Offsets removed before they were read, since the state was born.",
        ),
        series(
            "Does the log answer?",
            ("age {{namespace}}", "max by (namespace) (streamer_log_age_seconds{$N})"),
            unit="s",
            note="Since it last said what its ends are.",
        ),
        series("Which calls of the log failed?", ("{{namespace}}", per_second("streamer_log_errors_total{$N}")), unit="reqps"),
        series(
            "What does the gateway answer?",
            ("{{route}} {{status}} {{namespace}}", per_second("streamer_gateway_requests_total{$N}", "route, status")),
            unit="reqps",
            stacked=True,
        ),
        series(
            "How long until the log has acknowledged?",
            ("half {{namespace}}", quantile(0.5, "streamer_gateway_acknowledge_seconds")),
            ("99 of 100 {{namespace}}", quantile(0.99, "streamer_gateway_acknowledge_seconds")),
            unit="s",
        ),
        series(
            "What is on its way in the gateway?",
            ("requests {{namespace}}", "sum by (namespace) (streamer_gateway_waiting_requests{$N})"),
            note="At gateway.requests_waiting_max others are answered 429.",
        ),
        series(
            "What does the gateway accept?",
            ("{{topic}} {{namespace}}", per_second("streamer_gateway_records_accepted_total{$N}", "topic")),
            unit="reqps",
            stacked=True,
        ),
        series(
            "What does it refuse?",
            ("{{topic}} {{reason}} {{namespace}}", per_second("streamer_gateway_records_refused_total{$N}", "topic, reason")),
            unit="reqps",
            stacked=True,
        ),
        series(
            "Which lists do readers find?",
            ("{{outcome}} {{namespace}}", per_second("streamer_gateway_lists_total{$N}", "outcome")),
            unit="reqps",
            stacked=True,
        ),
    ),
)

ENGINE = Dashboard(
    "engine",
    "Streamer: engine",
    "The fold: where its time goes, how full its tables are, who runs it.",
    (
        series(
            "Where does time go?",
            ("{{stage}} {{namespace}}", per_second("streamer_stage_seconds_total{$N}", "stage")),
            unit="percentunit",
            note="Seconds a second of each stage; fold, learn and rank share one thread, and poll is mostly waiting.",
        ),
        series("How many events are read?", ("{{namespace}}", per_second("streamer_events_read_total{$N}")), unit="reqps"),
        series(
            "What does an event cost?",
            (
                "{{namespace}}",
                f"{per_second(FOLD_SECONDS)} / ({per_second('streamer_events_read_total{$N}')} > 0)",
            ),
            unit="s",
            note="Seconds of fold, learn and rank an event read.",
        ),
        series(
            "Is the fold kept waiting, or behind?",
            ("{{namespace}}", "max by (namespace) (streamer_queue_batches{$N})"),
            note="Batches decoded and waiting, two at most.",
        ),
        series(
            "Will it lose the log?",
            ("99 of 100 {{namespace}}", quantile(0.99, "streamer_poll_gap_seconds")),
            ("bound {{namespace}}", "min by (namespace) (streamer_poll_gap_bound_seconds{$N})"),
            unit="s",
            note="From one poll to the next; beyond the bound another worker takes over.",
        ),
        series(
            "Did the fold fail?",
            ("{{namespace}}", "sum by (namespace) (streamer_fold_restarts_total{$N})"),
            note="Times it went back to a snapshot to leave a record out.",
        ),
        series(
            "How full are users and items?",
            ("users {{namespace}}", "max by (namespace) (streamer_users{$N}) / max by (namespace) (streamer_users_max{$N})"),
            ("items {{namespace}}", "max by (namespace) (streamer_items{$N}) / max by (namespace) (streamer_items_max{$N})"),
            unit="percentunit",
            note="At 100 % the least recently active sixteenth makes room.",
        ),
        series(
            "Which tables are large?",
            ("{{table}} {{namespace}}", "topk by (namespace) (8, max by (namespace, table) (streamer_table_bytes{$N}))"),
            unit="bytes",
        ),
        series(
            "Which tables are fullest?",
            (
                "{{table}} {{namespace}}",
                "topk by (namespace) (8, max by (namespace, table) (streamer_table_bytes{$N}) / (max by (namespace, table) (streamer_table_bound_bytes{$N}) > 100000))",
            ),
            unit="percentunit",
            note="Of what they may hold as configured; tables of fixed size left out below 100 kB.",
        ),
        series(
            "How much memory do processes take?",
            ("{{instance}} {{namespace}}", "process_resident_memory_bytes{$N}"),
            unit="bytes",
        ),
        series(
            "How much CPU?",
            ("{{instance}} {{namespace}}", "rate(process_cpu_seconds_total{$N}[$__rate_interval])"),
            unit="percentunit",
        ),
        series(
            "Who is what?",
            ("{{instance}} {{role}} {{namespace}}", "streamer_role{$N} == 1"),
            note="One owner a namespace, the others standby.",
        ),
    ),
)
