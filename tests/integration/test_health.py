"""The worker's pages over real HTTP: the probes, the status, and what Prometheus would read."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from consumers import metrics
from consumers.drift import STREAMS, Drift
from consumers.health import HealthServer
from consumers.http_server import CONNECTIONS_MAX, HttpUnavailable
from consumers.measurements import STAGES, Measurements
from consumers.metric_rows import ENCODER, HISTOGRAMS
from consumers.metrics import EncoderCollector, WorkerCollector
from consumers.vector_source import EncoderCounters
from consumers.watch_rows import ENCODER_GAUGES
from streamer import __version__
from streamer.events.model import RejectReason
from streamer.ports import OwnerStatus
from streamer.ranking.exposure import NAMED_MAX, gini, shares

NOW_MS = 1_795_485_458_344
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

COUNTERS = {
    "applied": {"impression": 0, "view": 5, "click": 3, "cart": 0, "purchase": 1},
    **dict.fromkeys(("duplicate", "late", "rejected", "lost", "clamped", "capped", "forgotten"), 2),
}
OWNER = OwnerStatus(
    role="owner",
    namespace="shop",
    epoch=NOW_MS,
    generation=3,
    counters=COUNTERS,
    offsets={"events": {"0": 10, "1": 1}},
    snapshot="1795485458344-9f3c02aa",
    lag={"events": {"0": 4, "1": 0}},
)
STANDBY = replace(OWNER, role="standby", epoch=None, generation=None, counters=None, offsets={}, snapshot=None, lag={})


class Worker:
    """What the pages read, to be changed by a test between two requests."""

    def __init__(self) -> None:
        self.measured = Measurements()
        self.status = OWNER
        self.live = True

    def read(self) -> tuple[Measurements, OwnerStatus]:
        return self.measured, self.status


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def server(worker: Worker) -> Iterator[HealthServer]:
    collector = WorkerCollector(worker.read, encoder=EncoderCounters, now_ms=lambda: NOW_MS)
    opened = HealthServer("127.0.0.1", 0, status=lambda: worker.status, collector=collector, live=lambda: worker.live)
    with contextlib.closing(opened):
        yield opened


def get(server: HealthServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


def samples(server: HealthServer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, _, body = get(server, "/metrics")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in parse(body) for sample in family.samples
    }


def value(server: HealthServer, name: str, /, **labels: str) -> float | None:
    return samples(server).get((name, tuple(sorted(labels.items()))))


def test_status_says_all_fields_of_a_worker_in_json(server: HealthServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}"
    status, content_type, body = get(server, "/status")
    assert (status, content_type) == (200, "application/json")
    assert json.loads(body) == {
        "role": "owner",
        "namespace": "shop",
        "epoch": NOW_MS,
        "generation": 3,
        "counters": COUNTERS,
        "offsets": {"events": {"0": 10, "1": 1}},
        "snapshot": "1795485458344-9f3c02aa",
        "lag": {"events": {"0": 4, "1": 0}},
        "learning": None,
        "lists": None,
    }


@pytest.mark.parametrize(("role", "code"), [("owner", 200), ("standby", 200), ("starting", 503), ("restoring", 503)])
def test_a_worker_is_ready_as_owner_and_as_standby(server: HealthServer, worker: Worker, role: str, code: int) -> None:
    worker.status = replace(STANDBY, role=role)
    status, _, body = get(server, "/readyz")
    assert (status, json.loads(body)) == (code, {"ok": code == 200, "role": role})
    assert get(server, "/status")[0] == 200


def test_a_worker_lives_until_it_says_otherwise(server: HealthServer, worker: Worker) -> None:
    assert get(server, "/livez")[0] == 200
    worker.live = False
    assert get(server, "/livez")[0] == 503


def test_an_unknown_page_is_answered_by_what_there_is(server: HealthServer) -> None:
    status, _, body = get(server, "/nothing?x=1")
    assert status == 404
    assert json.loads(body)["pages"] == ["/livez", "/metrics", "/readyz", "/status"]


def test_a_page_that_fails_is_an_answer_too_and_the_server_goes_on(server: HealthServer, worker: Worker) -> None:
    worker.measured.served = None  # type: ignore[assignment]
    assert get(server, "/metrics")[0] == 500
    assert get(server, "/livez")[0] == 200


def test_head_has_no_body_and_a_query_changes_nothing(server: HealthServer) -> None:
    assert get(server, "/livez", "HEAD")[::2] == (200, "")
    assert get(server, "/livez?verbose=1")[0] == 200


def test_a_port_that_is_taken_is_named_with_its_setting(worker: Worker) -> None:
    collector = WorkerCollector(worker.read)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HttpUnavailable, match=rf"127\.0\.0\.1:{port} .*http\.port.*STREAMER_HTTP__PORT.*port is taken"):
            HealthServer("127.0.0.1", port, status=lambda: OWNER, collector=collector)


def test_a_foreign_address_is_named(worker: Worker) -> None:
    with pytest.raises(HttpUnavailable, match="expected an address of this machine"):
        HealthServer("203.0.113.7", 0, status=lambda: OWNER, collector=WorkerCollector(worker.read))


def test_the_port_is_free_again_after_close(worker: Worker) -> None:
    first = HealthServer("127.0.0.1", 0, status=lambda: OWNER, collector=WorkerCollector(worker.read))
    get(first, "/livez")
    first.close()
    second = HealthServer("127.0.0.1", first.port, status=lambda: OWNER, collector=WorkerCollector(worker.read))
    second.close()


def test_connections_are_bounded_and_free_again(server: HealthServer) -> None:
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)))
            for _ in range(CONNECTIONS_MAX)
        ]
        for connection in held:
            connection.request("GET", "/livez")
            connection.getresponse().read()  # kept alive: the connection stays open
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            get(server, "/livez")
        held[0].request("GET", "/livez")
        assert held[0].getresponse().status == 200


def test_every_metric_has_help_and_a_name_with_prefix_and_unit(server: HealthServer) -> None:
    _, content_type, body = get(server, "/metrics")
    assert content_type.startswith("text/plain")
    ours = [family for family in parse(body) if family.name.startswith("streamer_")]
    assert len(ours) == len(HISTOGRAMS) + len(metrics.ROWS) + len(ENCODER) + len(ENCODER_GAUGES)
    for family in ours:
        assert family.documentation.endswith("."), family.name
        assert family.type in {"counter", "gauge", "histogram"}
    for row in (*metrics.ROWS, *HISTOGRAMS, *ENCODER, *ENCODER_GAUGES):
        assert re.fullmatch(r"streamer_[a-z_]+", row.name)
    assert all((row.kind == "counter") == row.name.endswith("_total") for row in metrics.ROWS)
    assert all(row.name.endswith("_total") for row in ENCODER)


def test_the_exposition_parses_as_openmetrics_too(server: HealthServer) -> None:
    _, content_type, body = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {"streamer_freshness_seconds", "streamer_events_applied"} <= {family.name for family in parse_openmetrics(body)}


def test_units_are_told_where_the_format_has_a_place_for_them(server: HealthServer) -> None:
    _, _, body = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    units = {family.name: family.unit for family in parse_openmetrics(body)}
    assert units["streamer_freshness_seconds"] == units["streamer_stage_seconds"] == "seconds"
    assert (units["streamer_table_bytes"], units["streamer_served_hit_ratio"], units["streamer_users"]) == (
        "bytes",
        "ratio",
        "",
    )


def test_what_is_true_of_an_owner_alone_is_not_said_by_who_lost_the_log(server: HealthServer, worker: Worker) -> None:
    worker.measured.lag = {"events": {"0": 3}}
    worker.measured.append_ms = NOW_MS - 7_000
    worker.measured.snapshot_ms = NOW_MS - 5_000
    names = ("streamer_lag_seconds", "streamer_snapshot_age_seconds", "streamer_lists_unpublished", "streamer_learning_frozen")
    assert [value(server, name) for name in names] == [7, 5, 0, 0]
    worker.status = STANDBY
    assert [value(server, name) for name in names] == [None] * 4


def test_lag_in_seconds_is_that_of_what_waits(server: HealthServer, worker: Worker) -> None:
    measured = worker.measured
    assert value(server, "streamer_lag_seconds") is None
    measured.lag, measured.append_ms = {"events": {"0": 0}}, NOW_MS - 3_600_000
    assert value(server, "streamer_lag_seconds") == 0
    measured.lag = {"events": {"0": 1}}
    assert value(server, "streamer_lag_seconds") == 3_600
    measured.caught_up_ms = NOW_MS - 2_000  # an hour without events, and then one: it waits for two seconds at most
    assert value(server, "streamer_lag_seconds") == 2


def test_a_store_that_fails_says_for_how_long(server: HealthServer, worker: Worker) -> None:
    assert value(server, "streamer_store_failing_seconds") == 0
    worker.measured.store_fault, worker.measured.store_fault_ms = "no route", NOW_MS - 9_000
    assert value(server, "streamer_store_failing_seconds") == 9


def test_drift_is_shown_by_stream_and_its_alarms_from_the_start(server: HealthServer, worker: Worker) -> None:
    assert all(value(server, "streamer_drift_alarms_total", stream=name) == 0 for name in STREAMS)
    worker.measured.drift["purchase"] = Drift(mean=0.25, samples=40, alarms=2, before=0.125, alarm_ms=NOW_MS)
    assert value(server, "streamer_drift_alarms_total", stream="purchase") == 2
    assert value(server, "streamer_drift_mean_ratio", stream="purchase") == 0.25
    assert value(server, "streamer_drift_before_ratio", stream="purchase") == 0.125
    assert value(server, "streamer_drift_alarm_timestamp_seconds", stream="purchase") == NOW_MS / 1_000
    assert value(server, "streamer_drift_mean_ratio", stream="click") is None


def test_the_process_shows_its_own_numbers(server: HealthServer) -> None:
    assert (value(server, "process_resident_memory_bytes") or 0) > 0


def test_counters_of_the_state_come_from_the_status_and_are_absent_on_a_standby(server: HealthServer, worker: Worker) -> None:
    assert value(server, "streamer_events_applied_total", type="click") == 3
    assert value(server, "streamer_events_late_total") == 2
    worker.status = STANDBY
    assert value(server, "streamer_events_applied_total", type="click") is None
    assert value(server, "streamer_events_late_total") is None
    assert value(server, "streamer_role", role="standby") == 1
    assert value(server, "streamer_role", role="owner") == 0


def test_lag_has_topic_and_partition(server: HealthServer) -> None:
    assert value(server, "streamer_lag_records", topic="events", partition="0") == 4


def test_histograms_are_cumulative_and_end_with_all(server: HealthServer, worker: Worker) -> None:
    worker.measured.freshness.observe(np.array([0.004, 0.03, 700.0]))
    assert value(server, "streamer_freshness_seconds_bucket", le="0.005") == 1
    assert value(server, "streamer_freshness_seconds_bucket", le="0.05") == 2
    assert value(server, "streamer_freshness_seconds_bucket", le="600.0") == 2
    assert value(server, "streamer_freshness_seconds_bucket", le="+Inf") == 3
    assert value(server, "streamer_freshness_seconds_count") == 3
    assert value(server, "streamer_freshness_seconds_sum") == pytest.approx(700.034)


def test_ages_are_measured_from_now_and_absent_before_the_first(server: HealthServer, worker: Worker) -> None:
    assert value(server, "streamer_snapshot_age_seconds") is None
    assert value(server, "streamer_event_time_lag_seconds") is None
    worker.measured.snapshot_ms = NOW_MS - 1_500
    worker.measured.event_time_ms = NOW_MS - 60_000
    assert value(server, "streamer_snapshot_age_seconds") == 1.5
    assert value(server, "streamer_event_time_lag_seconds") == 60


def test_quality_is_a_share_of_what_was_judged_and_absent_where_nothing_was(server: HealthServer, worker: Worker) -> None:
    assert value(server, "streamer_served_hit_ratio") is None
    worker.measured.quality = {
        "live": {"judged": 8.0, "hits": 4.0, "ndcg": 2.0, "mrr": 1.0, "recent_ndcg": 0.3 * (1 - 0.999**8)},
        "fixed": {"judged": 0.0, "hits": 0.0, "ndcg": 0.0, "mrr": 0.0, "recent_ndcg": 0.0},
    }
    worker.measured.served = {"arrived": 10.0, "judged": 8.0, "hits": 2.0, "ndcg": 1.0}
    assert value(server, "streamer_quality_hit_ratio", method="live") == 0.5
    assert value(server, "streamer_quality_ndcg_ratio", method="live") == 0.25
    assert value(server, "streamer_quality_recent_ndcg_ratio", method="live") == pytest.approx(0.3)
    assert value(server, "streamer_quality_recent_ndcg_ratio", method="fixed") is None
    assert value(server, "streamer_quality_hit_ratio", method="fixed") is None
    assert value(server, "streamer_served_judged_ratio") == 0.8
    assert value(server, "streamer_served_hit_ratio") == 0.25


def test_exposure_names_the_largest_and_counts_all_others_together(server: HealthServer, worker: Worker) -> None:
    assert value(server, "streamer_exposure_gini_ratio", kind="provider") is None
    exposure_N = np.arange(1, 31).astype(float)
    worker.measured.shares = {"provider": shares(lambda n: "other" if n == 29 else f'p"{n}', exposure_N, exposure_N)}
    found = {labels: number for (name, labels), number in samples(server).items() if name == "streamer_exposure_ratio"}
    assert len(found) == NAMED_MAX
    assert sum(found.values()) == pytest.approx(1.0)
    assert value(server, "streamer_exposure_ratio", kind="provider", name='p"28') == pytest.approx(29 / exposure_N.sum())
    assert value(server, "streamer_exposure_ratio", kind="provider", name="other") == pytest.approx(
        1 - sum(range(21, 30)) / exposure_N.sum()
    )
    assert value(server, "streamer_exposure_gini_ratio", kind="provider") == pytest.approx(gini(exposure_N))
    assert value(server, "streamer_exposure_catalogue_gini_ratio", kind="provider") == pytest.approx(0, abs=1e-9)
    assert value(server, "streamer_exposure_names", kind="provider") == 30
    worker.measured.shares = {"category": shares("ab".__getitem__, np.zeros(2), np.ones(2))}
    assert value(server, "streamer_exposure_ratio", kind="category", name="other") == 0
    assert value(server, "streamer_exposure_names_shown", kind="category") == 0


def test_labels_with_a_closed_set_of_values_are_there_from_the_start(server: HealthServer, worker: Worker) -> None:
    worker.measured.rejected["invalid_json"] = 7
    worker.measured.table_bytes["users"] = 4_096
    for reason in RejectReason:
        assert value(server, "streamer_dead_letters_total", reason=reason) == (7 if reason == "invalid_json" else 0)
    for stage in STAGES:
        assert value(server, "streamer_stage_seconds_total", stage=stage) == 0
    assert value(server, "streamer_table_bytes", table="users") == 4_096


def test_an_encoder_worker_has_a_page_of_its_own() -> None:
    counters = EncoderCounters(encoded=3, encode_seconds=0.5)
    counters.backlog.lag, counters.backlog.append_ms = {"items": {"0": 4, "1": 0}}, NOW_MS - 2_000
    collector = EncoderCollector(lambda: counters, namespace="shop", now_ms=lambda: NOW_MS)
    with contextlib.closing(HealthServer("127.0.0.1", 0, status=lambda: STANDBY, collector=collector)) as server:
        assert value(server, "streamer_encoder_encoded_total") == 3
        assert value(server, "streamer_encoder_seconds_total") == 0.5
        assert value(server, "streamer_encoder_lag_records", partition="0") == 4
        assert value(server, "streamer_encoder_lag_seconds") == 2
        assert value(server, "streamer_build_info", version=__version__, namespace="shop") == 1
        assert value(server, "streamer_users") is None


def test_the_page_of_all_metrics_is_up_to_date(tmp_path: Path) -> None:
    metrics.write(tmp_path / "docs" / "metrics.md")
    assert (tmp_path / "docs" / "metrics.md").read_text(encoding="utf-8") == metrics.text()
    assert PAGE.read_text(encoding="utf-8") == metrics.text(), "run: python -m consumers.metrics"
