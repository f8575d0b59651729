"""Pools of rows in size classes: pieces never overlap, nothing leaks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tables.pools import CLASS_SIZE_MIN, CLASSES, give_piece, grown_rows, new_rows, room_of, take_piece

ROWS = 8
ACTIONS = st.lists(st.tuples(st.integers(0, ROWS - 1), st.sampled_from(["grow", "grow", "grow", "free"])), max_size=80)


def moved_up(rows, row):
    """What every owner of a pool does when a row is full."""
    size_class = int(rows.class_R[row]) + 1
    rows = grown_rows(rows, ROWS, int(rows.top[0]) + (CLASS_SIZE_MIN << size_class))
    piece = int(take_piece(rows, size_class))
    give_piece(rows, row)
    rows.start_R[row], rows.class_R[row] = piece, size_class
    return rows


def free_pieces(rows):
    """(start, size) of everything on the free lists."""
    found = []
    for size_class in range(CLASSES):
        piece = int(rows.free_C[size_class])
        while piece >= 0:
            found.append((piece, CLASS_SIZE_MIN << size_class))
            piece = int(rows.next_P[piece // CLASS_SIZE_MIN])
    return found


@settings(deadline=None)
@given(actions=ACTIONS)
def test_live_and_free_pieces_tile_the_pool_without_gap_or_overlap(actions):
    rows, sizes = new_rows(ROWS, 4), dict.fromkeys(range(ROWS), 0)
    for row, action in actions:
        if action == "free":
            give_piece(rows, row)
            sizes[row] = 0
        elif sizes[row] < 64:
            rows = moved_up(rows, row)
            sizes[row] = max(CLASS_SIZE_MIN, 2 * sizes[row])
        assert {r: int(room_of(rows, r)) for r in range(ROWS)} == sizes
        live = [(int(rows.start_R[r]), size) for r, size in sizes.items() if size]
        reached = 0
        for start, size in sorted(live + free_pieces(rows)):
            assert start == reached
            reached = start + size
        assert reached == int(rows.top[0])


def test_a_freed_piece_is_taken_again_before_the_pool_grows():
    rows = new_rows(ROWS, 64)
    for row in range(3):
        rows = moved_up(rows, row)
    give_piece(rows, 1)
    give_piece(rows, 0)
    assert [int(take_piece(rows, 0)) for _ in range(3)] == [0, 4, 12]
