"""The console's history: rows out of readings, at three spans, in bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consumers.console.families import FAMILIES, family_of, summed
from consumers.console.history import RECENT_JUDGED, SPANS, History, Reading, RecentlyServed, recent_ndcg
from consumers.measurements import BUCKETS_S
from streamer.ranking.scratch import REASON_NAMES, TERMS

T0 = 1_795_485_458_000
NOTHING = Reading(
    at_ms=T0,
    applied=0,
    dead=0,
    freshness_B=np.zeros(len(BUCKETS_S) + 1, np.int64),
    lag=0,
    unpublished=0,
    event_time_ms=0,
    quality={},
    served={},
    term_T=np.zeros(0),
    weights={},
    snapshot_ms=0,
)


def after(seconds: float, **changed: object) -> Reading:
    return replace(NOTHING, at_ms=T0 + int(1_000 * seconds), **changed)


def row_between(before: Reading, now: Reading) -> dict:
    history = History(FAMILIES)
    history.add(before)
    history.add(now)
    return history.newest()


def test_a_row_tells_what_happened_between_two_readings():
    counts = NOTHING.freshness_B.copy()
    counts[3] = 10  # 25 to 50 ms
    given = np.zeros(len(REASON_NAMES))
    given[REASON_NAMES.index("co_visit")], given[REASON_NAMES.index("trend_10")] = 3.0, 1.0
    row = row_between(NOTHING, after(2, applied=500, dead=4, freshness_B=counts, lag=7, term_T=given))
    assert (row["events_per_s"], row["dead_per_s"], row["lag"]) == (250.0, 2.0, 7)
    assert 0.025 <= row["fresh_half_s"] <= row["fresh_most_s"] <= 0.05
    assert row["made_of"] == {"seen together": 0.75, "popularity and trends": 0.25}


def test_what_was_not_measured_is_nothing_and_not_zero():
    row = row_between(after(0, applied=None, lag=None, unpublished=None), after(1, applied=None, lag=None, unpublished=None))
    assert row["events_per_s"] is row["fresh_half_s"] is row["live"] is row["served"] is row["lag"] is None
    assert row["made_of"] == {}


def test_a_state_that_went_back_is_no_negative_rate():
    assert row_between(after(0, applied=900), after(1, applied=100))["events_per_s"] is None


def test_spans_keep_their_steps_and_no_more_rows_than_they_may():
    history = History(FAMILIES)
    for second in range(4_000):
        history.add(after(second, applied=10 * second))
    short, middle, long = (history.rows(span.name) for span in SPANS)
    assert (len(short), len(middle), len(long)) == (600, 266, 22)
    assert {row["events_per_s"] for row in short + middle + long} == {10.0}
    assert middle[1]["at_ms"] - middle[0]["at_ms"] == 15_000
    with pytest.raises(KeyError):
        history.rows("a year")


def test_memory_is_bounded_whatever_the_spans():
    assert sum(span.rows for span in SPANS) <= 2_000


def test_the_recent_figure_is_a_mean_from_the_first_on():
    ndcg = recent = 0.0
    for n in range(1, 50):
        ndcg += 0.3
        recent = 0.999 * recent + 0.001 * 0.3
        assert recent_ndcg({"judged": float(n), "ndcg": ndcg, "recent_ndcg": recent}) == pytest.approx(0.3)
    assert recent_ndcg({}) is None


def test_lists_as_served_are_judged_by_the_last_ones():
    served = RecentlyServed()
    assert served.add(0.0, 0.0) is None
    total = 0.0
    for judged in range(10, 6_010, 10):
        total += 10 * (0.1 if judged <= 3_000 else 0.4)
        found = served.add(float(judged), total)
    assert found == pytest.approx(0.4)
    assert len(served._points) <= RECENT_JUDGED
    assert served.add(5.0, 1.0) == pytest.approx(0.2)  # another state, which knows less


def test_every_term_of_today_has_a_family_and_one_of_tomorrow_stands_for_itself():
    assert all(family_of(term) != term for term in REASON_NAMES if term not in {"text", "image"})
    assert family_of("sound") == "sound"
    assert sum(summed([1.0] * len(TERMS)).values()) == pytest.approx(len(TERMS))
