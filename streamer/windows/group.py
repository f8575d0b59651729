"""The open group: adjacent records of one user and one timestamp. Its context is taken when it opens; it is learned when it closes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, resized
from streamer.tables.compile import kernel
from streamer.windows.users import WINDOW, Users, read_window

TARGETS = 256
"""Interactions a group holds; the next one opens a new group."""
USER, TIME_MS, LENGTH, COUNT, TURN, ELAPSED_MS = range(6)
NOBODY = -1


class Group(NamedTuple):
    """``state`` = [user (NOBODY: none is open), time, length of the context, targets, the user's turn, ms since his last event]."""

    context_W: Array
    target_G: Array
    type_G: Array
    moves_G: Array
    """1 where the interaction may move global state."""
    state: Array


def new_group() -> Group:
    """None is open."""
    state = np.zeros(6, np.int64)
    state[USER] = NOBODY
    return Group(
        np.zeros(WINDOW, np.int32), np.zeros(TARGETS, np.int32), np.zeros(TARGETS, np.int8), np.zeros(TARGETS, np.int8), state
    )


def group_out(group: Group) -> dict[str, Array]:
    """For a snapshot: the open group as it is."""
    used, length = int(group.state[COUNT]), int(group.state[LENGTH])
    return {
        "group.context": group.context_W[:length],
        "group.target": group.target_G[:used],
        "group.type": group.type_G[:used],
        "group.moves": group.moves_G[:used],
        "group.state": group.state,
    }


def group_in(tables: dict[str, Array]) -> Group:
    """From a snapshot."""
    return Group(
        resized(tables["group.context"], WINDOW),
        resized(tables["group.target"], TARGETS),
        resized(tables["group.type"], TARGETS),
        resized(tables["group.moves"], TARGETS),
        resized(tables["group.state"], 6),
    )


def drop_group(group: Group) -> None:
    """None is open any more, and nothing is left of the one that was."""
    for array in group:
        array[:] = 0
    group.state[USER] = NOBODY


@kernel
def moves_anything(group: Group) -> bool:
    """Whether any interaction of the open group may move global state."""
    moving = 0
    for g in range(group.state[COUNT]):
        moving += group.moves_G[g]
    return moving > 0


@kernel
def must_close(group: Group, user: int, time_ms: int) -> bool:
    """Whether a record of that user and time is not of the open group."""
    state = group.state
    return state[USER] != NOBODY and (state[USER] != user or state[TIME_MS] != time_ms)


@kernel
def open_group(group: Group, users: Users, user: int, time_ms: int) -> None:
    """Opens a group with the user's window as its context."""
    group.state[USER] = user
    group.state[TIME_MS] = time_ms
    group.state[LENGTH] = read_window(users, user, group.context_W)
    group.state[COUNT] = 0
    group.state[TURN] = users.pushed_U[user]
    group.state[ELAPSED_MS] = max(0, time_ms - users.last_ms_U[user])


@kernel
def add_target(group: Group, item: int, kind: int, moves: bool) -> None:
    """Adds an interaction; the caller has seen that there is room."""
    at = group.state[COUNT]
    group.target_G[at] = item
    group.type_G[at] = kind
    group.moves_G[at] = 1 if moves else 0
    group.state[COUNT] = at + 1
