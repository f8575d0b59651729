"""Histories: the distinct items of each user with how often and how recently, for repeats, for what was seen, and for what counts anew.

A pool row a user, bounded by ``windows.history_items_max``; a full row gives up its least recent item. An entry takes 17 bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, resized, with_headroom
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.pools import CLASS_SIZE_MIN, Rows, give_piece, grown_rows, new_rows, room_of, rows_in, rows_out, take_piece
from streamer.tables.search import place_of

ABSENT = -1
COUNT_HALF_LIFE = 64.0
"""In the user's own interactions: how fast an item's count fades."""


class History(NamedTuple):
    """``item_P``, ``count_P`` (decayed, as of ``turn_P``), ``turn_P`` (the user's interaction number of the last touch).

    Of what moved global state: ``tick_P``, the low 32 bits of the trends' clock at the last touch, and ``kind_P``, the type of event
    that weighed most so far; 0 where nothing did, which weighs nothing.
    """

    rows: Rows
    item_P: Array
    count_P: Array
    turn_P: Array
    tick_P: Array
    kind_P: Array


def new_history(users: int) -> History:
    """Empty histories."""
    places = 4 * users
    dtypes = (np.int32, np.float32, np.int32, np.uint32, np.int8)
    return History(new_rows(users, places), *(np.zeros(places, dtype) for dtype in dtypes))


def reserve_history(history: History, users: int, places: int) -> History:
    """Room for ``users`` rows in all and ``places`` more entries; the same object where there is room already."""
    needed = int(history.rows.top[0]) + places
    if users <= len(history.rows.start_R) and needed <= len(history.item_P):
        return history
    capacity = capacity_for(needed, len(history.item_P))
    return History(
        grown_rows(history.rows, max(users, len(history.rows.start_R)), capacity),
        *(grown(column, capacity) for column in history[1:]),
    )


def places_for_one(items_max: int) -> int:
    """Entries that one interaction can take at its dearest: a move to the largest class."""
    return CLASS_SIZE_MIN << max(0, (items_max - 1).bit_length() - 1)


def history_out(history: History, users: int) -> dict[str, Array]:
    """For a snapshot."""
    top = int(history.rows.top[0])
    return rows_out(history.rows, "history", users) | {
        "history.item": history.item_P[:top],
        "history.count": history.count_P[:top],
        "history.turn": history.turn_P[:top],
        "history.tick": history.tick_P[:top],
        "history.kind": history.kind_P[:top],
    }


def history_in(tables: dict[str, Array], users: int) -> History:
    """From a snapshot, with room for ``users`` rows."""
    places = max(with_headroom(len(tables["history.item"])), 4 * users)
    return History(
        rows_in(tables, "history", users, places),
        *(resized(tables[f"history.{name}"], places) for name in ("item", "count", "turn", "tick", "kind")),
    )


@kernel
def place_in_history(history: History, user: int, item: int) -> int:
    """Where the user's entry of that item stands; ABSENT where there is none."""
    start = history.rows.start_R[user]
    stop = start + history.rows.length_R[user]
    at = place_of(history.item_P, start, stop, item)
    return at if at < stop else ABSENT


@kernel
def touch_history(history: History, user: int, item: int, turn: int, items_max: int) -> tuple[int, bool]:
    """Notes one interaction as the user's ``turn``-th; returns the place of its entry and whether the item was there already."""
    rows = history.rows
    at = place_in_history(history, user, item)
    if at != ABSENT:
        faded = history.count_P[at] * 2.0 ** (-(turn - history.turn_P[at]) / COUNT_HALF_LIFE)
        history.count_P[at] = np.float32(faded + 1.0)
        history.turn_P[at] = turn
        return at, True
    full = rows.length_R[user] >= items_max
    place = _oldest_place(history, user) if full else _append_place(history, user)
    history.item_P[place] = item
    history.count_P[place] = 1.0
    history.turn_P[place] = turn
    history.tick_P[place] = 0
    history.kind_P[place] = 0
    return place, False


@kernel
def _oldest_place(history: History, user: int) -> int:
    oldest = history.rows.start_R[user]
    for at in range(oldest + 1, oldest + history.rows.length_R[user]):
        if history.turn_P[at] < history.turn_P[oldest]:
            oldest = at
    return oldest


@leaf_kernel
def _move_entry(history: History, at: int, to: int) -> None:
    history.item_P[to] = history.item_P[at]
    history.count_P[to] = history.count_P[at]
    history.turn_P[to] = history.turn_P[at]
    history.tick_P[to] = history.tick_P[at]
    history.kind_P[to] = history.kind_P[at]


@leaf_kernel
def _blank(history: History, first: int, count: int) -> None:
    """What a row leaves says nothing of whom it was."""
    for at in range(first, first + count):
        history.item_P[at] = 0
        history.count_P[at] = 0.0
        history.turn_P[at] = 0
        history.tick_P[at] = 0
        history.kind_P[at] = 0


@kernel
def clear_history(history: History, user: int) -> None:
    """Empties the user's row, and gives back its piece without what stood there."""
    _blank(history, history.rows.start_R[user], room_of(history.rows, user))
    give_piece(history.rows, user)


@kernel
def clear_histories(history: History, user_T: Array) -> None:
    """``clear_history`` for several users."""
    for n in range(len(user_T)):
        clear_history(history, user_T[n])


@leaf_kernel
def _append_place(history: History, user: int) -> int:
    rows = history.rows
    length = rows.length_R[user]
    if length == room_of(rows, user):
        size_class = rows.class_R[user] + 1
        piece = take_piece(rows, size_class)
        old = rows.start_R[user]
        for n in range(length):
            _move_entry(history, old + n, piece + n)
        _blank(history, old, length)
        give_piece(rows, user)
        rows.start_R[user] = piece
        rows.class_R[user] = size_class
    rows.length_R[user] = length + 1
    return rows.start_R[user] + length


@kernel
def drop_from_history(history: History, gone_I: Array) -> None:
    """Takes items out of every history; the others keep their order."""
    rows = history.rows
    for user in range(len(rows.start_R)):
        start, kept = rows.start_R[user], 0
        for at in range(start, start + rows.length_R[user]):
            if not gone_I[history.item_P[at]]:
                _move_entry(history, at, start + kept)
                kept += 1
        _blank(history, start + kept, rows.length_R[user] - kept)
        rows.length_R[user] = kept
