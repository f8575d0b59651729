"""What rows of neighbours give to candidates, beside a plain sum: long rows, and items that share a candidate's mark."""

import numpy as np
import pytest

from streamer.head.bilinear import DIMENSIONS
from streamer.head.gate import PHI
from streamer.ranking.candidates import PRIOR, _fill_row
from streamer.ranking.scratch import (
    ENTRIES_AT_ONCE,
    MARKS,
    NEAR,
    WIDE,
    add_candidate,
    exclude_item,
    mark_candidates,
    new_scratch,
    start_candidates,
    start_sources,
)
from streamer.signals.pairs import add_pair, new_pairs, reserve_pairs

ITEMS = 3 * MARKS
ROW = 7


@pytest.mark.parametrize("entries", [0, 1, ENTRIES_AT_ONCE, ENTRIES_AT_ONCE + 1, 3 * ENTRIES_AT_ONCE - 5])
def test_a_row_gives_to_the_candidates_that_it_names_and_to_none_that_share_their_marks(entries):
    rng = np.random.default_rng(entries)
    item_N = rng.permutation(ITEMS)[:entries].tolist()
    pairs = reserve_pairs(new_pairs(ITEMS), ITEMS, 8 * ENTRIES_AT_ONCE)
    for item in item_N:
        add_pair(pairs, ROW, item, float(item % 2), 1.0, 4 * ENTRIES_AT_ONCE)
    scratch = new_scratch(DIMENSIONS, PHI, 1, ITEMS)
    start_candidates(scratch)
    named, excluded = item_N[::3], item_N[1::7]
    for item in excluded:
        exclude_item(scratch, item)
    for item in [
        *named,
        *((item + MARKS) % ITEMS for item in item_N[2::3]),
    ]:  # the latter have the marks of items that are none
        add_candidate(scratch, item)
    start_sources(scratch)
    mark_candidates(scratch, 1)
    for _ in range(2):
        _fill_row(pairs, 0, ROW, True, np.float32(0.5), NEAR, WIDE, scratch)
    mark_candidates(scratch, 0)
    start, length = int(pairs.rows.start_R[ROW]), int(pairs.rows.length_R[ROW])
    assert length == entries
    count_of = {int(pairs.item_P[at]): (pairs.near_P[at], pairs.wide_P[at]) for at in range(start, start + length)}
    prior = PRIOR * float(pairs.scale_I[ROW])
    for place in range(int(scratch.found[0])):
        near, wide = count_of.get(int(scratch.item_C[place]), (0.0, 0.0))
        assert scratch.feature_FC[NEAR, place] == pytest.approx(2 * near / (pairs.near_total_I[ROW] + prior), rel=1e-5)
        assert scratch.feature_FC[WIDE, place] == pytest.approx(2 * 0.5 * wide / (pairs.wide_total_I[ROW] + prior), rel=1e-5)
    assert not scratch.mark_M.any()
    assert not scratch.row_C[: int(scratch.found[0])].any()
