"""What the console says of a line: the worst first, in words, with what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumers.console.verdict import Sight, quality_words, verdict
from consumers.drift import Drift
from consumers.measurements import Measurements
from streamer.config.tree import Config
from streamer.ports import OwnerStatus

NOW_MS = 1_795_485_458_344
COUNTERS: dict[str, object] = {"applied": {"click": 100}, "lost": 0}
OWNER = OwnerStatus("owner", "shop", NOW_MS, 3, COUNTERS, {}, "s", lag={"events": {"0": 3}})
ROW = {"at_ms": NOW_MS, "events_per_s": 100.0, "dead_per_s": 0.0, "fresh_half_s": 0.04, "fresh_most_s": 0.2}
FRESH_S = (0.04, 0.2)


def sums(recent: float, judged: float = 10_000.0) -> dict[str, float]:
    return {"judged": judged, "hits": 0.4 * judged, "ndcg": recent * judged, "recent_ndcg": recent * (1 - 0.999**judged)}


def healthy() -> Measurements:
    measured = Measurements(snapshot_ms=NOW_MS - 9_000, lists_written_ms=NOW_MS - 50)
    measured.quality = {"live": sums(0.25), "fixed": sums(0.2), "popularity": sums(0.1)}
    return measured


def seen(
    measured: Measurements,
    status: OwnerStatus = OWNER,
    row: dict | None = None,
    since_ms: int = NOW_MS - 60_000,
    fresh_s: tuple[float, float] | None = FRESH_S,
):
    return verdict(Sight(status, measured, Config(), [row or ROW] * 60, NOW_MS, since_ms, fresh_s))


def test_a_healthy_line_says_how_fresh_and_how_good_it_is():
    found = seen(healthy())
    assert (found.level, found.title, found.findings) == ("good", "All is well", [])
    assert "Lists follow an event in 0.040 s, 99 % of them in 0.200 s, within the last minute." in found.text
    assert "Learning helps: NDCG@10 is 0.250, 150 % above popularity (0.100) and 25 % above counting (0.200)" in found.text


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        (
            {"store_fault": "Connection refused.", "store_fault_ms": NOW_MS - 42_000},
            "bad",
            "no lists for 42 s: Connection refused",
        ),
        ({"log_fault": "no broker"}, "bad", "The log does not answer as it should: no broker"),
        ({"frozen": {"by": "operator", "name": "ada", "reason": "drift"}}, "warn", "Learning is frozen by ada: drift."),
        ({"frozen": {"by": "skipped blocks"}}, "bad", "Learning has frozen itself"),
        ({"falls_back": True}, "warn", "Lists come from the fixed weights"),
        ({"quality": {"live": sums(0.1), "fixed": sums(0.2)}}, "warn", "worse than the same signals with fixed weights"),
        ({"quality": {"live": sums(0.1), "popularity": sums(0.2)}}, "warn", "worse than plain popularity"),
        ({"snapshot_ms": NOW_MS - 900_000}, "warn", "The last snapshot is 15 min old"),
    ],
)
def test_what_is_wrong_is_told(change: dict, level: str, words: str):
    found = seen(replace(healthy(), **change))
    assert found.level == level
    assert words in found.findings[0].what
    assert found.findings[0].todo


def test_many_rejected_records_are_told():
    found = seen(healthy(), row=ROW | {"dead_per_s": 50.0})
    assert (found.level, len(found.findings)) == ("warn", 1)
    assert "33 % of the records of the last minute were rejected" in found.findings[0].what


@pytest.mark.parametrize(
    ("most_s", "level", "words"),
    [(3.0, "warn", "lists came up to 3.0 s after their event"), (44.0, "bad", "lists came 10 to 60 s after")],
)
def test_lists_behind_their_events_are_told(most_s: float, level: str, words: str):
    found = seen(healthy(), fresh_s=(0.1, most_s))
    assert (found.level, len(found.findings)) == (level, 1)
    assert words in found.findings[0].what


def test_while_the_store_is_away_its_lists_age_and_that_is_all_that_is_told():
    away = replace(healthy(), store_fault="away", store_fault_ms=NOW_MS - 9_000, lists_written_ms=NOW_MS - 9_000)
    found = seen(away, fresh_s=(0.1, 44.0))
    assert "Lists were last written 9.0 s ago: readers get those." in found.text
    assert len(found.findings) == 1


def test_a_worker_that_catches_up_says_so_and_not_that_lists_are_late():
    behind = replace(OWNER, lag={"events": {"0": 50_000, "1": 10_000}})
    found = seen(healthy(), behind, fresh_s=(100.0, 500.0))
    assert [one.what for one in found.findings] == ["It is 60,000 records behind the log, about 10 min at the present rate."]


def test_lost_events_are_told_for_the_life_of_the_state():
    found = seen(healthy(), replace(OWNER, counters={**COUNTERS, "lost": 7}))
    assert "7 events were removed" in found.findings[0].what


def test_the_worst_stands_first():
    found = seen(replace(healthy(), falls_back=True, store_fault="away", store_fault_ms=NOW_MS))
    assert [one.level for one in found.findings] == ["bad", "warn"]


def test_a_quiet_stream_is_well_and_says_since_when():
    found = seen(replace(healthy(), lists_written_ms=NOW_MS - 7_200_000), row=ROW | {"events_per_s": 0.0}, fresh_s=None)
    assert found.level == "good"
    assert "No events within the last minute; lists were last written 2.0 h ago." in found.text


def test_too_little_judged_is_no_verdict_on_learning():
    measured = Measurements(quality={"live": sums(0.01, judged=100.0), "fixed": sums(0.3, judged=100.0)})
    assert "Too little is judged" in quality_words(measured)
    assert seen(measured).findings == []


@pytest.mark.parametrize(
    ("role", "fault", "level", "title"),
    [
        ("standby", None, "note", "Standing by"),
        ("standby", "no broker", "bad", "Standing by"),
        ("restoring", None, "note", "Restoring its state, for 5 s"),
        ("starting", None, "note", "Starting"),
        ("starting", "topic events is missing: run `streamer topics create`", "bad", "It cannot start yet"),
    ],
)
def test_a_worker_without_state_says_what_it_does(role: str, fault: str | None, level: str, title: str):
    status = replace(OWNER, role=role, epoch=None, counters=None)
    found = seen(Measurements(log_fault=fault), status, since_ms=NOW_MS - 5_000)
    assert (found.level, found.title) == (level, title)
    assert fault is None or fault in found.findings[0].what


def test_a_start_that_lasts_is_noticed():
    found = seen(Measurements(), replace(OWNER, role="starting"), since_ms=NOW_MS - 90_000)
    assert "starting for 90 s" in found.findings[0].what


def test_drift_is_told_for_an_hour_and_is_no_fault_of_the_line():
    drift = Drift(mean=0.2, samples=40, alarms=1, before=0.05, alarm_ms=NOW_MS - 120_000)
    found = seen(replace(healthy(), drift={"purchase": drift, "click": replace(drift, alarm_ms=None)}))
    assert (found.level, found.title) == ("good", "All is well")
    assert [one.what for one in found.findings] == ["120 s ago the share of purchases among events went from 0.050 to 0.200."]
    assert seen(replace(healthy(), drift={"purchase": replace(drift, alarm_ms=NOW_MS - 7_200_000)})).findings == []
