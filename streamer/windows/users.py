"""Sliding windows of users: the last WINDOW interactions each, newest last, as a ring."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, grown, resized
from streamer.tables.compile import kernel
from streamer.tables.ids import IdTable, id_table_in, id_tables_out, new_id_table, reserve_ids

WINDOW = 20
"""Interactions a window holds (W)."""
HOUR_MS = 3_600_000
GONE = -1
"""In a window: an item whose row was freed."""


class Users(NamedTuple):
    """One row a user. The ring's newest entry is at ``(pushed_U - 1) % WINDOW``."""

    ids: IdTable
    item_UW: Array
    type_UW: Array
    time_UW: Array
    """Event time, ms."""
    pushed_U: Array
    """Interactions ever pushed."""
    last_ms_U: Array
    """Largest event time."""
    repeats_U: Array
    """Share of interactions with an item of the user's history, exponentially decayed."""
    hour_U: Array
    hour_count_U: Array
    """Interactions that moved global state within ``hour_U`` (hours since 1970)."""


def new_users(rows: int) -> Users:
    """No user yet, room for ``rows``."""
    return Users(
        ids=new_id_table(rows),
        item_UW=np.zeros((rows, WINDOW), np.int32),
        type_UW=np.zeros((rows, WINDOW), np.int8),
        time_UW=np.zeros((rows, WINDOW), np.int64),
        pushed_U=np.zeros(rows, np.int64),
        last_ms_U=np.zeros(rows, np.int64),
        repeats_U=np.zeros(rows, np.float32),
        hour_U=np.zeros(rows, np.int64),
        hour_count_U=np.zeros(rows, np.int32),
    )


def reserve_users(users: Users, rows: int, text_bytes: int) -> Users:
    """Room for ``rows`` more users."""
    ids = reserve_ids(users.ids, rows, text_bytes)
    if ids is users.ids:
        return users
    capacity = len(ids.hash_R)
    return Users(ids, *(grown(array, capacity) for array in users[1:]))


def users_out(users: Users) -> dict[str, Array]:
    """Live rows, for a snapshot."""
    rows = int(users.ids.used[0])
    columns = {f"users.{name}": array[:rows] for name, array in zip(Users._fields[1:], users[1:], strict=True)}
    return id_tables_out(users.ids, "users.ids") | columns


def users_in(tables: dict[str, Array]) -> Users:
    """From a snapshot."""
    ids = id_table_in(tables, "users.ids", 64)
    rows = len(ids.hash_R)
    return Users(ids, *(resized(tables[f"users.{name}"], rows) for name in Users._fields[1:]))


@kernel
def push_window(users: Users, user: int, item: int, kind: int, time_ms: int) -> None:
    """Appends one interaction to the user's window."""
    place = users.pushed_U[user] % WINDOW
    users.item_UW[user, place] = item
    users.type_UW[user, place] = kind
    users.time_UW[user, place] = time_ms
    users.pushed_U[user] += 1
    users.last_ms_U[user] = max(users.last_ms_U[user], time_ms)


@kernel
def read_window(users: Users, user: int, item_W: Array) -> int:
    """Writes the window's items, newest first, into ``item_W``; returns how many there are."""
    pushed = users.pushed_U[user]
    count = 0
    for n in range(min(pushed, WINDOW)):
        item = users.item_UW[user, (pushed - 1 - n) % WINDOW]
        if item != GONE:
            item_W[count] = item
            count += 1
    return count


@kernel
def drop_from_windows(users: Users, gone_I: Array) -> None:
    """Takes items out of every window; their places stay, empty."""
    for user in range(len(users.pushed_U)):
        for place in range(min(users.pushed_U[user], WINDOW)):
            item = users.item_UW[user, place]
            if item != GONE and gone_I[item]:
                users.item_UW[user, place] = GONE


@kernel
def take_contribution(users: Users, user: int, time_ms: int, per_hour_max: int) -> bool:
    """Whether the user may move global state once more within this hour of event time; counts it.

    An event of an earlier hour counts with those of the latest one: going back and forth gains nothing.
    """
    hour = time_ms // HOUR_MS
    if hour > users.hour_U[user]:
        users.hour_U[user] = hour
        users.hour_count_U[user] = 0
    if users.hour_count_U[user] >= per_hour_max:
        return False
    users.hour_count_U[user] += 1
    return True


@kernel
def stage_weight(users: Users, user: int, own: int, item: int, kind: int, weight_K: Array) -> float:
    """What the ``own``-th push of a user counts: its type's weight, less that of an earlier stage of the same item in the window.

    A purchase after a click is one choice that came further, not two; the same stage again counts again.
    """
    pushed = users.pushed_U[user]
    before = np.float32(0.0)
    for n in range(max(pushed - WINDOW, 0), own):
        place = n % WINDOW
        if users.item_UW[user, place] == item and users.type_UW[user, place] < kind:
            before = max(before, weight_K[users.type_UW[user, place]])
    return max(weight_K[kind] - before, np.float32(0.0))


def clear_user(users: Users, user: int) -> None:
    """Forgets all that the row holds but its id."""
    for array in users[1:]:
        array[user] = 0
