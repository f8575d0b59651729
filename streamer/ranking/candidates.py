"""Candidates of a context and their counting features.

Candidates are the strongest neighbours of the window's items, the window and the history themselves where repeats are allowed, and
the strongest trends. Then completion: the rest of every row is added to candidates that are already there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import WITHDRAWN
from streamer.catalog.young import Young
from streamer.ranking.scratch import (
    AFTER,
    BEFORE,
    ENTRIES_AT_ONCE,
    EXCLUDED,
    LAST,
    NEAR,
    NEAR_BACK,
    NOWHERE,
    RECENT,
    REPEAT,
    TREND,
    WIDE,
    WIDE_BACK,
    Scratch,
    add_candidate,
    exclude_item,
    find_candidate,
    find_marked,
    is_candidate,
    mark_candidates,
    start_candidates,
    start_sources,
    take_row,
)
from streamer.signals.neighbours import find_neighbours, place_of_item
from streamer.signals.pairs import CONTEXT, WIDE_DECAY, Pairs
from streamer.signals.trends import FOR_EVER, HALF_LIVES, RATES, Trends
from streamer.tables.arrays import LINE_BYTES, Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.fastmath import exp2_in_place, log2_1p_scaled
from streamer.tables.prefetch import SOON, prefetch
from streamer.tables.select import kth_largest
from streamer.windows.history import COUNT_HALF_LIFE, History
from streamer.windows.journal import Journal

FORWARD_LAST, BACK_LAST, FORWARD_OTHER, BACK_OTHER = 48, 24, 8, 4
"""Entries of a row that become candidates: of the last item, and of the nine before it."""
TREND_CANDIDATES = 12
NEIGHBOUR_CANDIDATES = 40
YOUNG_CANDIDATES = 16
BEYOND = np.float32(1e9)
"""More than any affinity."""
HISTORY_TURNS = 200
LEAST = np.float32(1e-30)
PRIOR = 2.0
"""Counts of nothing added to a row's total: a row seen twice is trusted half as much as one seen often."""
PAIR_SCALE, REPEAT_SCALE, TREND_SCALE = 500.0, 8.0, 5_000.0
"""A feature is log2(1 + scale * probability): the scale is where evidence begins to count."""
LN2 = 0.6931472
SHARE = np.array([LN2 / half_life if np.isfinite(half_life) else 0.0 for half_life in HALF_LIVES])


class Signals(NamedTuple):
    """The counting state that scoring reads."""

    forward: Pairs
    reverse: Pairs
    trends: Trends
    history: History
    journal: Journal
    flags_I: Array


@kernel
def gather(
    signals: Signals,
    context_W: Array,
    length: int,
    user: int,
    turn: int,
    exclude_seen: bool,
    exclude_context: bool,
    young: Young,
    scratch: Scratch,
) -> None:
    """Fills ``scratch`` with the candidates of a context (items newest first), whose features are still to be filled in.

    ``user`` is -1 for one who is unknown; ``turn`` is his number of interactions. ``exclude_seen`` takes out what is in his
    history; ``exclude_context`` takes out the context too (a list for him now, rather than a test of what he did next). Of the
    ``young`` items those become candidates that fit best by the affinities in ``scratch``.
    """
    start_candidates(scratch)
    if exclude_seen:
        _exclude_seen(signals.history, context_W, length, user, exclude_context, scratch)
    for n in range(min(length, CONTEXT)):
        _add_row(signals, signals.forward, context_W[n], FORWARD_LAST if n == 0 else FORWARD_OTHER, scratch)
        _add_row(signals, signals.reverse, context_W[n], BACK_LAST if n == 0 else BACK_OTHER, scratch)
    if not exclude_seen:
        _add_repeats(signals, context_W, length, user, turn, scratch)
    if length > 0:
        find_neighbours(signals.journal, context_W, length, user, scratch.neighbours)
        _add_neighbours(signals, exclude_seen, scratch)
    _add_trends(signals, scratch)
    if length > 0:
        _add_young(signals, young, scratch)


@kernel
def fill_features(signals: Signals, context_W: Array, length: int, scratch: Scratch) -> None:
    """Fills in the counting features of all candidates of ``gather``, and which item of the context gives most to each."""
    if length > 0:
        _fill_neighbours(scratch)
    start_sources(scratch)
    decay = np.float32(1.0)
    mark_candidates(scratch, 1)
    for n in range(min(length, CONTEXT)):
        _fill_row(signals.forward, 0, context_W[n], n == 0, decay, NEAR, WIDE, scratch)
        _fill_row(signals.reverse, 1, context_W[n], n == 0, decay, NEAR_BACK, WIDE_BACK, scratch)
        decay *= np.float32(WIDE_DECAY)
    mark_candidates(scratch, 0)
    _finish_features(signals.trends, scratch)


@kernel
def _exclude_seen(history: History, context_W: Array, length: int, user: int, exclude_context: bool, scratch: Scratch) -> None:
    if user >= 0:
        start = history.rows.start_R[user]
        for at in range(start, start + history.rows.length_R[user]):
            exclude_item(scratch, history.item_P[at])
    if exclude_context:
        for n in range(length):
            exclude_item(scratch, context_W[n])


@leaf_kernel
def _add_row(signals: Signals, pairs: Pairs, item: int, stop: int, scratch: Scratch) -> None:
    """Adds the first ``stop`` entries of an item's row, which are its strongest."""
    start, length = pairs.rows.start_R[item], pairs.rows.length_R[item]
    for line in range(start, start + length, LINE_BYTES // 4):
        prefetch(pairs.item_P, line)
        prefetch(pairs.wide_P, line)
    for at in range(start, start + min(stop, length)):
        if not signals.flags_I[pairs.item_P[at]] & WITHDRAWN:
            add_candidate(scratch, pairs.item_P[at])


@kernel
def _fill_row(
    pairs: Pairs, side: int, item: int, is_last: bool, decay: np.float32, near: int, wide: int, scratch: Scratch
) -> None:
    """Adds what an item's row gives to the candidates, whichever of them it names: few of its entries do."""
    start = pairs.rows.start_R[item]
    stop = start + pairs.rows.length_R[item]
    prior = np.float32(PRIOR) * pairs.scale_I[item]
    wide_factor = decay / (pairs.wide_total_I[item] + prior)
    near_factor = np.float32(1.0) / (pairs.near_total_I[item] + prior)
    for first in range(start, stop, ENTRIES_AT_ONCE):
        last = min(first + ENTRIES_AT_ONCE, stop)
        item_N = pairs.item_P[first:last]
        found = find_marked(scratch, item_N)
        _spread(item_N, pairs.wide_P[first:last], found, wide_factor, scratch, scratch.row_C)
        if is_last:
            _spread(item_N, pairs.near_P[first:last], found, near_factor, scratch, scratch.feature_FC[near])
    take_row(scratch, item, side, scratch.feature_FC[wide])


@leaf_kernel
def _spread(item_N: Array, value_N: Array, found: int, factor: np.float32, scratch: Scratch, into_C: Array) -> None:
    """Adds the marked entries' values to the candidates that they belong to, without a branch: what belongs to none goes NOWHERE."""
    place_I, base, marked_N = scratch.place_I, scratch.base[0], scratch.marked_N
    for m in range(found):
        n = np.uint32(marked_N[m])  # an index without a sign need not be asked whether it counts from the end
        place = place_I[np.uint32(item_N[n])] - base
        into_C[place if place >= 0 else NOWHERE + (m & 15)] += value_N[n] * factor


@kernel
def _add_repeats(signals: Signals, context_W: Array, length: int, user: int, turn: int, scratch: Scratch) -> None:
    history = signals.history
    if user >= 0:
        start = history.rows.start_R[user]
        for at in range(start, start + history.rows.length_R[user]):
            item = history.item_P[at]
            age = turn - history.turn_P[at]
            if age > HISTORY_TURNS or signals.flags_I[item] & WITHDRAWN:
                continue
            place = add_candidate(scratch, item)
            if is_candidate(place):
                scratch.feature_FC[RECENT, place] = np.float32(1.0 / (1.0 + age))
                scratch.feature_FC[REPEAT, place] = np.float32(history.count_P[at] * 2.0 ** (-age / COUNT_HALF_LIFE))
    for n in range(length):
        if not signals.flags_I[context_W[n]] & WITHDRAWN:
            place = add_candidate(scratch, context_W[n])
            if is_candidate(place):
                scratch.feature_FC[RECENT, place] = max(scratch.feature_FC[RECENT, place], np.float32(1.0 / (1.0 + n)))
    if length > 0:
        place = find_candidate(scratch, context_W[0])
        if is_candidate(place):
            scratch.feature_FC[LAST, place] = 1.0


@kernel
def _add_neighbours(signals: Signals, some_excluded: bool, scratch: Scratch) -> None:
    """Adds the strongest of the items that neighbour sessions speak for."""
    near = scratch.neighbours
    found = near.found[1]
    for n in range(found):
        soon = near.item_E[min(n + SOON, found)]
        prefetch(signals.flags_I, soon)
        kept = signals.flags_I[near.item_E[n]] & WITHDRAWN == 0
        if some_excluded:
            prefetch(scratch.place_I, soon)
            kept &= find_candidate(scratch, near.item_E[n]) != EXCLUDED
        slot = np.uint32(near.slot_E[n])
        near.both_E[n] = (near.spoken_SL[slot, 0] + near.spoken_SL[slot, 1]) * np.float32(kept)
    if near.found[1] == 0:
        return
    least = max(kth_largest(near.both_E, near.found[1], NEIGHBOUR_CANDIDATES, near.work_1), LEAST)
    for n in range(near.found[1]):
        if near.both_E[n] >= least:
            add_candidate(scratch, near.item_E[n])


@kernel
def _add_young(signals: Signals, young: Young, scratch: Scratch) -> None:
    """Adds the young items that fit best and may be listed."""
    fit_Y, count = scratch.young_2Y[0], young.tended[0]
    for n in range(count):
        item = young.item_Y[n]
        if find_candidate(scratch, item) == EXCLUDED or signals.flags_I[item] & WITHDRAWN or not np.isfinite(fit_Y[n]):
            fit_Y[n] = -BEYOND
    if count == 0:
        return
    least = max(kth_largest(fit_Y, count, YOUNG_CANDIDATES, scratch.young_2Y[1]), np.float32(-0.5) * BEYOND)
    for n in range(count):
        if fit_Y[n] >= least:
            add_candidate(scratch, young.item_Y[n])


@kernel
def _fill_neighbours(scratch: Scratch) -> None:
    near = scratch.neighbours
    for n in range(scratch.found[0]):
        slot = place_of_item(near, scratch.item_C[n])
        scratch.feature_FC[AFTER, n] = near.spoken_SL[slot, 0]
        scratch.feature_FC[BEFORE, n] = near.spoken_SL[slot, 1]


@kernel
def _add_trends(signals: Signals, scratch: Scratch) -> None:
    trends = signals.trends
    for half in range(len(RATES)):
        taken = 0
        for n in range(trends.length_H[half]):
            item = trends.top_HT[half, n]
            if signals.flags_I[item] & WITHDRAWN:
                continue
            if is_candidate(add_candidate(scratch, item)):
                taken += 1
                if taken == TREND_CANDIDATES:
                    break


@kernel
def _age(value_C: Array, age_C: Array, rate: np.float32, share: float, work_C: Array) -> None:
    """Values aged by as many half-lives as ``rate`` makes of an age, as shares."""
    count = len(value_C)
    aged_C = work_C[:count]
    for n in range(count):
        aged_C[n] = age_C[n] * rate
    exp2_in_place(aged_C)
    for n in range(count):
        value_C[n] = aged_C[n] * np.float32(value_C[n] * share)


@kernel
def _finish_features(trends: Trends, scratch: Scratch) -> None:
    count = scratch.found[0]
    now = trends.tick[0]
    age_C, feature_FC = scratch.row_C, scratch.feature_FC
    for n in range(count):
        item = scratch.item_C[n]
        age_C[n] = np.float32(trends.tick_I[item] - now)
        for half in range(len(RATES)):
            feature_FC[TREND + half, n] = trends.value_IH[item, half]
    for half in range(len(RATES)):
        aged_C = feature_FC[TREND + half, :count]
        share = SHARE[half] if half != FOR_EVER else 1.0 / max(now, 1)
        _age(aged_C, age_C, np.float32(RATES[half]), share, scratch.fixed_C)
        log2_1p_scaled(aged_C, TREND_SCALE)
    age_C[:count] = 0.0
    for feature in range(NEAR, RECENT):
        log2_1p_scaled(scratch.feature_FC[feature, :count], PAIR_SCALE)
    for feature in range(AFTER, TREND):
        log2_1p_scaled(scratch.feature_FC[feature, :count], PAIR_SCALE)
    for feature in range(RECENT, LAST):
        log2_1p_scaled(scratch.feature_FC[feature, :count], REPEAT_SCALE)
