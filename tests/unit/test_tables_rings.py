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
    kept_of,
    new_rings,
    place_of_number,
    put,
    reserve_rings,
)

ROWS = 5
ACTIONS = st.lists(
    st.tuples(st.integers(0, ROWS - 1), st.sampled_from([*["put"] * 6, "put many", "drop", "drop", "drop many", "empty"])),
    max_size=120,
)


def entries_of(rings, row):
    """[(first, second)] of what is kept, oldest first."""
    following = int(rings.row_RF[row, NEXT])
    places = [int(place_of_number(rings, row, number)) for number in range(following - int(kept_of(rings, row)), following)]
    return [(int(rings.first_P[place]), int(rings.second_P[place])) for place in places]


def with_one(rings, row, first):
    if not has_room(rings, 1, 1):
        rings = reserve_rings(rings, ROWS, 1, 1)
    number = put(rings, row, first, -first)
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
    rings, queues, entry = new_rings(ROWS, 1, room_max), [deque() for _ in range(ROWS)], 0
    rings.row_RF[:, NEXT] = first_number
    for row, action in actions:
        if action.startswith("put"):
            for _ in range(40 if action == "put many" else 1):
                entry += 1
                rings = with_one(rings, row, entry)
                queues[row].append((entry, -entry))
        elif action.startswith("drop"):
            for _ in range(min(25 if action == "drop many" else 1, len(queues[row]))):
                drop_oldest(rings, row)
                queues[row].popleft()
        else:
            empty_row(rings, row)
            queues[row].clear()
        for other, queue in enumerate(queues):
            assert rings.row_RF[other, LENGTH] == len(queue)
            assert entries_of(rings, other) == list(queue)[-room_max:]
            assert rings.row_RF[other, ROOM] <= max(4 * min(len(queue), room_max), 1)
        live = [(int(start), int(room)) for start, room in rings.row_RF[:, [START, ROOM]] if room]
        reached = 0
        for start, room in sorted(live + free_pieces(rings)):
            assert start == reached
            reached = start + room
        assert reached == rings.pool[PLACES] <= len(rings.first_P)


def test_nothing_of_an_emptied_row_stays_in_the_pool():
    rings = new_rings(ROWS, 1, 64)
    for entry in range(1, 30):
        rings = with_one(rings, 0, entry)
    empty_row(rings, 0)
    assert not rings.row_RF.any()
    assert not rings.second_P.any()
    assert set(rings.first_P.tolist()) <= {0, NO_PIECE}  # heads of free pieces


@pytest.mark.parametrize("spread", [1, 7])
def test_what_is_reserved_is_enough_at_the_dearest(spread):
    rings = new_rings(spread, 1, 1 << 20)
    for row in np.repeat(np.arange(spread), 64):  # all full
        if not has_room(rings, 1, 1):
            rings = reserve_rings(rings, spread, 1, 1)
        put(rings, row, 1, 1)
    rings = reserve_rings(rings, spread, 700, spread)
    for n in range(700):
        put(rings, n % spread, 2, 2)
    assert rings.pool[PLACES] <= len(rings.first_P)


def test_room_for_rows_alone_copies_no_less_than_is_there():
    rings = with_one(new_rings(2, 1, 64), 1, 5)
    more = reserve_rings(rings, 9, 1, 1)
    assert len(more.row_RF) == 9
    assert entries_of(more, 1) == [(5, -5)]
    assert reserve_rings(more, 9, 0, 0) is more
