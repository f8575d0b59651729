"""The compiled step: folds a micro-batch of columns into the state, record by record and group by group.

It stops where a block of the head is due (the learner runs, then the step goes on at the same record), where a table has as
many rows as allowed, and where a pool needs room. These points are functions of the records alone, so however a log is cut
into micro-batches the state is the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import Items, note_new_item
from streamer.engine.ahead import RECORDS, ask_for
from streamer.engine.columns import Columns
from streamer.engine.learn import close_group
from streamer.engine.rules import Rules
from streamer.engine.state import CAPPED, CLAMPED, DUPLICATE, FORGOTTEN, LATE, State
from streamer.events.model import EventType
from streamer.head.bilinear import (
    BLOCK_EXAMPLES,
    BLOCK_FIRST_MS,
    BLOCK_RECORDS,
    BLOCK_SHOWN,
    Block,
    Head,
    admit_item,
    note_shown,
)
from streamer.ranking.scratch import Scratch
from streamer.signals.pairs import Pairs
from streamer.signals.trends import Trends
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.ids import FREE_USED, ROWS_USED, IdTable, find_id, find_or_add_id, mix
from streamer.windows.dedup import is_late, remember_id, seen_before
from streamer.windows.forgotten import is_forgotten
from streamer.windows.group import COUNT, NOBODY, TARGETS, USER, add_target, must_close, open_group
from streamer.windows.history import History
from streamer.windows.impressions import SHOWN_MAX, Impressions, note_impression, take_ignored
from streamer.windows.journal import Journal, takes_a_group
from streamer.windows.users import Users, push_window, read_window, take_contribution

DONE, BLOCK_DUE, NEEDS_ROOM, USERS_FULL, ITEMS_FULL = range(5)
IMPRESSION = int(EventType.IMPRESSION)


class Touched(NamedTuple):
    """Effects: users whose list is to be rendered. ``mark_U`` is 1 for a user in ``user_T[:queued[0]]``, 2 while his list is on its way, 0 once confirmed; ``append_ms_U`` is the log's time."""

    mark_U: Array
    user_T: Array
    queued: Array
    append_ms_U: Array


@kernel
def step(state: State, rules: Rules, columns: Columns, start: int, touched: Touched, scratch: Scratch) -> tuple[int, int]:
    """Applies records from ``start`` on; returns (why it stopped, the record to go on with)."""
    for n in range(start, len(columns.type_N)):
        if n == start or n % RECORDS == 0:
            ask_for(state, columns, n, touched.mark_U, touched.append_ms_U)
        time_ms = columns.time_N[n]
        clamped = time_ms > columns.append_N[n] + rules.clock_ahead_ms_max
        if clamped:
            time_ms = columns.append_N[n]
        has_id = columns.event_N[n] != np.uint64(0)
        event = mix(columns.user_N[n] ^ mix(columns.event_N[n]))
        partition = columns.partition_N[n]
        if is_forgotten(state.forgotten, columns.user_N[n], time_ms):
            state.counter_C[FORGOTTEN] += 1
            continue
        if has_id and seen_before(state.dedup, event):
            state.counter_C[DUPLICATE] += 1
            continue
        if is_late(state.dedup, partition, time_ms, has_id, rules.lateness_ms_max):
            state.counter_C[LATE] += 1
            continue
        if block_is_due(state.block.state, rules, time_ms):
            return BLOCK_DUE, n
        if users_are_full(state.users.ids, rules, columns, n):
            return USERS_FULL, n
        if items_are_full(state.items.ids, rules, columns, n):
            return ITEMS_FULL, n
        if not pools_have_room(state.journal, state.history, state.forward, state.reverse, rules):
            return NEEDS_ROOM, n
        if clamped:
            state.counter_C[CLAMPED] += 1
        if has_id:
            remember_id(state.dedup, event)
        state.dedup.watermark_P[partition] = max(state.dedup.watermark_P[partition], time_ms)
        apply_event(state, rules, columns, n, time_ms, touched, scratch)
    return DONE, len(columns.type_N)


@kernel
def block_is_due(block_state: Array, rules: Rules, time_ms: int) -> bool:
    """Whether the open block closes before a record of that time."""
    if block_state[BLOCK_RECORDS] == 0:
        return False
    full = (
        block_state[BLOCK_RECORDS] >= rules.block_records
        or block_state[BLOCK_EXAMPLES] - block_state[BLOCK_SHOWN] >= rules.block_records
    )
    return full or time_ms > block_state[BLOCK_FIRST_MS] + rules.block_ms_max


@kernel
def users_are_full(ids: IdTable, rules: Rules, columns: Columns, n: int) -> bool:
    """Whether the record brings one user more than allowed."""
    if ids.used[ROWS_USED] - ids.used[FREE_USED] < rules.users_max or columns.type_N[n] == IMPRESSION:
        return False
    start, stop = columns.user_start_N1[n], columns.user_start_N1[n + 1] - 1
    return find_id(ids, columns.user_N[n], columns.user_text, start, stop) < 0


@kernel
def items_are_full(ids: IdTable, rules: Rules, columns: Columns, n: int) -> bool:
    """Whether the record brings more items than allowed."""
    room = rules.items_max - (ids.used[ROWS_USED] - ids.used[FREE_USED])
    first, last = columns.item_first_N1[n], columns.item_first_N1[n + 1]
    if last - first <= room or columns.type_N[n] == IMPRESSION:
        return False
    unknown = 0
    for m in range(first, last):
        start, stop = columns.item_start_M1[m], columns.item_start_M1[m + 1] - 1
        if find_id(ids, columns.item_M[m], columns.item_text, start, stop) < 0:
            unknown += 1
    return unknown > room


@kernel
def pools_have_room(journal: Journal, history: History, forward: Pairs, reverse: Pairs, rules: Rules) -> bool:
    """Whether closing a group fits whatever it does."""
    return takes_a_group(journal) and (
        history.rows.top[0] + rules.history_places <= len(history.item_P)
        and forward.rows.top[0] + rules.pair_places <= len(forward.item_P)
        and reverse.rows.top[0] + rules.pair_places <= len(reverse.item_P)
    )


@leaf_kernel
def apply_event(state: State, rules: Rules, columns: Columns, n: int, time_ms: int, touched: Touched, scratch: Scratch) -> None:
    """Applies one event that passed all checks: window now, everything else when its group closes."""
    kind = columns.type_N[n]
    state.counter_C[kind] += 1
    block = state.block.state
    if block[BLOCK_RECORDS] == 0:
        block[BLOCK_FIRST_MS] = time_ms
    block[BLOCK_RECORDS] += 1
    learn_ignored(state.users, state.impressions, state.block, rules, time_ms, scratch.context_W)
    if kind == IMPRESSION:
        if not note_shown_items(state.users, state.items.ids, state.impressions, rules, columns, n, time_ms):
            state.counter_C[CAPPED] += 1
        return
    user = find_or_add_id(
        state.users.ids, columns.user_N[n], columns.user_text, columns.user_start_N1[n], columns.user_start_N1[n + 1] - 1
    )
    touch_user(touched, user, columns.append_N[n])
    for m in range(columns.item_first_N1[n], columns.item_first_N1[n + 1]):
        item = item_of(state.items, state.head, state.trends, rules, columns, m)
        group = state.group
        if must_close(group, user, time_ms) or group.state[COUNT] == TARGETS:
            close_group(state, rules, scratch)
        if group.state[USER] == NOBODY:
            open_group(group, state.users, user, time_ms)
        moves = take_contribution(state.users, user, time_ms, rules.contributions_per_hour_max)
        if not moves:
            state.counter_C[CAPPED] += 1
        add_target(group, item, kind, moves)
        push_window(state.users, user, item, kind, time_ms)


@leaf_kernel
def note_shown_items(
    users: Users, items: IdTable, impressions: Impressions, rules: Rules, columns: Columns, n: int, time_ms: int
) -> bool:
    """Lets what was shown wait for a click; an impression admits nobody, and counts as one contribution of its user's hour. False where that is full."""
    start, stop = columns.user_start_N1[n], columns.user_start_N1[n + 1] - 1
    user = find_id(users.ids, columns.user_N[n], columns.user_text, start, stop)
    if user < 0 or rules.weight_impression <= 0.0:
        return True
    if not take_contribution(users, user, time_ms, rules.contributions_per_hour_max):
        return False
    first = columns.item_first_N1[n]
    for m in range(first, min(columns.item_first_N1[n + 1], first + SHOWN_MAX)):
        start, stop = columns.item_start_M1[m], columns.item_start_M1[m + 1] - 1
        item = find_id(items, columns.item_M[m], columns.item_text, start, stop)
        if item >= 0:
            note_impression(impressions, user, item, time_ms)
    return True


@leaf_kernel
def learn_ignored(users: Users, impressions: Impressions, block: Block, rules: Rules, time_ms: int, context_W: Array) -> None:
    """Makes negative examples of impressions whose wait is over, a few a record: as many as one can bring."""
    for _ in range(2 * SHOWN_MAX):
        at = take_ignored(impressions, users, time_ms, rules.click_wait_ms)
        if at == -2:
            return
        if at >= 0:
            length = read_window(users, impressions.user_M[at], context_W)
            note_shown(block, context_W, length, impressions.item_M[at], rules.weight_impression)


@kernel
def item_of(items: Items, head: Head, trends: Trends, rules: Rules, columns: Columns, m: int) -> int:
    """The row of an item reference; a new item is admitted."""
    ids, start, stop = items.ids, columns.item_start_M1[m], columns.item_start_M1[m + 1] - 1
    item = find_id(ids, columns.item_M[m], columns.item_text, start, stop)
    if item < 0:
        item = find_or_add_id(ids, columns.item_M[m], columns.item_text, start, stop)
        admit_item(head, item, rules.seed)
        note_new_item(items, item)
        trends.tick_I[item] = trends.tick[0]
    return item


@kernel
def touch_user(touched: Touched, user: int, append_ms: int) -> None:
    """Notes that the user's list is to be rendered."""
    touched.append_ms_U[user] = append_ms
    if touched.mark_U[user] != 1:
        touched.mark_U[user] = 1
        touched.user_T[touched.queued[0]] = user
        touched.queued[0] += 1
