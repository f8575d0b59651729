"""The pool of young items: who is in it, who leaves, who takes the place."""

import numpy as np

from streamer.catalog.items import WITHDRAWN, new_items
from streamer.catalog.young import IN_POOL, LOOKED_AT, OLD, YOUNG_MAX, new_young, note_young, tend_young, young_in, young_out


def catalog(rows):
    """Items with content, none of them chosen."""
    items = new_items(rows)
    items.ids.size_R[:rows] = 2
    items.vector_I[:rows] = np.arange(rows)
    return items, np.zeros(rows)


def held(young):
    return young.item_Y[: int(young.tended[0])].tolist()


def test_an_item_with_content_is_in_the_pool_once_until_it_is_old_withdrawn_or_gone():
    (items, count_I), young = catalog(9), new_young()
    for row in (3, 1, 3, 4, 5, 6):
        note_young(young, items, row)
    assert held(young) == [3, 1, 4, 5, 6]
    count_I[:] = OLD
    count_I[[3, 6]] = OLD - 1
    items.flags_I[6] |= WITHDRAWN
    tend_young(young, items, count_I, 9)
    assert held(young) == [3]
    assert np.flatnonzero(items.flags_I & IN_POOL).tolist() == [3]
    items.ids.size_R[3] = 0
    tend_young(young, items, count_I, 9)
    assert held(young) == []


def test_a_full_pool_lets_the_one_go_that_is_longest_in_it_and_takes_it_back_when_there_is_room():
    rows = YOUNG_MAX + 3
    (items, count_I), young = catalog(rows), new_young()
    for row in range(rows):
        note_young(young, items, row)
    assert held(young) == list(range(3, rows))
    tend_young(young, items, count_I, rows)
    assert held(young) == list(range(3, rows))
    count_I[[10, 11]] = OLD
    for _ in range(rows // LOOKED_AT + 1):
        tend_young(young, items, count_I, rows)
    assert set(held(young)) == set(range(rows)) - {2, 10, 11}
    assert len(held(young)) == YOUNG_MAX


def test_the_pool_comes_back_as_it_was():
    (items, _), young = catalog(20), new_young()
    for row in (7, 2):
        note_young(young, items, row)
    again = young_in(young_out(young))
    assert all(np.array_equal(a, b) for a, b in zip(young, again, strict=True))
