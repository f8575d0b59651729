"""Tables' memory: where it begins, how it grows, and rows met in a few slots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tables.arrays import LINE_BYTES, grown, resized, zeros
from streamer.tables.slots import EMPTY, new_slots, slot_of


@pytest.mark.parametrize("shape", [(1,), (1_000, 7), (100_000, 32)])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.float32, np.int64])
def test_a_table_begins_where_a_line_of_the_cache_does(shape, dtype):
    for made in (zeros(shape, dtype), grown(np.ones((0, *shape[1:]), dtype), shape[0] + 1), resized(np.ones(shape, dtype), 0)):
        assert made.ctypes.data % LINE_BYTES == 0
        assert made.dtype == dtype
        assert made.flags.c_contiguous
        assert made.flags.writeable
    assert not zeros(shape, dtype).any()


@pytest.mark.parametrize("rows", [0, 3, 4, 9])
def test_a_table_that_grows_keeps_its_rows(rows):
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert grown(table, 4) is table
    for made in (grown(table, rows, fill=7), resized(table, rows, fill=7)):
        assert made[:4].tolist() == table.tolist()
        assert made[4:].tolist() == [[7.0, 7.0]] * max(rows - 4, 0)
    assert not np.shares_memory(resized(table, rows), table)


@settings(deadline=None)
@given(row_N=st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 90), max_size=60, unique=True))
def test_rows_in_slots_are_met_again_and_others_are_not(row_N):
    row_S = new_slots(64)
    for row in row_N[1:]:
        slot = slot_of(row_S, row)
        assert row_S[slot] == EMPTY
        row_S[slot] = row
    assert [int(row_S[slot_of(row_S, row)]) for row in row_N[1:]] == row_N[1:]
    assert not row_N or row_S[slot_of(row_S, row_N[0])] == EMPTY
