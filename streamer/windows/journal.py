"""The journal: the newest interactions of the whole stream in order, found by user and by item.

A ring of ``extent[1]`` entries at most, of which a snapshot has no more than who and what. Beside it, made from it again after a restart, each
user's entries in order are his sequence, and the newest of each item are its posting list (as in VMIS-kNN, Kersbergen et al. 2022). They
leave with the entries of the ring.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, resized
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.prefetch import prefetch
from streamer.tables.rings import (
    NEXT,
    NUMBERS,
    Rings,
    drop_oldest,
    empty_row,
    has_room,
    kept_of,
    new_rings,
    place_of_number,
    put,
    reserve_rings,
)
from streamer.windows.group import TARGETS

NOTHING = -1
APPENDED, SIZE_MAX = 0, 1
USER_SHIFT, ITEM_MASK = 32, (1 << 32) - 1
POSTINGS_KEPT = 64
"""Newest entries of an item that are found by it."""
SEQUENCE_MAX = 1 << 30


class Journal(NamedTuple):
    """``what_J[j]`` = user row << 32 | item row, either of them NOTHING once he is forgotten or it is freed.

    An entry of a user's sequence is (item row or NOTHING, low 32 bits of its position: the first one ever was 1), one of an item's
    postings (user row or NOTHING, number in his sequence).
    """

    what_J: Array
    extent: Array
    """[entries ever appended, entries kept at most]."""
    sequences: Rings
    postings: Rings


def new_journal(users: int, items: int, size_max: int) -> Journal:
    """Nothing has happened yet."""
    size = min(1_024, size_max)
    return Journal(
        what_J=np.zeros(size, np.int64),
        extent=np.array([0, size_max], np.int64),
        sequences=new_rings(users, size, SEQUENCE_MAX),
        postings=new_rings(items, size, POSTINGS_KEPT),
    )


def reserve_journal(journal: Journal, users: int, items: int, entries: int) -> Journal:
    """Room for ``users`` and ``items`` rows in all and for ``entries`` more entries, or as many as are ever kept; what is found by user or by item has room for a group's."""
    needed = min(int(journal.extent[APPENDED]) + entries, int(journal.extent[SIZE_MAX]))
    size = min(capacity_for(needed, len(journal.what_J)), int(journal.extent[SIZE_MAX]))
    return Journal(
        grown(journal.what_J, size),
        journal.extent,
        reserve_rings(journal.sequences, users, TARGETS, 1),
        reserve_rings(journal.postings, items, TARGETS, TARGETS),
    )


@kernel
def takes_a_group(journal: Journal) -> bool:
    """Whether there is room for the interactions of a group, which are one user's."""
    ring = journal.extent[APPENDED] + TARGETS <= len(journal.what_J) or len(journal.what_J) == journal.extent[SIZE_MAX]
    return ring and has_room(journal.sequences, TARGETS, 1) and has_room(journal.postings, TARGETS, TARGETS)


def journal_out(journal: Journal) -> dict[str, Array]:
    """For a snapshot."""
    used = min(int(journal.extent[APPENDED]), int(journal.extent[SIZE_MAX]))
    return {"journal.what": journal.what_J[:used], "journal.extent": journal.extent}


def journal_in(tables: dict[str, Array], users: int, items: int) -> Journal:
    """From a snapshot, with room for so many users and items."""
    what_J = tables["journal.what"] if "journal.what" in tables else tables["journal.entry"][:, 0]  # with links, up to format 5
    extent = np.array(tables["journal.extent"], copy=True)
    journal = new_journal(users, items, int(extent[SIZE_MAX]))._replace(what_J=resized(what_J, 0), extent=extent)
    position = max(int(extent[APPENDED]) - len(what_J), 0) + 1
    while (position := int(_find_again(journal, position))) <= extent[APPENDED]:
        journal = journal._replace(
            sequences=reserve_rings(journal.sequences, users, TARGETS, 1),
            postings=reserve_rings(journal.postings, items, TARGETS, TARGETS),
        )
    return journal


@kernel
def _find_again(journal: Journal, position: int) -> int:
    """Makes entries from that position on found by user and item, while there is room; returns the next position."""
    while position <= journal.extent[APPENDED] and has_room(journal.sequences, 1, 1) and has_room(journal.postings, 1, 1):
        what = journal.what_J[(position - 1) % journal.extent[SIZE_MAX]]
        _add(journal, user_of(what), item_of(what), position)
        position += 1
    return position


@leaf_kernel
def user_of(what: int) -> int:
    """The user row of an entry, or NOTHING."""
    return what >> USER_SHIFT


@leaf_kernel
def item_of(what: int) -> int:
    """The item row of an entry, or NOTHING."""
    return (what << USER_SHIFT) >> USER_SHIFT


@leaf_kernel
def _what(user: int, item: int) -> np.int64:
    return (np.int64(user) << USER_SHIFT) | (np.int64(item) & ITEM_MASK)


@kernel
def append_journal(journal: Journal, user: int, item: int) -> None:
    """Adds one interaction; the caller has reserved room."""
    size_max = journal.extent[SIZE_MAX]
    position = journal.extent[APPENDED] + 1
    at = (position - 1) % size_max
    if position > size_max:
        _leave(journal, journal.what_J[at])
    journal.what_J[at] = _what(user, item)
    journal.extent[APPENDED] = position
    _add(journal, user, item, position)


@leaf_kernel
def ask_for_oldest(journal: Journal, entries: int) -> None:
    """Asks for the rows from which so many oldest entries will go."""
    appended, size_max = journal.extent[APPENDED], journal.extent[SIZE_MAX]
    for position in range(appended + 1, appended + 1 + entries):
        if position > size_max:
            what = journal.what_J[(position - 1) % size_max]
            prefetch(journal.sequences.row_RF, user_of(what))
            prefetch(journal.postings.row_RF, item_of(what))


@kernel
def _add(journal: Journal, user: int, item: int, position: int) -> None:
    number = put(journal.sequences, user, item, position) if user != NOTHING else 0
    if item != NOTHING:
        put(journal.postings, item, user, number)


@kernel
def _leave(journal: Journal, what: int) -> None:
    """The oldest entry goes: it is the oldest of its user, and of its item."""
    if user_of(what) != NOTHING:
        drop_oldest(journal.sequences, user_of(what))
    if item_of(what) != NOTHING:
        drop_oldest(journal.postings, item_of(what))


def users_and_items(what_J: Array) -> tuple[Array, Array]:
    """The user rows and the item rows of entries of the ring, NOTHING where there is none."""
    return what_J >> USER_SHIFT, (what_J << USER_SHIFT) >> USER_SHIFT


@kernel
def forget_in_journal(journal: Journal, user: int) -> None:
    """Takes a user out of all his entries; what tells that they were of one user goes, too."""
    appended, size_max = journal.extent[APPENDED], journal.extent[SIZE_MAX]
    sequences = journal.sequences
    following = np.int64(sequences.row_RF[user, NEXT])
    for number in range(following - kept_of(sequences, user), following):
        place = place_of_number(sequences, user, number)
        item, position = sequences.first_P[place], sequences.second_P[place]
        age = (appended - position) & NUMBERS
        journal.what_J[(appended - age - 1) % size_max] = _what(NOTHING, item)
        if item != NOTHING:
            _forget_in_row(journal.postings, item, user)
    empty_row(sequences, user)


@kernel
def _forget_in_row(rings: Rings, row: int, first: int) -> None:
    """NOTHING stands in the place of that first number in a row."""
    following = np.int64(rings.row_RF[row, NEXT])
    for number in range(following - kept_of(rings, row), following):
        place = place_of_number(rings, row, number)
        if rings.first_P[place] == first:
            rings.first_P[place] = NOTHING


def drop_users_from_journal(journal: Journal, user_T: Array) -> None:
    """Takes those users out of their entries."""
    gone_U = _among(user_T, len(journal.sequences.row_RF))
    user_J = users_and_items(journal.what_J)[0]
    journal.what_J[(user_J != NOTHING) & gone_U[user_J]] |= NOTHING << USER_SHIFT
    _drop_rows(journal.sequences, user_T, journal.postings, gone_U)


def drop_items_from_journal(journal: Journal, item_T: Array) -> None:
    """Takes those items out of their entries; users' sequences keep the places."""
    gone_I = _among(item_T, len(journal.postings.row_RF))
    item_J = users_and_items(journal.what_J)[1]
    journal.what_J[(item_J != NOTHING) & gone_I[item_J]] |= ITEM_MASK
    _drop_rows(journal.postings, item_T, journal.sequences, gone_I)


def _among(row_T: Array, rows: int) -> Array:
    among_R = np.zeros(rows, np.bool_)
    among_R[row_T] = True
    return among_R


@kernel
def _drop_rows(rings: Rings, row_T: Array, others: Rings, gone_R: Array) -> None:
    """Empties rows; in the rings that name them NOTHING stands in their place."""
    for n in range(len(row_T)):
        empty_row(rings, row_T[n])
    for other in range(len(others.row_RF)):
        following = np.int64(others.row_RF[other, NEXT])
        for number in range(following - kept_of(others, other), following):
            place = place_of_number(others, other, number)
            if others.first_P[place] != NOTHING and gone_R[others.first_P[place]]:
                others.first_P[place] = NOTHING
