"""Metrics, breakdowns and intervals against values worked out by hand and simple references."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.cli import backtest as command
from streamer.evaluate import figures, methods, metrics, plots, report, stream, svg, verdict
from streamer.evaluate.figures import Targets, before_group, breakdown, intervals, means, over_time, resampled, values_of


@pytest.mark.parametrize("module", [figures, metrics, plots, report, stream, svg, verdict])
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


def test_the_command_and_the_room_name_the_same_methods():
    assert command.METHODS == methods.METHODS
    assert set(report.ABOUT) == {*methods.METHODS, methods.TOWERS}


def targets(events, users, *, user_T=None, event_T=None):
    event_T = np.arange(events) if event_T is None else np.array(event_T)
    user_T = np.zeros(len(event_T), np.int32) if user_T is None else np.array(user_T, np.int32)
    zeros_T = np.zeros(len(event_T), np.int64)
    return Targets(np.arange(len(event_T)), event_T, user_T, zeros_T > 0, zeros_T, zeros_T, events, users)


def test_a_list_is_worth_what_the_place_of_its_target_says():
    value_TQ = values_of(np.array([1.0, 2.0, 10.5, 20.0, np.inf]))
    assert value_TQ[:, 0].tolist() == [1, 1, 0, 0, 0]
    assert value_TQ[:, 1] == pytest.approx([1, 1 / np.log2(3), 0, 0, 0])
    assert value_TQ[:, 2] == pytest.approx([1, 1 / 2, 1 / 10.5, 1 / 20, 0])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 29))
def test_a_tie_counts_at_its_middle(scores, place):
    score_K = -np.sort(-np.array(scores, np.float64))
    place %= len(score_K)
    ranks = [n + 1 for n, score in enumerate(score_K) if score == score_K[place]]
    assert metrics.mid_rank(score_K, place) == sum(ranks) / len(ranks)


def test_a_window_begins_at_its_share_of_the_events():
    assert np.flatnonzero(targets(20, 1).window("10-100")).tolist() == list(range(2, 20))
    assert np.flatnonzero(targets(10, 1).window("30-100")).tolist() == list(range(3, 10))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_what_was_before_a_group_is_counted_as_a_plain_loop_does(steps):
    code_T = np.array([code for code, _ in steps], np.int32)
    group_T = np.cumsum([opens for _, opens in steps]).astype(np.int64)
    expected = [sum(code_T[k] == code_T[n] and group_T[k] < group_T[n] for k in range(n)) for n in range(len(steps))]
    assert before_group(code_T, group_T).tolist() == expected


def test_classes_hold_what_their_names_say():
    value_TQ = values_of(np.ones(9))
    of_T = np.array([0, 1, 2, 4, 5, 9, 10, 20, 500])
    found = breakdown(value_TQ, np.ones(9, np.bool_), of_T, figures.HISTORY_EDGES, figures.HISTORY_NAMES)
    assert [found[name]["targets"] for name in figures.HISTORY_NAMES] == [1, 1, 2, 2, 1, 2]
    found = breakdown(value_TQ, np.ones(9, np.bool_), of_T, figures.AGE_EDGES, figures.AGE_NAMES)
    assert [found[name]["targets"] for name in figures.AGE_NAMES] == [1, 4, 3, 0, 1]


def test_nothing_to_judge_has_no_mean():
    assert means(np.zeros((3, 3)), np.zeros(3, np.bool_)) == {"hr@10": None, "ndcg@10": None, "mrr": None, "targets": 0}


def test_quality_over_time_is_the_mean_of_each_part():
    rank_T = np.where(np.arange(100) % 2 == 0, 1.0, np.inf)
    found = over_time(values_of(rank_T), targets(100, 1))
    assert found["hr@10"] == [0.5] * figures.BINS
    assert over_time(values_of(np.ones(1)), targets(100, 1, event_T=[99]))["mrr"] == [None] * 49 + [1.0]


def test_resampling_is_what_a_plain_loop_over_drawn_users_gives():
    rng = np.random.default_rng(5)
    sum_UC, count_U = rng.random((7, 2)), rng.integers(1, 9, 7).astype(np.float64)
    found_SC = resampled(sum_UC, count_U, seed=11, resamples=20)
    drawn = np.random.default_rng(11)
    for n in range(20):
        users = drawn.integers(0, 7, 7).tolist()
        expected_C = sum(sum_UC[user] for user in users) / sum(count_U[user] for user in users)
        assert found_SC[n] == pytest.approx(expected_C)


def test_a_method_that_is_always_better_is_surely_better_and_twins_differ_by_nothing():
    user_T = np.repeat(np.arange(20), 10)
    known = targets(200, 20, user_T=user_T)
    good, bad = values_of(np.ones(200)), values_of(np.full(200, 4.0))
    found = intervals({"streamer": good, "twin": good, "worse": bad}, known, "10-100", seed=1)
    assert found["twin"]["ndcg@10"]["difference_interval"] == [0, 0]
    assert found["worse"]["mrr"]["difference_interval"] == pytest.approx([0.75, 0.75])
    assert found["streamer"]["hr@10"]["interval"] == pytest.approx([1, 1])


def test_an_interval_is_wider_where_few_users_decide():
    rng = np.random.default_rng(3)
    luck_U = rng.random(500) < 0.5
    many = targets(5_000, 500, user_T=np.repeat(np.arange(500), 10))
    rank_T = np.where(np.repeat(luck_U, 10), 1.0, np.inf)
    by_user = intervals({"streamer": values_of(rank_T)}, many, "10-100", seed=1)["streamer"]["hr@10"]["interval"]
    alone = targets(5_000, 5_000, user_T=np.arange(5_000))
    by_event = intervals({"streamer": values_of(rank_T)}, alone, "10-100", seed=1)["streamer"]["hr@10"]["interval"]
    assert by_user[1] - by_user[0] > 2 * (by_event[1] - by_event[0])
