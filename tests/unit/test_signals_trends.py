"""Trends beside sums over everything that ever happened."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ReferenceTrends

from streamer.signals.trends import (
    FOR_EVER,
    HALF_LIVES,
    RATES,
    TOP,
    count_trend,
    counted_ahead,
    new_trends,
    reserve_trends,
    trends_in,
    trends_out,
)

ITEMS = 400
NEAR_TIE = 1e-4
"""In log2: values are float32, so items this near may change places."""


def both(events):
    trends, reference = reserve_trends(new_trends(1), ITEMS), ReferenceTrends()
    for item, weight in events:
        count_trend(trends, item, weight)
        reference.count(item, weight)
    return trends, reference


def values_now(trends, half):
    age_I = trends.tick[0] - trends.tick_I
    return trends.value_IH[:, half] * 2.0 ** (-age_I * RATES[half])


@settings(deadline=None)
@given(events=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.5, 1.0, 3.0])), max_size=80))
def test_values_are_the_decayed_sums_of_what_happened(events):
    trends, reference = both(events)
    for half in range(len(HALF_LIVES)):
        expected = reference.values(half)
        found = {item: values_now(trends, half)[item] for item in expected}
        assert found == pytest.approx(dict(expected), rel=1e-4)
    assert trends.tick[0] == len(events)


@settings(deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.5, 1.0, 3.0])), max_size=20),
    ahead=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.5, 1.0, 3.0])), max_size=5),
)
def test_what_is_counted_ahead_is_there_within_and_leaves_no_trace(events, ahead):
    trends, expected = both(events)[0], both(events + ahead)[0]
    before = [array.copy() for array in trends]
    items, weights = np.array([item for item, _ in ahead], np.int64), np.array([weight for _, weight in ahead], np.float32)
    with counted_ahead(trends, items, weights):
        assert all(np.array_equal(*pair) for pair in zip(trends, expected, strict=True))
    assert all(np.array_equal(*pair) for pair in zip(trends, before, strict=True))


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32), skew=st.sampled_from([1.0, 3.0]))
def test_the_top_lists_are_exact_over_all_items(seed, skew):
    rng = random.Random(seed)
    events = [(int(ITEMS * rng.random() ** skew), rng.choice([1.0, 2.0, 3.0])) for _ in range(1_500)]
    trends, reference = both(events)
    for half in range(len(HALF_LIVES)):
        value = reference.values(half)
        length = int(trends.length_H[half])
        top_T, key_T = trends.top_HT[half, :length].tolist(), trends.key_HT[half, :length]
        assert len(set(top_T)) == length == min(TOP, len(value))
        assert (np.diff(key_T) <= 0).all()
        last_tick = {item: n + 1 for n, (item, _) in enumerate(events)}
        exact = {item: key_of(events, item, last_tick[item], half) for item in value}
        assert key_T.tolist() == pytest.approx([exact[item] for item in top_T], abs=NEAR_TIE)
        outside = [key for item, key in exact.items() if item not in set(top_T)]
        assert max(outside, default=-np.inf) <= key_T[-1] + NEAR_TIE


def key_of(events, item, tick, half):
    """log2(value) + tick / half-life at the item's last touch, which does not change while nothing happens to it."""
    ages = [(tick - n - 1, weight) for n, (other, weight) in enumerate(events) if other == item]
    value = sum(weight * 2.0 ** (-age * RATES[half]) for age, weight in ages)
    return np.log2(value) + tick * RATES[half]


def test_popularity_for_ever_counts_and_never_fades():
    trends, _ = both([(3, 1.0)] * 50 + [(5, 1.0)] * 49)
    assert trends.top_HT[FOR_EVER, :2].tolist() == [3, 5]
    assert values_now(trends, FOR_EVER)[[3, 5]].tolist() == [50.0, 49.0]


def test_a_restored_table_goes_on_alike():
    rng = random.Random(4)
    events = [(int(ITEMS * rng.random() ** 2), 1.0) for _ in range(600)]
    trends, _ = both(events)
    again = trends_in({name: table.copy() for name, table in trends_out(trends, ITEMS).items()}, ITEMS)
    for item, weight in events:
        count_trend(trends, item, weight)
        count_trend(again, item, weight)
    ours, theirs = trends_out(trends, ITEMS), trends_out(again, ITEMS)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
