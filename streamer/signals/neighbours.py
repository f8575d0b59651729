"""Neighbour sessions: what users with a like window did around the place where they match, over the journal.

By the sequence- and time-aware neighbourhood of Garg et al. (2019, STAN):

    sim(s) = sum_n QUERY_DECAY ** n  over the window's items n (newest first) that are among the newest entries of s
    after(v) = sum_s sim(s) sum_d PLACE_DECAY ** d [v is d places after the match in s],   before(v) likewise; both over sum_s sim(s)

The match of a session is its newest entry of the newest matching item of the window; the sum runs over the SESSIONS most like it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, grown
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.prefetch import prefetch
from streamer.tables.rings import LENGTH, LINE, NEXT, NUMBERS, ROOM, START, Rings, ask_for_newest, place_of_number
from streamer.tables.select import kth_largest
from streamer.tables.slots import EMPTY, new_slots, slot_of
from streamer.windows.journal import NOTHING, POSTINGS_MAX, Journal
from streamer.windows.users import WINDOW

POSTINGS = min(60, POSTINGS_MAX)
"""Newest entries of an item that are looked at."""
SESSIONS = 60
REACH = 20
"""Places before and after the match."""
QUERY_DECAY = 0.85
PLACE_DECAY = 0.9
SESSIONS_MAX = WINDOW * POSTINGS
ITEMS_MAX = 2 * REACH * SESSIONS
ROWS_MAX = 1 << 17
"""Rows for items up to which each has a place of its own for what speaks for it. More places than that fit into no near cache: beyond it items are met in SLOTS."""
SLOTS = 1 << 13
SIDES = 2
"""[after, before] the match."""


class Neighbours(NamedTuple):
    """Working memory: sessions found with likeness and match, items found with what speaks for them.

    ``like_U`` has a place for every user, 0 for those that were not found; ``spoken_SL`` likewise for every item or, where items are many, for
    each slot of ``item_S``. ``slot_E`` is the place of each found item.
    """

    like_U: Array
    user_S: Array
    like_S: Array
    match_S: Array
    """Number of the match in the user's sequence."""
    spoken_SL: Array
    item_S: Array
    item_E: Array
    slot_E: Array
    both_E: Array
    work_1: Array
    found: Array
    """[sessions, items]."""


def new_neighbours(users: int, items: int) -> Neighbours:
    """Memory for one thread, with room for so many users and items."""
    return Neighbours(
        like_U=np.zeros(users, np.float32),
        user_S=np.zeros(SESSIONS_MAX + 1, np.int32),
        like_S=np.zeros(SESSIONS_MAX, np.float32),
        match_S=np.zeros(SESSIONS_MAX + 1, np.int32),
        **_places(items),
        item_E=np.zeros(ITEMS_MAX + 1, np.int32),
        slot_E=np.zeros(ITEMS_MAX + 1, np.int32),
        both_E=np.zeros(ITEMS_MAX, np.float32),
        work_1=np.zeros(1, np.float32),
        found=np.zeros(2, np.int64),
    )


def _places(items: int) -> dict[str, Array]:
    places, slots = (items, 0) if items <= ROWS_MAX else (SLOTS, SLOTS)
    return {"spoken_SL": np.zeros((places, SIDES), np.float32), "item_S": new_slots(slots)}


def reserve_neighbours(near: Neighbours, users: int, items: int) -> Neighbours:
    """Room for ``users`` and ``items`` rows in all; the same object where there is room already."""
    if len(near.like_U) < users:
        near = near._replace(like_U=grown(near.like_U, users))
    if len(near.item_S) or items <= len(near.spoken_SL):
        return near
    near.found[:] = 0  # what was found lies in the table that goes
    return near._replace(**_places(items))


@leaf_kernel
def place_of_item(near: Neighbours, item: int) -> np.uint64:
    """The place of what speaks for an item."""
    return slot_of(near.item_S, item) if len(near.item_S) else np.uint64(item)


@leaf_kernel
def _start(near: Neighbours) -> None:
    """Forgets the items of the time before."""
    for n in range(near.found[1]):
        slot = np.uint32(near.slot_E[n])
        near.spoken_SL[slot, 0] = 0.0
        near.spoken_SL[slot, 1] = 0.0
        if len(near.item_S):
            near.item_S[slot] = EMPTY
    near.found[0] = 0
    near.found[1] = 0


@kernel
def find_neighbours(journal: Journal, context_W: Array, length: int, user: int, near: Neighbours) -> None:
    """Fills ``near`` with the items around the matches of a context (items newest first); ``user`` himself is no neighbour."""
    _start(near)
    _find_sessions(journal.postings, context_W, length, user, near)
    sessions = near.found[0]
    if sessions == 0:
        return
    least = kth_largest(near.like_S, sessions, SESSIONS, near.work_1)
    above, total = 0, np.float32(0.0)
    for n in range(sessions):
        if near.like_S[n] > least:
            above += 1
            total += near.like_S[n]
    equal = min(SESSIONS - above, sessions - above)
    total += np.float32(equal) * least
    chosen = 0
    for n in range(sessions):
        like = near.like_S[n]
        if like == least:
            equal -= 1
        if like > least or (like == least and equal >= 0):
            near.user_S[chosen] = near.user_S[n]
            near.match_S[chosen] = near.match_S[n]
            near.like_S[chosen] = like / total
            chosen += 1
    _spread(journal.sequences, chosen, near)


@kernel
def _find_sessions(postings: Rings, context_W: Array, length: int, user: int, near: Neighbours) -> None:
    for n in range(length):
        prefetch(postings.row_RF, context_W[n])
    for n in range(length):
        ask_for_newest(postings, context_W[n], POSTINGS)
    like_U = near.like_U
    found = 0
    weight = np.float32(1.0)
    for n in range(length):
        row_F = postings.row_RF[context_W[n]]
        start, wrap, following = row_F[START], row_F[ROOM] - 1, row_F[NEXT]
        for back in range(1, min(row_F[LENGTH], POSTINGS) + 1):
            place = np.uint32(start + ((following - back) & wrap))
            other = postings.first_P[place]
            if other != user:
                near.user_S[found] = other
                near.match_S[found] = postings.second_P[place]
                found += like_U[np.uint32(other)] == 0.0
                like_U[np.uint32(other)] += weight
        weight *= np.float32(QUERY_DECAY)
    for n in range(found):
        near.like_S[n] = like_U[np.uint32(near.user_S[n])]
        like_U[np.uint32(near.user_S[n])] = 0.0
    near.found[0] = found


@kernel
def _spread(sequences: Rings, chosen: int, near: Neighbours) -> None:
    """Adds what stands after and before the matches."""
    for n in range(chosen):
        prefetch(sequences.row_RF, near.user_S[n])
    for n in range(chosen):
        for away in range(-REACH, REACH + LINE, LINE):
            prefetch(sequences.first_P, place_of_number(sequences, near.user_S[n], near.match_S[n] + min(away, REACH)))
    found = near.found[1]
    for n in range(chosen):
        row_F = sequences.row_RF[near.user_S[n]]
        newer = (np.int64(row_F[NEXT]) - 1 - near.match_S[n]) & NUMBERS
        older = row_F[LENGTH] - 1 - newer
        found = _speak(sequences, n, 1, min(newer, REACH), 0, near, found)
        found = _speak(sequences, n, -1, min(older, REACH), 1, near, found)
    near.found[1] = found


@leaf_kernel
def _speak(sequences: Rings, session: int, step: int, places: int, side: int, near: Neighbours, found: int) -> int:
    """Adds so many places of a session on one side of its match; returns how many items have been found then."""
    row_F, weight = sequences.row_RF[near.user_S[session]], near.like_S[session]
    start, wrap, number = row_F[START], row_F[ROOM] - 1, np.int64(near.match_S[session])
    for _ in range(places):
        number += step
        item = sequences.first_P[np.uint32(start + (number & wrap))]
        if item != NOTHING:
            slot = place_of_item(near, item)
            near.item_E[found], near.slot_E[found] = item, slot
            if len(near.item_S):
                near.item_S[slot] = item
            found += near.spoken_SL[slot, 0] + near.spoken_SL[slot, 1] == 0.0
            near.spoken_SL[slot, side] += weight
        weight *= np.float32(PLACE_DECAY)
    return found
