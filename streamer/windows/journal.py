"""The journal: the newest interactions of the whole stream in order, linked by user and by item.

A ring of ``extent[1]`` entries at most. Positions are numbers from 1 that never repeat, 0 is nothing; a link to a position that the ring has
overwritten is older than all that is there, so it is recognized by its number. The chain of an item's entries, newest first, is its
posting list (as in VMIS-kNN, Kersbergen et al. 2022); the chain of a user's is his sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, resized
from streamer.tables.compile import kernel, leaf_kernel

NOTHING = -1
APPENDED, SIZE_MAX = 0, 1
WHAT, BEFORE, AFTER, SAME = range(4)
USER_SHIFT, ITEM_MASK = 32, (1 << 32) - 1


class Journal(NamedTuple):
    """An entry's four numbers lie together, for it is found at random: one miss of the cache and not one for each.

    ``entry_JL[j]`` = [user row << 32 | item row (NOTHING where one of them is freed or forgotten), positions of the user's entry before
    and after, position of the item's entry before].
    """

    entry_JL: Array
    newest_U: Array
    newest_I: Array
    extent: Array
    """[entries ever appended, entries kept at most]."""


def new_journal(users: int, items: int, size_max: int) -> Journal:
    """Nothing has happened yet."""
    size = min(1_024, size_max)
    return Journal(
        entry_JL=np.zeros((size, 4), np.int64),
        newest_U=np.zeros(users, np.int64),
        newest_I=np.zeros(items, np.int64),
        extent=np.array([0, size_max], np.int64),
    )


def reserve_journal(journal: Journal, users: int, items: int, entries: int) -> Journal:
    """Room for ``users`` and ``items`` rows in all and for ``entries`` more entries, or as many as are ever kept."""
    needed = min(int(journal.extent[APPENDED]) + entries, int(journal.extent[SIZE_MAX]))
    size = min(capacity_for(needed, len(journal.entry_JL)), int(journal.extent[SIZE_MAX]))
    return Journal(
        grown(journal.entry_JL, size), grown(journal.newest_U, users), grown(journal.newest_I, items), journal.extent
    )


def journal_out(journal: Journal, users: int, items: int) -> dict[str, Array]:
    """For a snapshot."""
    used = min(int(journal.extent[APPENDED]), int(journal.extent[SIZE_MAX]))
    return {
        "journal.entry": journal.entry_JL[:used],
        "journal.newest_U": journal.newest_U[:users],
        "journal.newest_I": journal.newest_I[:items],
        "journal.extent": journal.extent,
    }


def journal_in(tables: dict[str, Array], users: int, items: int) -> Journal:
    """From a snapshot, with room for so many users and items."""
    rows = {"entry": 0, "newest_U": users, "newest_I": items, "extent": 0}
    return Journal(*(resized(tables[f"journal.{name}"], size) for name, size in rows.items()))


@leaf_kernel
def oldest_position(journal: Journal) -> int:
    """Positions up to this one are gone."""
    return max(journal.extent[APPENDED] - journal.extent[SIZE_MAX], 0)


@leaf_kernel
def entry_at(newest: int, newest_entry: int, size_max: int, position: int) -> np.uint64:
    """Where a position that the ring still has stands, given where the newest one does: a division a step would cost more than the step.

    Without a sign: an index that has none need not be asked whether it counts from the end.
    """
    at = newest_entry - (newest - position)
    return np.uint64(at + size_max if at < 0 else at)


@leaf_kernel
def newest_entry(journal: Journal) -> int:
    """Where the newest position stands."""
    return (journal.extent[APPENDED] - 1) % journal.extent[SIZE_MAX]


@kernel
def append_journal(journal: Journal, user: int, item: int) -> None:
    """Adds one interaction; the caller has reserved room."""
    size_max = journal.extent[SIZE_MAX]
    position = journal.extent[APPENDED] + 1
    at = (position - 1) % size_max
    before = journal.newest_U[user]
    entry_L = journal.entry_JL[at]
    entry_L[WHAT] = (np.int64(user) << USER_SHIFT) | np.int64(item)
    entry_L[BEFORE] = before
    entry_L[AFTER] = 0
    entry_L[SAME] = journal.newest_I[item]
    journal.newest_U[user] = position
    journal.newest_I[item] = position
    journal.extent[APPENDED] = position
    if before > oldest_position(journal):
        journal.entry_JL[(before - 1) % size_max, AFTER] = position


def users_and_items(journal: Journal) -> tuple[Array, Array]:
    """The user rows and the item rows of the ring as it lies, NOTHING where an entry is empty; beyond the newest they say nothing."""
    what_J = journal.entry_JL[:, WHAT]
    gone_J = what_J == NOTHING
    return np.where(gone_J, NOTHING, what_J >> USER_SHIFT), np.where(gone_J, NOTHING, what_J & ITEM_MASK)


def drop_users_from_journal(journal: Journal, user_T: Array) -> None:
    """Empties the entries of those users; what follows them in chains stays reachable."""
    journal.entry_JL[np.isin(users_and_items(journal)[0], user_T), WHAT] = NOTHING
    journal.newest_U[user_T] = 0


@kernel
def forget_in_journal(journal: Journal, user: int) -> None:
    """Empties a user's entries, as ``drop_users_from_journal``, along his chain alone; what tells that they were of one user goes, too."""
    position, oldest, size_max = journal.newest_U[user], oldest_position(journal), journal.extent[SIZE_MAX]
    while position > oldest:
        entry_L = journal.entry_JL[(position - 1) % size_max]
        position = entry_L[BEFORE]
        entry_L[WHAT] = NOTHING
        entry_L[BEFORE] = 0
        entry_L[AFTER] = 0
    journal.newest_U[user] = 0


def drop_items_from_journal(journal: Journal, item_T: Array) -> None:
    """Empties the entries of those items; what follows them in chains stays reachable."""
    journal.entry_JL[np.isin(users_and_items(journal)[1], item_T), WHAT] = NOTHING
    journal.newest_I[item_T] = 0
