"""Neighbour sessions beside a readable search of the whole journal; the journal as a ring; selection beside sorting."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_neighbours

from streamer.signals.neighbours import ROWS_MAX, SESSIONS, find_neighbours, new_neighbours, reserve_neighbours
from streamer.tables.rings import LENGTH, NEXT, NUMBERS, place_of_number
from streamer.tables.select import kth_largest
from streamer.tables.slots import EMPTY
from streamer.windows.group import TARGETS
from streamer.windows.journal import (
    APPENDED,
    NOTHING,
    POSTINGS_MAX,
    append_journal,
    drop_items_from_journal,
    drop_users_from_journal,
    forget_in_journal,
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


def found_by(journal):
    """Users' sequences of items and items' postings (user, how many places of his are newer), newest first."""
    sequences, postings = (
        [
            [
                (int(rings.first_P[place]), int(rings.second_P[place]))
                for back in range(1, int(row_F[LENGTH]) + 1)
                for place in [place_of_number(rings, row, int(row_F[NEXT]) - back)]
            ]
            for row, row_F in enumerate(rings.row_RF)
        ]
        for rings in (journal.sequences, journal.postings)
    )
    following_U = journal.sequences.row_RF[:, NEXT]
    return (
        [[item for item, _ in row] for row in sequences],
        [[(user, (int(following_U[user]) - 1 - number) & NUMBERS) for user, number in row] for row in postings],
        journal.live_I.tolist(),
    )


def same_journals(ours, theirs):
    assert found_by(ours) == found_by(theirs)
    ours, theirs = journal_out(ours, ITEMS), journal_out(theirs, ITEMS)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def restored(journal):
    return journal_in({name: table.copy() for name, table in journal_out(journal, ITEMS).items()}, USERS, ITEMS)


@settings(deadline=None, max_examples=150)
@given(
    happens=st.lists(
        st.tuples(st.sampled_from(["choose"] * 8 + ["forget", "free"]), st.integers(0, 4), st.integers(0, 8)), max_size=150
    ),
    context=CONTEXT,
    size_max=st.sampled_from([5, 40]),
    numbered_from=st.sampled_from([0, (1 << 31) - 20, (1 << 32) - 20]),
)
def test_who_is_forgotten_and_what_is_freed_is_nowhere_and_the_rest_is_found_as_before(
    happens, context, size_max, numbered_from
):
    journal, entries = new_journal(USERS, ITEMS, size_max), []
    if numbered_from:  # as if that many had come and gone
        journal = reserve_journal(journal, USERS, ITEMS, size_max)
        journal.what_J[:] = NOTHING
        journal.extent[APPENDED] = numbered_from
        journal.sequences.row_RF[:, NEXT] = numbered_from & 0x7FFFFFFF
    for what, user, item in happens:
        if what == "choose":
            journal = with_more(journal, [(user, item)])
            entries = [*entries, (user, item)][-size_max:]
        elif what == "forget":
            forget_in_journal(journal, user)
            entries = [(NOTHING, NOTHING) if one[0] == user else one for one in entries]
        else:
            drop_items_from_journal(journal, np.array([item]))
            entries = [(one[0], NOTHING) if one[1] == item else one for one in entries]
    kept = users_and_items(np.roll(journal.what_J, -(int(journal.extent[APPENDED]) % size_max)))
    if int(journal.extent[APPENDED]) >= size_max:
        assert list(zip(*(row_J.tolist() for row_J in kept), strict=True))[size_max - len(entries) :] == entries
    near = new_neighbours(USERS, ITEMS)
    for user in (-1, 2):
        same(told(journal, context, user, near), reference_neighbours(entries, context, user))
    same_journals(journal, restored(journal))


def test_several_are_dropped_as_if_each_were_forgotten():
    choices = [(n % 7, n % 5) for n in range(60)]
    ours, theirs = written(choices, 40), written(choices, 40)
    drop_users_from_journal(ours, np.array([1, 4]))
    for user in (1, 4):
        forget_in_journal(theirs, user)
    same_journals(ours, theirs)
    assert not {1, 4} & set(users_and_items(ours.what_J)[0].tolist())


def test_an_item_that_many_chose_is_found_by_the_newest_and_a_restart_brings_nobody_back():
    choices = [(n % 90, 3) for n in range(POSTINGS_MAX + 30)]
    journal = written(choices, 1_000)
    assert found_by(journal)[1][3][0] == (choices[-1][0], 0)
    forget_in_journal(journal, choices[-1][0])
    assert journal.postings.row_RF[3, LENGTH] == POSTINGS_MAX - 1
    same_journals(journal, restored(journal))
    again = with_more(restored(journal), [(91, 3), (92, 3)])
    journal = with_more(journal, [(91, 3), (92, 3)])
    assert journal.postings.row_RF[3, LENGTH] == POSTINGS_MAX
    same_journals(journal, again)


@pytest.mark.parametrize("seed", range(4))
def test_postings_are_the_newest_of_an_item_while_older_ones_leave(seed):
    rng, size_max = np.random.default_rng(seed), 3 * POSTINGS_MAX
    journal, entries, kept = new_journal(USERS, ITEMS, size_max), deque(maxlen=size_max), dict.fromkeys(range(3), 0)
    for n in range(8 * POSTINGS_MAX):
        user, item = int(rng.integers(0, 40)), min(int(rng.geometric(0.6)) - 1, 2)
        if len(entries) == size_max and entries[0] != (NOTHING, NOTHING):
            oldest = entries[0][1]
            kept[oldest] = min(kept[oldest], sum(one[1] == oldest for one in entries) - 1)
        entries.append((user, item))
        kept[item] = min(kept[item] + 1, POSTINGS_MAX)
        journal = with_more(journal, [(user, item)])
        if n % 50 == 49:
            for other in kept:
                newest = [one for one in reversed(entries) if one[1] == other][: kept[other]]
                kept[other] -= sum(one[0] == user for one in newest)
            forget_in_journal(journal, user)
            entries = deque(((NOTHING, NOTHING) if one[0] == user else one for one in entries), size_max)
        for other in kept:
            newest = [one[0] for one in reversed(entries) if one[1] == other][: kept[other]]
            assert [who for who, _ in found_by(journal)[1][other]] == newest
    assert max(kept.values()) > POSTINGS_MAX // 2
    same_journals(journal, restored(journal))


@settings(deadline=None, max_examples=60)
@given(choices=CHOICES, more=CHOICES, size_max=st.sampled_from([5, 40, 1_000]))
def test_a_restored_journal_goes_on_as_the_one_that_was_kept(choices, more, size_max):
    kept = written(choices, size_max)
    again = restored(kept)
    same_journals(with_more(kept, more), with_more(again, more))


@pytest.mark.parametrize("size_max", [7, 1_000])
def test_a_journal_of_an_older_snapshot_has_links_beside_who_and_what(size_max):
    choices = [(user, item) for user in range(4) for item in (1, 2, 3)]
    now = journal_out(written(choices, size_max), ITEMS)
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
