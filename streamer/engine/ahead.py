"""Asks for what records will touch, a few dozen at a time, before they are applied: it changes nothing.

In a state of a million users and items hardly a row is in a cache. Applied one after the other, records wait for each row in turn; asked for
together, rows come at once. The levels follow one another: where a row is must be there before what it points to can be asked for.
"""

from __future__ import annotations

import numpy as np

from streamer.engine.columns import Columns
from streamer.engine.state import State
from streamer.head.bilinear import Head
from streamer.signals.pairs import CONTEXT, Pairs
from streamer.signals.trends import FOR_EVER, Trends
from streamer.tables.arrays import LINE_BYTES, Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.ids import IdTable, mix
from streamer.tables.prefetch import prefetch
from streamer.tables.rings import ask_for_next
from streamer.windows.dedup import Dedup
from streamer.windows.history import History
from streamer.windows.journal import Journal, ask_for_oldest
from streamer.windows.users import WINDOW, Users

RECORDS = 32
"""Asked for together: what they touch fits into the second cache, with as many neighbours an item as are shipped."""


@kernel
def ask_for(state: State, columns: Columns, first: int, mark_U: Array, append_ms_U: Array) -> None:
    """Asks for what ``RECORDS`` records from ``first`` on will touch."""
    stop = min(first + RECORDS, len(columns.type_N))
    items = range(columns.item_first_N1[first], columns.item_first_N1[stop])
    for n in range(first, stop):
        _ask_for_slots(state.users.ids, state.dedup, columns, n)
    for m in items:
        prefetch(state.items.ids.slot_S, _slot(state.items.ids, columns.item_M[m]))
    for n in range(first, stop):
        row = _row(state.users.ids, columns.user_N[n])
        if row >= 0:
            _ask_for_user(state.users, state.history, state.journal, row)
            prefetch(mark_U, row)
            prefetch(append_ms_U, row)
    for m in items:
        row = _row(state.items.ids, columns.item_M[m])
        if row >= 0:
            _ask_for_item(state.items.ids, state.trends, state.journal, state.head, row)
            _ask_for_row(state.reverse, row)
    ask_for_oldest(state.journal, len(items))
    for n in range(first, stop):
        row = _row(state.users.ids, columns.user_N[n])
        if row >= 0:
            _ask_for_history_and_context(state.users, state.history, state.forward, row)
            ask_for_next(state.journal.sequences, row)
    for m in items:
        row = _row(state.items.ids, columns.item_M[m])
        if row >= 0:
            _ask_for_pairs(state.reverse, row)
            ask_for_next(state.journal.postings, row)
    for n in range(first, stop):
        row = _row(state.users.ids, columns.user_N[n])
        if row >= 0:
            for back in range(1, CONTEXT + 1):
                item = _window_item(state.users, row, back)
                if item >= 0:
                    _ask_for_pairs(state.forward, item)


@leaf_kernel
def _slot(table: IdTable, hashed: np.uint64) -> np.uint64:
    return hashed & np.uint64(len(table.slot_S) - 1)


@leaf_kernel
def _row(table: IdTable, hashed: np.uint64) -> int:
    """The row that the first slot tells of: nearly always the id's."""
    return table.slot_S[_slot(table, hashed)]


@leaf_kernel
def _window_item(users: Users, user: int, back: int) -> int:
    pushed = users.pushed_U[user]
    return users.item_UW[user, (pushed - back) % WINDOW] if pushed >= back else -1


@leaf_kernel
def _ask_for_slots(users: IdTable, dedup: Dedup, columns: Columns, n: int) -> None:
    prefetch(users.slot_S, _slot(users, columns.user_N[n]))
    event = mix(columns.user_N[n] ^ mix(columns.event_N[n]))
    slot = event & np.uint64(dedup.slot_GS.shape[1] - 1)
    prefetch(dedup.slot_GS[0], slot)
    prefetch(dedup.slot_GS[1], slot)


@leaf_kernel
def _ask_for_id(table: IdTable, row: int) -> None:
    prefetch(table.hash_R, row)
    prefetch(table.start_R, row)
    prefetch(table.size_R, row)


@leaf_kernel
def _ask_for_user(users: Users, history: History, journal: Journal, row: int) -> None:
    _ask_for_id(users.ids, row)
    prefetch(users.pushed_U, row)
    prefetch(users.last_ms_U, row)
    prefetch(users.repeats_U, row)
    prefetch(users.hour_U, row)
    prefetch(users.hour_count_U, row)
    prefetch(users.type_UW, row)
    for byte in range(0, WINDOW * 4, LINE_BYTES):
        prefetch(users.item_UW[row], byte // 4)
    for byte in range(0, WINDOW * 8, LINE_BYTES):
        prefetch(users.time_UW[row], byte // 8)
    prefetch(history.rows.start_R, row)
    prefetch(history.rows.length_R, row)
    prefetch(journal.sequences.row_RF, row)


@leaf_kernel
def _ask_for_item(ids: IdTable, trends: Trends, journal: Journal, head: Head, row: int) -> None:
    _ask_for_id(ids, row)
    prefetch(trends.value_IH, row)
    prefetch(trends.value_IH[row], FOR_EVER)  # a row may lie in two lines
    prefetch(trends.tick_I, row)
    prefetch(journal.postings.row_RF, row)
    prefetch(journal.live_I, row)
    prefetch(head.recent_count_I, row)


@leaf_kernel
def _ask_for_row(pairs: Pairs, item: int) -> None:
    prefetch(pairs.rows.start_R, item)
    prefetch(pairs.rows.length_R, item)
    prefetch(pairs.scale_I, item)
    prefetch(pairs.near_total_I, item)
    prefetch(pairs.wide_total_I, item)


@leaf_kernel
def _ask_for_pairs(pairs: Pairs, item: int) -> None:
    """The entries' items, which are searched, and the counts of the first and of the place for a new one: most are either strong or new."""
    start, length = pairs.rows.start_R[item], pairs.rows.length_R[item]
    for place in range(start, start + length, LINE_BYTES // 4):
        prefetch(pairs.item_P, place)
    prefetch(pairs.item_P, start + length)
    for place in (start, start + length):
        prefetch(pairs.near_P, place)
        prefetch(pairs.wide_P, place)


@leaf_kernel
def _ask_for_history_and_context(users: Users, history: History, forward: Pairs, user: int) -> None:
    start = history.rows.start_R[user]
    prefetch(history.item_P, start)
    prefetch(history.count_P, start)
    prefetch(history.turn_P, start)
    prefetch(history.tick_P, start)
    prefetch(history.kind_P, start)
    for back in range(1, CONTEXT + 1):
        item = _window_item(users, user, back)
        if item >= 0:
            _ask_for_row(forward, item)
