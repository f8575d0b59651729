"""The journal: the newest interactions of the whole stream in order, found by user and by item.

A ring of ``extent[1]`` entries at most, of which a snapshot has who and what. Beside it, made from it again after a restart, each
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
    LENGTH,
    NEXT,
    NUMBERS,
    Rings,
    drop_oldest,
    empty_row,
    has_room,
    new_rings,
    place_of_number,
    put,
    reserve_rings,
    take_out,
)
from streamer.windows.group import TARGETS

NOTHING = -1
APPENDED, SIZE_MAX = 0, 1
USER_SHIFT, ITEM_MASK = 32, (1 << 32) - 1
POSTINGS_MAX = 64
"""Newest entries of an item that are found by it."""
SEQUENCE_MAX = 1 << 30
"""More than there can be entries."""
GONE = -1
"""Marks an item that is being freed."""


class Journal(NamedTuple):
    """``what_J[j]`` = user row << 32 | item row. NOTHING stands in the place of an item that is freed, and of the whole of a user who is forgotten.

    An entry of a user's sequence is (item row or NOTHING, low 32 bits of its position: the first one ever was 1), one of an item's
    postings (user row, number in his sequence).
    """

    what_J: Array
    extent: Array
    """[entries ever appended, entries kept at most]."""
    live_I: Array
    """Entries of an item in the ring, of which its postings are the newest."""
    sequences: Rings
    postings: Rings


def new_journal(users: int, items: int, size_max: int) -> Journal:
    """Nothing has happened yet."""
    size = min(1_024, size_max)
    return Journal(
        what_J=np.zeros(size, np.int64),
        extent=np.array([0, size_max], np.int64),
        live_I=np.zeros(items, np.int32),
        sequences=new_rings(users, size, SEQUENCE_MAX),
        postings=new_rings(items, size, POSTINGS_MAX),
    )


def reserve_journal(journal: Journal, users: int, items: int, entries: int) -> Journal:
    """Room for ``users`` and ``items`` rows in all and for ``entries`` more entries, or as many as are ever kept.

    What they are found by has room for those of a group.
    """
    needed = min(int(journal.extent[APPENDED]) + entries, int(journal.extent[SIZE_MAX]))
    size = min(capacity_for(needed, len(journal.what_J)), int(journal.extent[SIZE_MAX]))
    return journal._replace(
        what_J=grown(journal.what_J, size),
        live_I=grown(journal.live_I, items),
        sequences=reserve_rings(journal.sequences, users, TARGETS, 1),
        postings=reserve_rings(journal.postings, items, TARGETS, TARGETS),
    )


@kernel
def takes_a_group(journal: Journal) -> bool:
    """Whether there is room for the interactions of a group, which are one user's."""
    ring = journal.extent[APPENDED] + TARGETS <= len(journal.what_J) or len(journal.what_J) == journal.extent[SIZE_MAX]
    return ring and has_room(journal.sequences, TARGETS, 1) and has_room(journal.postings, TARGETS, TARGETS)


def journal_out(journal: Journal, items: int) -> dict[str, Array]:
    """For a snapshot: the ring, and how many postings each item has, which are fewer than it could have once users are forgotten."""
    used = min(int(journal.extent[APPENDED]), int(journal.extent[SIZE_MAX]))
    kept_I = journal.postings.row_RF[:items, LENGTH].astype(np.uint8)
    return {"journal.what": journal.what_J[:used], "journal.extent": journal.extent, "journal.postings": kept_I}


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
    if "journal.postings" in tables:
        _keep_newest(journal.postings, tables["journal.postings"])
    return journal


@kernel
def _find_again(journal: Journal, position: int) -> int:
    """Makes entries from that position on found by user and item, while there is room; returns the next position."""
    while position <= journal.extent[APPENDED] and has_room(journal.sequences, 1, 1) and has_room(journal.postings, 1, 1):
        what = journal.what_J[(position - 1) % journal.extent[SIZE_MAX]]
        if what != NOTHING:
            _add(journal, user_of(what), item_of(what), position)
        position += 1
    return position


@kernel
def _keep_newest(postings: Rings, kept_I: Array) -> None:
    for item in range(len(kept_I)):
        while postings.row_RF[item, LENGTH] > kept_I[item]:
            drop_oldest(postings, item)


@leaf_kernel
def user_of(what: int) -> int:
    """The user row of an entry."""
    return what >> USER_SHIFT


@leaf_kernel
def item_of(what: int) -> int:
    """The item row of an entry, or NOTHING."""
    return (what << USER_SHIFT) >> USER_SHIFT


@kernel
def append_journal(journal: Journal, user: int, item: int) -> None:
    """Adds one interaction; the caller has reserved room."""
    size_max = journal.extent[SIZE_MAX]
    position = journal.extent[APPENDED] + 1
    at = (position - 1) % size_max
    if position > size_max and journal.what_J[at] != NOTHING:
        _leave(journal, user_of(journal.what_J[at]), item_of(journal.what_J[at]))
    journal.what_J[at] = (np.int64(user) << USER_SHIFT) | np.int64(item)
    journal.extent[APPENDED] = position
    _add(journal, user, item, position)


@kernel
def _add(journal: Journal, user: int, item: int, position: int) -> None:
    number = put(journal.sequences, user, item, position)
    if item != NOTHING:
        put(journal.postings, item, user, number)
        journal.live_I[item] += 1


@kernel
def _leave(journal: Journal, user: int, item: int) -> None:
    """The oldest entry goes: it is the oldest of its user, and of its item."""
    drop_oldest(journal.sequences, user)
    if item != NOTHING:
        journal.live_I[item] -= 1
        if journal.postings.row_RF[item, LENGTH] > journal.live_I[item]:
            drop_oldest(journal.postings, item)


@leaf_kernel
def ask_for_oldest(journal: Journal, entries: int) -> None:
    """Asks for the rows from which so many oldest entries will go."""
    appended, size_max = journal.extent[APPENDED], journal.extent[SIZE_MAX]
    if appended < size_max:
        return
    for position in range(appended, appended + min(entries, size_max)):
        what = journal.what_J[position % size_max]
        prefetch(journal.sequences.row_RF, user_of(what))
        prefetch(journal.postings.row_RF, item_of(what))
        prefetch(journal.live_I, item_of(what))


def users_and_items(what_J: Array) -> tuple[Array, Array]:
    """The user rows and the item rows of entries of the ring, NOTHING where there is none; those beyond the newest say nothing."""
    return what_J >> USER_SHIFT, (what_J << USER_SHIFT) >> USER_SHIFT


@leaf_kernel
def _place_in_ring(journal: Journal, position: int) -> int:
    """Where the entry lies of whose position the low bits are given."""
    appended = journal.extent[APPENDED]
    age = (appended - position) & NUMBERS
    return (appended - age - 1) % journal.extent[SIZE_MAX]


@kernel
def forget_in_journal(journal: Journal, user: int) -> None:
    """Empties all entries of a user; those of others are found as before."""
    sequences = journal.sequences
    following = np.int64(sequences.row_RF[user, NEXT])
    for number in range(following - sequences.row_RF[user, LENGTH], following):
        place = place_of_number(sequences, user, number)
        item = sequences.first_P[place]
        journal.what_J[_place_in_ring(journal, sequences.second_P[place])] = NOTHING
        if item != NOTHING:
            journal.live_I[item] -= 1
            take_out(journal.postings, item, user)
    empty_row(sequences, user)


@kernel
def drop_users_from_journal(journal: Journal, user_T: Array) -> None:
    """``forget_in_journal`` for several users."""
    for n in range(len(user_T)):
        forget_in_journal(journal, user_T[n])


@kernel
def drop_items_from_journal(journal: Journal, item_T: Array) -> None:
    """NOTHING stands in the place of those items; users' sequences keep the places."""
    sequences = journal.sequences
    for n in range(len(item_T)):
        empty_row(journal.postings, item_T[n])
        journal.live_I[item_T[n]] = GONE
    for user in range(len(sequences.row_RF)):
        following = np.int64(sequences.row_RF[user, NEXT])
        for number in range(following - sequences.row_RF[user, LENGTH], following):
            place = place_of_number(sequences, user, number)
            item = sequences.first_P[place]
            if item != NOTHING and journal.live_I[item] == GONE:
                sequences.first_P[place] = NOTHING
                journal.what_J[_place_in_ring(journal, sequences.second_P[place])] |= ITEM_MASK
    for n in range(len(item_T)):
        journal.live_I[item_T[n]] = 0
