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


class Journal(NamedTuple):
    """By entry: item and user rows (NOTHING where freed or forgotten), the user's entries before and after, the item's before."""

    item_J: Array
    user_J: Array
    before_J: Array
    after_J: Array
    same_J: Array
    newest_U: Array
    newest_I: Array
    extent: Array
    """[entries ever appended, entries kept at most]."""


_BY_ENTRY = ("item_J", "user_J", "before_J", "after_J", "same_J")


def new_journal(users: int, items: int, size_max: int) -> Journal:
    """Nothing has happened yet."""
    size = min(1_024, size_max)
    return Journal(
        item_J=np.full(size, NOTHING, np.int32),
        user_J=np.full(size, NOTHING, np.int32),
        before_J=np.zeros(size, np.int64),
        after_J=np.zeros(size, np.int64),
        same_J=np.zeros(size, np.int64),
        newest_U=np.zeros(users, np.int64),
        newest_I=np.zeros(items, np.int64),
        extent=np.array([0, size_max], np.int64),
    )


def reserve_journal(journal: Journal, users: int, items: int, entries: int) -> Journal:
    """Room for ``users`` and ``items`` rows in all and for ``entries`` more entries, or as many as are ever kept."""
    needed = min(int(journal.extent[APPENDED]) + entries, int(journal.extent[SIZE_MAX]))
    size = min(capacity_for(needed, len(journal.item_J)), int(journal.extent[SIZE_MAX]))
    entry = {name: grown(getattr(journal, name), size) for name in _BY_ENTRY}
    return journal._replace(newest_U=grown(journal.newest_U, users), newest_I=grown(journal.newest_I, items), **entry)


def journal_out(journal: Journal, users: int, items: int) -> dict[str, Array]:
    """For a snapshot."""
    used = min(int(journal.extent[APPENDED]), int(journal.extent[SIZE_MAX]))
    return {f"journal.{name}": getattr(journal, name)[:used] for name in _BY_ENTRY} | {
        "journal.newest_U": journal.newest_U[:users],
        "journal.newest_I": journal.newest_I[:items],
        "journal.extent": journal.extent,
    }


def journal_in(tables: dict[str, Array], users: int, items: int) -> Journal:
    """From a snapshot, with room for so many users and items."""
    rows = {"newest_U": users, "newest_I": items}
    return Journal(*(resized(tables[f"journal.{name}"], rows.get(name, 0)) for name in Journal._fields))


@leaf_kernel
def oldest_position(journal: Journal) -> int:
    """Positions up to this one are gone."""
    return max(journal.extent[APPENDED] - journal.extent[SIZE_MAX], 0)


@leaf_kernel
def entry_at(newest: int, newest_entry: int, size_max: int, position: int) -> int:
    """Where a position that the ring still has stands, given where the newest one does: a division a step would cost more than the step."""
    at = newest_entry - (newest - position)
    return at + size_max if at < 0 else at


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
    journal.item_J[at] = item
    journal.user_J[at] = user
    journal.before_J[at] = before
    journal.after_J[at] = 0
    journal.same_J[at] = journal.newest_I[item]
    journal.newest_U[user] = position
    journal.newest_I[item] = position
    journal.extent[APPENDED] = position
    if before > oldest_position(journal):
        journal.after_J[(before - 1) % size_max] = position


def drop_users_from_journal(journal: Journal, user_T: Array) -> None:
    """Empties the entries of those users; what follows them in chains stays reachable."""
    _empty(journal, np.isin(journal.user_J, user_T))
    journal.newest_U[user_T] = 0


def drop_items_from_journal(journal: Journal, item_T: Array) -> None:
    """Empties the entries of those items; what follows them in chains stays reachable."""
    _empty(journal, np.isin(journal.item_J, item_T))
    journal.newest_I[item_T] = 0


def _empty(journal: Journal, gone_J: Array) -> None:
    journal.item_J[gone_J] = NOTHING
    journal.user_J[gone_J] = NOTHING
