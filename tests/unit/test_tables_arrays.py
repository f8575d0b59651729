"""Tables' memory: where it begins, how it grows, and rows met in a few slots."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tables import arrays
from streamer.tables.arrays import LARGE_BYTES, LINE_BYTES, SPACE, SPACE_BYTES_MIN, STAGGER_BYTES_MAX, grown, resized, zeros
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


LARGE = (LARGE_BYTES // 8, 2)
"""Shape of a large table of four bytes an entry."""


@pytest.mark.parametrize("fill", [0, -1])
def test_a_large_table_grows_where_it_lies(fill):
    table = zeros(LARGE, np.float32)
    table[:] = np.arange(LARGE[0])[:, None]
    longer = grown(grown(table, LARGE[0] + 1, fill), 3 * LARGE[0], fill)
    assert np.shares_memory(table, longer)
    assert longer.flags.c_contiguous
    assert longer.flags.writeable
    np.testing.assert_array_equal(longer[: len(table)], table)
    assert (longer[len(table) :] == fill).all()


def test_what_is_not_all_of_a_large_table_grows_as_a_copy():
    table = zeros(LARGE, np.int32)
    table[:] = 7
    half, back = table[: LARGE[0] // 2], table[::-1]
    longer = grown(table, 2 * LARGE[0])
    longer[LARGE[0] :] = 8
    for part in (half, back, table):  # the last one is all of it no more
        made = grown(part, len(part) + 5)
        assert not np.shares_memory(made, table)
        assert (made[: len(part)] == 7).all()
        assert not made[len(part) :].any()


def test_a_large_table_moves_where_its_address_space_ends():
    table = zeros(LARGE, np.int32)
    table[:] = 7
    longer = grown(table, len(table) * (SPACE_BYTES_MIN - STAGGER_BYTES_MAX) // table.nbytes)
    moved = grown(longer, len(table) * SPACE_BYTES_MIN // table.nbytes + 1)
    assert np.shares_memory(longer, table)
    assert not np.shares_memory(moved, table)
    assert (moved[: len(table)] == 7).all()
    assert not moved[len(table) :].any()


def test_where_address_space_is_limited_a_large_table_grows_as_a_copy(monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(arrays, "_space_for", refused)
    table = zeros(LARGE, np.int32)
    table[:] = 7
    longer = grown(table, 2 * LARGE[0])
    assert not np.shares_memory(longer, table)
    assert (longer[: LARGE[0]] == 7).all()
    assert not longer[LARGE[0] :].any()


def test_address_space_is_no_memory():
    before = resident_bytes()
    kept = [zeros((64 * LARGE_BYTES,), np.uint8) for _ in range(4)]
    kept = [grown(one, (SPACE - 1) * len(one)) for one in kept]
    assert not any(one[: 64 * LARGE_BYTES].any() for one in kept)  # to read it costs nothing either
    assert resident_bytes() - before < sum(one.nbytes for one in kept) / 100


def test_the_memory_of_a_large_table_is_the_process_s_own():
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc here")
    table = zeros(LARGE, np.int32)
    line = next(one for one in maps.read_text().splitlines() if is_at(one, table.ctypes.data))
    assert line.split()[1] == "rw-p"  # of memory that is shared, no large pages are had


def is_at(line: str, address: int) -> bool:
    first, _, stop = line.split(maxsplit=1)[0].partition("-")
    return int(first, 16) <= address < int(stop, 16)


def resident_bytes() -> int:
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("no /proc here")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
