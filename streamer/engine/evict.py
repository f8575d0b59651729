"""Keeping tables within their bounds: when users or items are as many as allowed, the least recently active sixteenth goes.

A row is freed only after everything that refers to it: nothing learned of the old id is left for the new one. It happens at a record
of the log, when a table is full, so it is the same however the log is cut. Rare, and linear in the tables.
"""

from __future__ import annotations

import numpy as np

from streamer.catalog.items import WITHDRAWN
from streamer.catalog.likeness import clear_places, keep_young
from streamer.catalog.vectors import ContentVectors
from streamer.catalog.young import tend_young
from streamer.engine.state import State
from streamer.head.bilinear import BLOCK_EXAMPLES, RECENT_TARGETS, Head, fields_by_item
from streamer.signals.pairs import CONTEXT, Pairs, drop_items
from streamer.signals.trends import FOR_EVER, Trends
from streamer.tables.arrays import Array
from streamer.tables.ids import ROWS_USED, free_rows
from streamer.tables.pools import give_pieces
from streamer.windows.group import COUNT, LENGTH, NOBODY, USER, Group, drop_group
from streamer.windows.history import clear_histories, clear_history, drop_from_history
from streamer.windows.impressions import drop_from_impressions
from streamer.windows.journal import drop_items_from_journal, drop_users_from_journal, forget_in_journal
from streamer.windows.users import clear_user, drop_from_windows

SHARE = 16


def evict_users(state: State, users_max: int) -> tuple[State, Array]:
    """Frees the rows of the users who were active longest ago, but for the one of the open group; returns them too."""
    rows = int(state.users.ids.used[ROWS_USED])
    live_U = state.users.ids.size_R[:rows] > 0
    if state.group.state[USER] != NOBODY:
        live_U[state.group.state[USER]] = False
    gone_T = _first_by(state.users.last_ms_U[:rows], live_U, max(1, users_max // SHARE))
    for column in state.users[1:]:
        column[gone_T] = 0
    clear_histories(state.history, gone_T)
    drop_users_from_journal(state.journal, gone_T)
    drop_from_impressions(state.impressions, users=gone_T)
    return state._replace(users=state.users._replace(ids=free_rows(state.users.ids, gone_T))), gone_T


def forget_user(state: State, user: int) -> None:
    """Clears all that is the user's own: nothing in any table but his id in ``users.ids`` belongs to his row any more."""
    clear_user(state.users, user)
    clear_history(state.history, user)
    forget_in_journal(state.journal, user)
    drop_from_impressions(state.impressions, users=np.array([user]))
    if state.group.state[USER] == user:
        drop_group(state.group)


def evict_items(state: State, content: ContentVectors, items_max: int) -> tuple[State, Array]:
    """Frees the rows of the items that were chosen longest ago, but for those that open groups and blocks hold; returns them too."""
    rows = int(state.items.ids.used[ROWS_USED])
    live_I = state.items.ids.size_R[:rows] > 0
    live_I[_held(state)] = False
    withdrawn_I = live_I & ((state.items.flags_I[:rows] & WITHDRAWN) != 0)
    if np.count_nonzero(withdrawn_I) <= items_max // 2:
        live_I[withdrawn_I] = False  # else one that is chosen again would be listed again
    gone_T = _first_by(state.trends.tick_I[:rows], live_I, max(1, items_max // SHARE))
    gone_I = np.zeros(len(state.items.flags_I), np.bool_)
    gone_I[gone_T] = True
    drop_from_windows(state.users, gone_I)
    drop_from_history(state.history, gone_I)
    drop_items_from_journal(state.journal, gone_T)
    drop_from_impressions(state.impressions, items=gone_T)
    for pairs in (state.forward, state.reverse):
        _drop_pairs(pairs, gone_T, gone_I)
    _drop_trends(state.trends, gone_T, gone_I)
    _clear_head(state.head, gone_T)
    clear_places(state.likeness, gone_T)
    state.items.flags_I[gone_T] = 0
    content.drop(state.items, gone_T)
    ids = free_rows(state.items.ids, gone_T)
    state = state._replace(items=state.items._replace(ids=ids))
    tend_young(state.young, state.items, state.trends.value_IH[:, FOR_EVER], rows)
    keep_young(state.likeness, state.young)
    return state, gone_T


def _first_by(age_R: Array, allowed_R: Array, count: int) -> Array:
    """The allowed rows of smallest ``age_R``, ties by row, in order of row."""
    row_T = np.flatnonzero(allowed_R)
    return np.sort(row_T[np.argsort(age_R[row_T], kind="stable")[:count]])


def _held(state: State) -> Array:
    group: Group = state.group
    examples = int(state.block.state[BLOCK_EXAMPLES])
    recent = min(int(state.head.recent[0]), RECENT_TARGETS)
    return np.concatenate(
        [
            group.context_W[: int(group.state[LENGTH])],
            group.target_G[: int(group.state[COUNT])],
            state.block.context_BN[:examples][np.arange(CONTEXT) < state.block.length_B[:examples, None]],
            state.block.target_B[:examples],
            state.head.recent_T[:recent],
        ]
    )


def _drop_pairs(pairs: Pairs, gone_T: Array, gone_I: Array) -> None:
    give_pieces(pairs.rows, gone_T)
    pairs.scale_I[gone_T] = 1.0
    pairs.near_total_I[gone_T] = 0.0
    pairs.wide_total_I[gone_T] = 0.0
    drop_items(pairs, gone_I)


def _drop_trends(trends: Trends, gone_T: Array, gone_I: Array) -> None:
    trends.value_IH[gone_T] = 0.0
    trends.tick_I[gone_T] = 0
    for half in range(len(trends.length_H)):
        length = int(trends.length_H[half])
        stay = np.flatnonzero(~gone_I[trends.top_HT[half, :length]])
        for table in (trends.top_HT, trends.key_HT):
            kept = table[half, stay]
            table[half] = 0
            table[half, : len(stay)] = kept
        trends.length_H[half] = len(stay)


def _clear_head(head: Head, gone_T: Array) -> None:
    for name in fields_by_item(head):
        getattr(head, name)[gone_T] = 0
