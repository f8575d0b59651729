"""Histories beside a dict of items: counts that fade, the least recent item given up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ReferenceHistory

from streamer.tables.pools import give_piece
from streamer.windows.history import (
    ABSENT,
    history_in,
    history_out,
    new_history,
    place_in_history,
    places_for_one,
    reserve_history,
    touch_history,
)

USERS, ITEMS = 3, 12
TOUCHES = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), max_size=120)


def entries(history, user):
    start = int(history.rows.start_R[user])
    stop = start + int(history.rows.length_R[user])
    return {
        int(history.item_P[at]): (
            int(history.turn_P[at]),
            pytest.approx(float(history.count_P[at]), rel=1e-6),
            int(history.tick_P[at]),
            int(history.kind_P[at]),
        )
        for at in range(start, stop)
    }


@settings(deadline=None)
@given(touches=TOUCHES, items_max=st.integers(1, 9), forget_at=st.integers(0, 120))
def test_a_history_keeps_the_most_recent_distinct_items_with_faded_counts(touches, items_max, forget_at):
    history = new_history(1)
    reference = {user: ReferenceHistory(items_max) for user in range(USERS)}
    for n, (user, item) in enumerate(touches):
        history = reserve_history(history, USERS, places_for_one(items_max))
        if n == forget_at:
            give_piece(history.rows, user)
            reference[user] = ReferenceHistory(items_max)
        place, known = touch_history(history, user, item, n + 1, items_max)
        assert known == reference[user].touch(item, n + 1)
        assert place == place_in_history(history, user, item)
        if n % 3:  # as where it moved global state
            history.tick_P[place], history.kind_P[place] = reference[user].moved[item] = (2**32 - 1 - n, n % 5)
    history = reserve_history(history, USERS, 0)
    again = history_in(history_out(history, USERS), USERS)
    for user in range(USERS):
        assert reference[user].entries() == entries(history, user) == entries(again, user)


def test_a_long_history_grows_through_every_size_class():
    history = new_history(1)
    for item in range(1_024):
        history = reserve_history(history, 1, places_for_one(1_024))
        assert not touch_history(history, 0, item, item + 1, 1_024)[1]
    assert place_in_history(history, 0, 1_024) == ABSENT
    assert np.array_equal(np.sort(history.item_P[history.rows.start_R[0] :][:1_024]), np.arange(1_024))
