"""Rings beside plain queues: what a row keeps, by number; pieces tile the pool; nothing of an emptied row stays."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tables.rings import (
    CLASSES,
    LENGTH,
    NEXT,
    NO_PIECE,
    NUMBERS,
    PLACES,
    ROOM,
    START,
    drop_oldest,
    empty_row,
    has_room,
    new_rings,
    place_of_number,
    places_for,
    put,
    reserve_rings,
    take_out,
)

ROWS = 5
ACTIONS = st.lists(
    st.tuples(
        st.integers(0, ROWS - 1), st.sampled_from([*["put"] * 6, "put many", "drop", "drop", "drop many", "take out", "empty"])
    ),
    max_size=120,
)


def entries_of(rings, row):
    """[(first, second)] of what is kept, oldest first."""
    following = int(rings.row_RF[row, NEXT])
    places = [
        int(place_of_number(rings, row, number)) for number in range(following - int(rings.row_RF[row, LENGTH]), following)
    ]
    return [(int(rings.first_P[place]), int(rings.second_P[place])) for place in places]


def with_one(rings, row, first, second):
    if not has_room(rings, 1, 1):
        rings = reserve_rings(rings, ROWS, 1, 1)
    number = put(rings, row, first, second)
    assert (number + 1 - int(rings.row_RF[row, NEXT])) & NUMBERS == 0
    return rings


def free_pieces(rings):
    """(start, room) of everything on the free lists."""
    found = []
    for size_class in range(CLASSES):
        piece = int(rings.free_C[size_class])
        while piece != NO_PIECE:
            found.append((piece, 1 << size_class))
            piece = int(rings.first_P[piece])
    return found


@settings(deadline=None, max_examples=200)
@given(
    actions=ACTIONS, room_max=st.sampled_from([1, 4, 16, 1 << 20]), first_number=st.sampled_from([0, -(1 << 31), (1 << 31) - 9])
)
def test_a_row_keeps_the_newest_of_its_entries_and_pieces_tile_the_pool(actions, room_max, first_number):
    rings, queues, entry = new_rings(ROWS, 1, room_max), [deque(maxlen=room_max) for _ in range(ROWS)], 0
    rings.row_RF[:, NEXT] = first_number
    for row, action in actions:
        if action.startswith("put"):
            for _ in range(40 if action == "put many" else 1):
                entry += 1
                rings = with_one(rings, row, entry % 7, entry)
                queues[row].append((entry % 7, entry))
        elif action.startswith("drop"):
            for _ in range(min(25 if action == "drop many" else 1, len(queues[row]))):
                drop_oldest(rings, row)
                queues[row].popleft()
        elif action == "take out":
            take_out(rings, row, entry % 7)
            queues[row] = deque((one for one in queues[row] if one[0] != entry % 7), room_max)
        else:
            empty_row(rings, row)
            queues[row].clear()
        for other, queue in enumerate(queues):
            assert rings.row_RF[other, LENGTH] == len(queue)
            assert entries_of(rings, other) == list(queue)
        live = [(int(start), int(room)) for start, room in rings.row_RF[:, [START, ROOM]] if room]
        reached = 0
        for start, room in sorted(live + free_pieces(rings)):
            assert start == reached
            reached = start + room
        assert reached == rings.pool[PLACES] <= len(rings.first_P)


def test_nothing_of_an_emptied_row_stays_in_the_pool():
    rings = new_rings(ROWS, 1, 64)
    for entry in range(1, 30):
        rings = with_one(rings, 0, entry, entry)
    empty_row(rings, 0)
    assert not rings.row_RF.any()
    assert not rings.second_P.any()
    assert set(rings.first_P.tolist()) <= {0, NO_PIECE}  # heads of free pieces


@pytest.mark.parametrize("spread", [1, 7])
def test_what_is_reserved_is_enough_at_the_dearest(spread):
    rings = new_rings(spread, 1, 1 << 20)
    for row in np.repeat(np.arange(spread), 64):  # all full
        rings = with_one(rings, row, 1, 1)
    rings = reserve_rings(rings, spread, 700, spread)
    for n in range(700):
        put(rings, n % spread, 2, 2)
    assert rings.pool[PLACES] <= len(rings.first_P)


def test_rows_that_shrink_meanwhile_take_nothing_of_what_is_reserved():
    large, small, entries = 1_024, 255, 256
    rings = new_rings(1 + small, 1, 1 << 20)
    for row in np.repeat(np.arange(1, 1 + small), 9):
        rings = with_one(rings, row, 1, 1)
    for _ in range(large - entries + 1):
        rings = with_one(rings, 0, 1, 1)
    for row in np.repeat(np.arange(1, 1 + small), 4):
        drop_oldest(rings, row)
    needed = int(rings.pool[PLACES] + places_for(rings, entries, 1))
    rings = rings._replace(first_P=rings.first_P[:needed].copy(), second_P=rings.second_P[:needed].copy())
    rings = reserve_rings(rings, 1 + small, entries, 1)
    for row in range(1, 1 + small):
        drop_oldest(rings, row)  # to a quarter of its room
        put(rings, 0, 2, 2)
    put(rings, 0, 2, 2)
    assert rings.row_RF[0, ROOM] == 2 * large
    assert rings.pool[PLACES] <= len(rings.first_P)


def test_a_row_that_shrinks_takes_the_piece_that_another_has_left():
    rings = new_rings(2, 1, 64)
    for row, entries in ((0, 32), (1, 16)):
        for entry in range(entries):
            rings = with_one(rings, row, entry, entry)
    empty_row(rings, 1)
    for _ in range(24):
        drop_oldest(rings, 0)
    assert rings.row_RF[0, ROOM] == 16
    assert entries_of(rings, 0) == [(entry, entry) for entry in range(24, 32)]


def test_more_rows_are_there_and_what_was_there_stays():
    rings = with_one(new_rings(2, 1, 64), 1, 5, 6)
    more = reserve_rings(rings, 9, 1, 1)
    assert len(more.row_RF) == 9
    assert entries_of(more, 1) == [(5, 6)]
    assert reserve_rings(more, 9, 0, 0) is more
