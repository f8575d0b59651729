"""Trends beside sums over everything that ever happened, and beside what each user may hold of an item."""

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
    SOON,
    TICK_MASK,
    TOP,
    count_trend,
    new_trends,
    reserve_trends,
    trends_in,
    trends_out,
    unchanged_after,
)

ITEMS = 400
NEAR_TIE = 1e-4
"""In log2: values are float32, so items this near may change places."""


WEIGHTS = st.sampled_from([0.5, 1.0, 3.0])
EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), WEIGHTS), max_size=80)
"""Of few users and few items, so that most pairs come again."""


class Counted:
    """Trends with what users' histories would keep of each pair."""

    def __init__(self):
        self.trends, self.held = reserve_trends(new_trends(1), ITEMS), {}

    def count(self, user, item, weight):
        held, touched = self.held.get((user, item), (0.0, 0))
        now = count_trend(self.trends, item, weight, held, touched)
        self.held[user, item] = (max(held, weight), now & TICK_MASK)

    def values(self, half):
        return values_now(self.trends, half)


def both(events):
    counted, reference = Counted(), ReferenceTrends()
    for user, item, weight in events:
        counted.count(user, item, weight)
        reference.count(user, item, weight)
    return counted.trends, reference


def of_strangers(events):
    """Each of another user."""
    return [(n, item, weight) for n, (item, weight) in enumerate(events)]


def values_now(trends, half):
    age_I = trends.tick[0] - trends.tick_I
    return trends.value_IH[:, half] * 2.0 ** (-age_I * RATES[half])


@settings(deadline=None)
@given(events=EVENTS)
def test_values_are_the_decayed_sums_of_what_happened(events):
    trends, reference = both(events)
    for half in range(len(HALF_LIVES)):
        expected = reference.values(half)
        found = {item: values_now(trends, half)[item] for item in expected}
        assert found == pytest.approx(dict(expected), rel=1e-4)
    assert trends.tick[0] == reference.clock


@settings(deadline=None)
@given(events=EVENTS)
def test_a_user_holds_at_most_his_weightiest_interaction_with_an_item_aged_since_his_last(events):
    trends, reference = both(events)
    alike = both([(user, item, 1.0) for user, item, _ in events])[0]
    for half in range(len(HALF_LIVES)):
        bound, whole = np.zeros(ITEMS), np.zeros(ITEMS)
        for (_, item), (held, touched) in reference.held.items():
            share = 2.0 ** (-(reference.clock - touched) * RATES[half])
            bound[item] += held * share
            whole[item] += share
        assert (values_now(trends, half) <= bound * (1 + 1e-4) + 1e-6).all()
        assert values_now(alike, half) == pytest.approx(whole, rel=1e-4)


@settings(deadline=None)
@given(events=EVENTS, gap=st.integers(0, 40), times=st.integers(1, 60))
def test_one_user_who_repeats_one_item_lifts_it_no_more_than_choosing_it_once(events, gap, times):
    #   u u u … among the choices of strangers, beside: a single u, as late as his last
    once, often = Counted(), Counted()
    for user, item, weight in events:
        once.count(user, item, weight)
        often.count(user, item, weight)
    for n in range(times):
        for stranger in range(gap):
            once.count(("s", n, stranger), 300 + stranger % 5, 1.0)
            often.count(("s", n, stranger), 300 + stranger % 5, 1.0)
        often.count("u", 7, 1.0)
    once.count("u", 7, 1.0)
    for half in range(len(HALF_LIVES)):
        assert often.values(half)[7] <= once.values(half)[7] * (1 + 1e-4)


def test_a_thousand_repeats_at_once_leave_all_as_one_does():
    counted = Counted()
    for n in range(50):
        counted.count(n, n % 9, 1.0)
    counted.count("u", 7, 1.0)
    before = [array.copy() for array in counted.trends]
    for _ in range(1_000):
        counted.count("u", 7, 1.0)
    assert all(np.array_equal(*pair) for pair in zip(counted.trends, before, strict=True))


def test_two_users_count_twice_and_a_later_stage_adds_the_difference_once():
    counted = Counted()
    for user, weight in [("u", 1.0), ("w", 1.0), ("u", 3.0), ("u", 3.0), ("u", 1.0), ("u", 2.0)]:
        counted.count(user, 5, weight)
    assert counted.values(FOR_EVER)[5] == 4.0


@pytest.mark.parametrize("half", range(FOR_EVER))
def test_after_a_half_life_of_other_traffic_a_repeat_fills_up_the_half_that_faded(half):
    counted, half_life = Counted(), int(HALF_LIVES[half])
    counted.count("u", 5, 1.0)
    for n in range(half_life - 1):
        counted.count(n, 6, 1.0)
    counted.count("u", 5, 1.0)  # the half-life-th since
    assert counted.values(half)[5] == pytest.approx(1.0, rel=1e-5)
    assert counted.values(FOR_EVER)[5] == 1.0


def test_who_comes_again_at_once_moves_no_clock_and_between_others_at_most_every_third():
    counted = Counted()
    for n in range(3_000):
        counted.count(("s", n), n % 9, 1.0)
        counted.count("u", 10, 1.0)
    assert 3_000 < counted.trends.tick[0] <= 3_000 * (1 + 1 / SOON) + 1


def test_the_clock_may_pass_what_a_history_keeps_of_it():
    counted = Counted()
    counted.trends.tick[0] = TICK_MASK - 5
    counted.count("u", 5, 1.0)
    for n in range(9):
        counted.count(n, 6, 1.0)
    counted.count("u", 5, 1.0)
    assert counted.trends.tick[0] == TICK_MASK + 6
    assert counted.values(1)[5] == pytest.approx(1.0, rel=1e-5)
    assert counted.values(FOR_EVER)[5] == 1.0


@settings(deadline=None)
@given(events=EVENTS, ahead=EVENTS)
def test_what_is_counted_for_a_look_leaves_no_trace(events, ahead):
    trends = both(events)[0]
    before = [array.copy() for array in trends]
    with unchanged_after(trends, np.array([item for _, item, _ in ahead], np.int64)):
        for _, item, weight in ahead:
            count_trend(trends, item, weight, 0.0, 0)
        assert trends.tick[0] == before[0][0] + len(ahead)
    assert all(np.array_equal(*pair) for pair in zip(trends, before, strict=True))


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32), skew=st.sampled_from([1.0, 3.0]))
def test_the_top_lists_are_exact_over_all_items(seed, skew):
    rng = random.Random(seed)
    events = [(int(ITEMS * rng.random() ** skew), rng.choice([1.0, 2.0, 3.0])) for _ in range(1_500)]
    trends, reference = both(of_strangers(events))
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
    trends, _ = both(of_strangers([(3, 1.0)] * 50 + [(5, 1.0)] * 49))
    assert trends.top_HT[FOR_EVER, :2].tolist() == [3, 5]
    assert values_now(trends, FOR_EVER)[[3, 5]].tolist() == [50.0, 49.0]


def test_a_restored_table_goes_on_alike():
    rng = random.Random(4)
    events = [(int(ITEMS * rng.random() ** 2), 1.0) for _ in range(600)]
    trends, _ = both(of_strangers(events))
    again = trends_in({name: table.copy() for name, table in trends_out(trends, ITEMS).items()}, ITEMS)
    for item, weight in events:
        count_trend(trends, item, weight, 0.0, 0)
        count_trend(again, item, weight, 0.0, 0)
    ours, theirs = trends_out(trends, ITEMS), trends_out(again, ITEMS)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
