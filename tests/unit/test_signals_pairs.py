"""Pair counts beside a dict of dicts; what holds when rows are full."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ReferencePairs
from reference import count_pairs as count_pairs_readably

from streamer.signals.pairs import (
    CONTEXT,
    SCALE_MAX,
    count_pairs,
    new_pairs,
    pairs_in,
    pairs_out,
    places_for_one,
    reserve_pairs,
)

ITEMS = 14
STREAM = st.lists(st.tuples(st.integers(0, ITEMS - 1), st.sampled_from([1.0, 2.0, 3.0])), max_size=100)


def row_of(pairs, row):
    """(item, near, wide) of a row in its order, in the row's own scale."""
    start, length = int(pairs.rows.start_R[row]), int(pairs.rows.length_R[row])
    place = slice(start, start + length)
    return pairs.item_P[place], pairs.near_P[place] / pairs.scale_I[row], pairs.wide_P[place] / pairs.scale_I[row]


def counted(stream, neighbours_max, *, first_scale=1.0, restore_at=-1):
    forward, reverse = new_pairs(ITEMS), new_pairs(ITEMS)
    forward.scale_I[:] = reverse.scale_I[:] = first_scale
    context = []
    for n, (item, weight) in enumerate(stream):
        if n == restore_at:
            forward, reverse = (
                pairs_in({k: v.copy() for k, v in pairs_out(p, "p", ITEMS).items()}, "p", ITEMS) for p in (forward, reverse)
            )
        forward = reserve_pairs(forward, ITEMS, places_for_one(neighbours_max))
        reverse = reserve_pairs(reverse, ITEMS, places_for_one(neighbours_max))
        window = np.array((context + [0] * CONTEXT)[:CONTEXT], np.int32)
        count_pairs(forward, reverse, window, min(len(context), CONTEXT), item, weight, neighbours_max)
        context.insert(0, item)
    return forward, reverse


def readably_counted(stream):
    forward, reverse = ReferencePairs(), ReferencePairs()
    context = []
    for item, weight in stream:
        count_pairs_readably(forward, reverse, context, item, weight)
        context.insert(0, item)
    return forward, reverse


@settings(deadline=None)
@given(stream=STREAM, first_scale=st.sampled_from([1.0, SCALE_MAX * 0.99]), restore_at=st.integers(0, 100))
def test_rows_that_never_fill_count_every_pair(stream, first_scale, restore_at):
    found = counted(stream, 256, first_scale=first_scale, restore_at=restore_at)
    for pairs, reference in zip(found, readably_counted(stream), strict=True):
        for row in range(ITEMS):
            item_P, near_P, wide_P = row_of(pairs, row)
            assert dict(zip(item_P.tolist(), wide_P.tolist(), strict=True)) == pytest.approx(reference.wide[row], rel=1e-4)
            assert dict(zip(item_P.tolist(), near_P.tolist(), strict=True)) == pytest.approx(
                reference.near[row], rel=1e-4, abs=1e-6
            )
            assert pairs.wide_total_I[row] / pairs.scale_I[row] == pytest.approx(sum(reference.wide[row].values()), rel=1e-4)
            assert pairs.near_total_I[row] / pairs.scale_I[row] == pytest.approx(sum(reference.near[row].values()), rel=1e-4)
            assert pairs.scale_I[row] <= SCALE_MAX


@settings(deadline=None)
@given(stream=STREAM, neighbours_max=st.integers(1, 6))
def test_full_rows_stay_bounded_distinct_and_strongest_first_and_their_totals_count_all(stream, neighbours_max):
    for pairs, reference in zip(counted(stream, neighbours_max), readably_counted(stream), strict=True):
        for row in range(ITEMS):
            item_P, near_P, wide_P = row_of(pairs, row)
            assert len(item_P) == min(neighbours_max, len(reference.wide[row]))
            assert len(set(item_P.tolist())) == len(item_P)
            assert row not in item_P
            assert (np.diff(wide_P) <= 0).all()
            assert (near_P <= wide_P * (1 + 1e-5)).all()
            assert wide_P.sum() <= sum(reference.wide[row].values()) * (1 + 1e-4)
            assert pairs.wide_total_I[row] / pairs.scale_I[row] == pytest.approx(sum(reference.wide[row].values()), rel=1e-4)


def test_a_new_pair_takes_the_last_place_of_a_full_row_and_half_of_its_count():
    #        row of 0 after 1, 2: [1: 3.0, 2: 1.0]; then 3 comes with 1.0: [1: 3.0, 3: 1.0 / 2 + 1.0]
    forward, reverse = new_pairs(ITEMS), new_pairs(ITEMS)
    for item, weight in ((1, 3.0), (2, 1.0), (3, 1.0)):
        count_pairs(forward, reverse, np.zeros(CONTEXT, np.int32), 1, item, weight, 2)
    item_P, near_P, wide_P = row_of(forward, 0)
    assert item_P.tolist() == [1, 3]
    assert wide_P.tolist() == pytest.approx([3.0, 1.5], rel=2e-3)
    assert near_P.tolist() == wide_P.tolist()
