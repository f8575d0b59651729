"""Neighbour sessions: what users with a like window did around the place where they match, over the journal.

By the sequence- and time-aware neighbourhood of Garg et al. (2019, STAN):

    sim(s) = sum_n QUERY_DECAY ** n  over the window's items n (newest first) that are among the newest entries of s
    after(v) = sum_s sim(s) sum_d PLACE_DECAY ** d [v is d places after the match in s],   before(v) likewise; both over sum_s sim(s)

The match of a session is its newest entry of the newest matching item of the window; the sum runs over the SESSIONS most like it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.select import kth_largest
from streamer.windows.journal import APPENDED, NOTHING, SIZE_MAX, Journal, entry_at, newest_entry, oldest_position
from streamer.windows.users import WINDOW

POSTINGS = 60
"""Newest entries of an item that are looked at."""
SESSIONS = 60
REACH = 20
"""Places before and after the match."""
QUERY_DECAY = 0.85
PLACE_DECAY = 0.9
SLOTS_SESSIONS, SLOTS_ITEMS = 4_096, 16_384
SESSIONS_MAX = WINDOW * POSTINGS
ITEMS_MAX = 2 * REACH * SESSIONS
KEY_BITS = 31
STAMP_MAX = 1 << (63 - KEY_BITS)


class Neighbours(NamedTuple):
    """Working memory: sessions found with likeness and match, items found with what speaks for them; two hash sets find them."""

    session_slot: Array
    session_place: Array
    like_S: Array
    match_S: Array
    item_slot: Array
    item_place: Array
    item_E: Array
    after_E: Array
    before_E: Array
    both_E: Array
    work_E: Array
    found: Array
    """[sessions, items, stamp]."""


def new_neighbours() -> Neighbours:
    """Memory for one thread."""
    return Neighbours(
        session_slot=np.zeros(SLOTS_SESSIONS, np.int64),
        session_place=np.zeros(SLOTS_SESSIONS, np.int32),
        like_S=np.zeros(SESSIONS_MAX, np.float32),
        match_S=np.zeros(SESSIONS_MAX, np.int64),
        item_slot=np.zeros(SLOTS_ITEMS, np.int64),
        item_place=np.zeros(SLOTS_ITEMS, np.int32),
        item_E=np.zeros(ITEMS_MAX, np.int32),
        after_E=np.zeros(ITEMS_MAX, np.float32),
        before_E=np.zeros(ITEMS_MAX, np.float32),
        both_E=np.zeros(ITEMS_MAX, np.float32),
        work_E=np.zeros(max(ITEMS_MAX, SESSIONS_MAX), np.float32),
        found=np.zeros(3, np.int64),
    )


@leaf_kernel
def _start(near: Neighbours) -> None:
    near.found[0] = 0
    near.found[1] = 0
    near.found[2] += 1
    if near.found[2] == STAMP_MAX:
        near.found[2] = 1
        near.session_slot[:] = 0
        near.item_slot[:] = 0


@leaf_kernel
def _slot_of(slot_N: Array, key: int) -> int:
    """The slot that holds the key, or the free one where it belongs: its stamp is not the key's."""
    at = ((key & ((1 << KEY_BITS) - 1)) * 0x9E3779B1 >> 12) & (len(slot_N) - 1)
    while slot_N[at] != key and slot_N[at] >> KEY_BITS == key >> KEY_BITS:
        at = (at + 1) & (len(slot_N) - 1)
    return at


@kernel
def find_neighbours(journal: Journal, context_W: Array, length: int, user: int, near: Neighbours) -> None:
    """Fills ``near`` with the items around the matches of a context (items newest first); ``user`` himself is no neighbour."""
    _start(near)
    _find_sessions(journal, context_W, length, user, near)
    sessions = near.found[0]
    if sessions == 0:
        return
    least = kth_largest(near.like_S, sessions, SESSIONS, near.work_E)
    above, total = 0, np.float32(0.0)
    for n in range(sessions):
        if near.like_S[n] > least:
            above += 1
            total += near.like_S[n]
    equal = min(SESSIONS - above, sessions - above)
    total += np.float32(equal) * least
    for n in range(sessions):
        like = near.like_S[n]
        if like == least:
            equal -= 1
        if like > least or (like == least and equal >= 0):
            _spread(journal, near.match_S[n], like / total, near)


@kernel
def _find_sessions(journal: Journal, context_W: Array, length: int, user: int, near: Neighbours) -> None:
    oldest, newest, size = oldest_position(journal), journal.extent[APPENDED], journal.extent[SIZE_MAX]
    last = newest_entry(journal)
    stamp = near.found[2] << KEY_BITS
    weight = np.float32(1.0)
    for n in range(length):
        position = journal.newest_I[context_W[n]]
        for _ in range(POSTINGS):
            if position <= oldest:
                break
            at = entry_at(newest, last, size, position)
            other = journal.user_J[at]
            if other != NOTHING and other != user:  # noqa: PLR1714  a tuple would be made for each
                slot = _slot_of(near.session_slot, stamp | other)
                if near.session_slot[slot] != stamp | other:
                    near.session_slot[slot] = stamp | other
                    near.session_place[slot] = near.found[0]
                    near.like_S[near.found[0]] = 0.0
                    near.match_S[near.found[0]] = position
                    near.found[0] += 1
                near.like_S[near.session_place[slot]] += weight
            position = journal.same_J[at]
        weight *= np.float32(QUERY_DECAY)


@kernel
def _spread(journal: Journal, match: int, like: np.float32, near: Neighbours) -> None:
    """Adds what stands around a match."""
    last = newest_entry(journal)
    at = entry_at(journal.extent[APPENDED], last, journal.extent[SIZE_MAX], match)
    _walk(journal, journal.after_J, near.after_E, journal.after_J[at], like, near)
    _walk(journal, journal.before_J, near.before_E, journal.before_J[at], like, near)


@leaf_kernel
def _walk(journal: Journal, link_J: Array, into_E: Array, position: int, like: np.float32, near: Neighbours) -> None:
    oldest, newest, size = oldest_position(journal), journal.extent[APPENDED], journal.extent[SIZE_MAX]
    last = newest_entry(journal)
    weight = like
    for _ in range(REACH):
        if position <= oldest:
            break
        at = entry_at(newest, last, size, position)
        if journal.item_J[at] != NOTHING:
            into_E[_place(near, journal.item_J[at])] += weight
        weight *= np.float32(PLACE_DECAY)
        position = link_J[at]


@leaf_kernel
def _place(near: Neighbours, item: int) -> int:
    key = (near.found[2] << KEY_BITS) | item
    slot = _slot_of(near.item_slot, key)
    if near.item_slot[slot] != key:
        place = near.found[1]
        near.item_slot[slot] = key
        near.item_place[slot] = place
        near.item_E[place] = item
        near.after_E[place] = 0.0
        near.before_E[place] = 0.0
        near.found[1] = place + 1
    return near.item_place[slot]


@leaf_kernel
def find_item(near: Neighbours, item: int) -> int:
    """The place of an item among those found, NOTHING where it is not."""
    key = (near.found[2] << KEY_BITS) | item
    slot = _slot_of(near.item_slot, key)
    return near.item_place[slot] if near.item_slot[slot] == key else NOTHING
