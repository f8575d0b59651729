"""Neighbour sessions beside a readable search of the whole journal; the journal as a ring; selection beside sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_neighbours

from streamer.signals.neighbours import ROWS_MAX, SESSIONS, find_neighbours, new_neighbours, reserve_neighbours
from streamer.tables.select import kth_largest
from streamer.tables.slots import EMPTY
from streamer.windows.group import TARGETS
from streamer.windows.journal import (
    append_journal,
    drop_items_from_journal,
    drop_users_from_journal,
    journal_in,
    journal_out,
    new_journal,
    reserve_journal,
    takes_a_group,
    users_and_items,
)

USERS, ITEMS = 400, 60
SIZES = [ITEMS, ROWS_MAX + 1]
"""Items, so few that what speaks for them lies in a place for each, and so many that it does not."""


def written(choices, size_max):
    return with_more(new_journal(USERS, ITEMS, size_max), choices)


def with_more(journal, choices):
    for user, item in choices:
        if not takes_a_group(journal):
            journal = reserve_journal(journal, USERS, ITEMS, TARGETS)
        append_journal(journal, user, item)
    return journal


def told(journal, context, user, near):
    """(after, before) by item."""
    context_W = np.array(context, np.int32)
    find_neighbours(journal, context_W, len(context), user, near)
    found = slice(near.found[1])
    return dict(zip(near.item_E[found].tolist(), map(tuple, near.spoken_SL[near.slot_E[found]].tolist()), strict=True))


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for item, pair in ours.items():
        assert pair == pytest.approx(theirs[item], rel=1e-4, abs=1e-6)


CHOICES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11)), max_size=150)
CONTEXT = st.lists(st.integers(0, 11), max_size=20)


@settings(deadline=None, max_examples=150)
@given(
    choices=CHOICES,
    context=CONTEXT,
    user=st.integers(-1, 7),
    size_max=st.sampled_from([5, 40, 1_000]),
    items=st.sampled_from(SIZES),
)
def test_neighbours_are_those_of_a_readable_search_of_the_newest_entries(choices, context, user, size_max, items):
    journal, near = written(choices, size_max), new_neighbours(USERS, items)
    expected = reference_neighbours(choices[-size_max:], context, user)
    same(told(journal, context, user, near), expected)
    same(told(journal, context, user, near), expected)  # nothing of the search before is left
    assert np.count_nonzero(near.spoken_SL.any(axis=1)) == len(expected)
    assert np.count_nonzero(near.item_S != EMPTY) == (len(expected) if items > ROWS_MAX else 0)
    assert told(journal, [], user, near) == {}
    assert not near.spoken_SL.any()
    assert (near.item_S == EMPTY).all()
    assert not near.like_U.any()


@pytest.mark.parametrize("items", SIZES)
@pytest.mark.parametrize("seed", range(5))
def test_only_the_sessions_most_like_the_window_speak(seed, items):
    rng = np.random.default_rng(seed)
    choices = list(
        zip(rng.integers(0, USERS, 4_000).tolist(), (ITEMS * rng.random(4_000) ** 2).astype(int).tolist(), strict=True)
    )
    context = rng.permutation(ITEMS)[:20].tolist()
    journal, near = written(choices, 100_000), new_neighbours(USERS, items)
    ours = told(journal, context, 3, near)
    assert near.found[0] > SESSIONS
    same(ours, reference_neighbours(choices, context, 3))


def test_what_speaks_is_the_same_once_items_are_too_many_for_a_place_each():
    choices = [(user, item) for user in range(4) for item in (1, 2, 3)]
    journal, near = written(choices, 1_000), new_neighbours(USERS, ITEMS)
    before = told(journal, [2], -1, near)
    many = reserve_neighbours(near, USERS, ROWS_MAX + 1)
    assert len(many.spoken_SL) < ROWS_MAX
    assert told(journal, [2], -1, many) == before
    assert reserve_neighbours(many, USERS, 2 * ROWS_MAX) is many


@settings(deadline=None, max_examples=60)
@given(choices=CHOICES, context=CONTEXT, user=st.integers(0, 7), item=st.integers(0, 11), size_max=st.sampled_from([30, 1_000]))
def test_a_user_or_an_item_that_is_dropped_is_in_no_neighbourhood(choices, context, user, item, size_max):
    journal, near = written(choices, size_max), new_neighbours(USERS, ITEMS)
    drop_users_from_journal(journal, np.array([user]))
    drop_items_from_journal(journal, np.array([item]))
    user_J, item_J = users_and_items(journal_out(journal)["journal.what"])
    assert user not in user_J
    assert item not in item_J
    assert item not in told(journal, context, -1, near)
    others = [other for other in context if other != item]
    alone = all(u == user or i == item for u, i in choices[-size_max:])
    assert not alone or told(journal, others, -1, near) == {}


@settings(deadline=None, max_examples=60)
@given(choices=CHOICES, more=CHOICES, context=CONTEXT, size_max=st.sampled_from([5, 40, 1_000]))
def test_a_restored_journal_goes_on_as_the_one_that_was_kept(choices, more, context, size_max):
    kept = written(choices, size_max)
    restored = with_more(journal_in(journal_out(kept), USERS, ITEMS), more)
    kept = with_more(kept, more)
    ours, theirs = journal_out(kept), journal_out(restored)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert told(kept, context, 0, new_neighbours(USERS, ITEMS)) == told(restored, context, 0, new_neighbours(USERS, ITEMS))


@pytest.mark.parametrize("size_max", [7, 1_000])
def test_a_journal_of_an_older_snapshot_has_links_beside_who_and_what(size_max):
    choices = [(user, item) for user in range(4) for item in (1, 2, 3)]
    now = journal_out(written(choices, size_max))
    links_J3 = np.full((len(now["journal.what"]), 3), 5)
    older = {"journal.entry": np.column_stack([now["journal.what"], links_J3]), "journal.extent": now["journal.extent"]}
    found = told(journal_in(older, USERS, ITEMS), [2], -1, new_neighbours(USERS, ITEMS))
    assert found == told(written(choices, size_max), [2], -1, new_neighbours(USERS, ITEMS))
    assert found


@settings(deadline=None)
@given(values=st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=60), k=st.integers(1, 80))
def test_the_kth_largest_is_the_one_of_the_sorted_values(values, k):
    value_N = np.array(values, np.float32)
    before = value_N.copy()
    found = kth_largest(value_N, len(values), k, np.zeros(len(values), np.float32))
    assert found == np.sort(value_N)[::-1][min(k, len(values)) - 1]
    assert value_N.tolist() == before.tolist()
