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
    is_candidate,
    start_candidates,
)
from streamer.signals.neighbours import find_neighbours
from streamer.signals.pairs import CONTEXT, WIDE_DECAY, Pairs
from streamer.signals.trends import FOR_EVER, HALF_LIVES, RATES, Trends
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.fastmath import exp2_in_place, log2_1p_scaled
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
    """Fills ``scratch`` with the candidates of a context (items newest first) and their counting features.

    ``user`` is -1 for one who is unknown; ``turn`` is his number of interactions. ``exclude_seen`` takes out what is in his
    history; ``exclude_context`` takes out the context too (a list for him now, rather than a test of what he did next). Of the
    ``young`` items those become candidates that fit best by the affinities in ``scratch``.
    """
    start_candidates(scratch)
    if exclude_seen:
        _exclude_seen(signals.history, context_W, length, user, exclude_context, scratch)
    pairs_used = min(length, CONTEXT)
    decay = 1.0
    for n in range(pairs_used):
        item = context_W[n]
        forward_top = FORWARD_LAST if n == 0 else FORWARD_OTHER
        back_top = BACK_LAST if n == 0 else BACK_OTHER
        _add_row(signals, signals.forward, item, n == 0, decay, NEAR, WIDE, forward_top, scratch)
        _add_row(signals, signals.reverse, item, n == 0, decay, NEAR_BACK, WIDE_BACK, back_top, scratch)
        decay *= WIDE_DECAY
    if not exclude_seen:
        _add_repeats(signals, context_W, length, user, turn, scratch)
    if length > 0:
        find_neighbours(signals.journal, context_W, length, user, scratch.neighbours)
        _add_neighbours(signals, scratch)
    _add_trends(signals, scratch)
    if length > 0:
        _add_young(signals, young, scratch)
        _complete_neighbours(scratch)
    decay = 1.0
    for n in range(pairs_used):
        item = context_W[n]
        forward_top = FORWARD_LAST if n == 0 else FORWARD_OTHER
        back_top = BACK_LAST if n == 0 else BACK_OTHER
        _complete_row(signals.forward, item, n == 0, decay, NEAR, WIDE, forward_top, scratch)
        _complete_row(signals.reverse, item, n == 0, decay, NEAR_BACK, WIDE_BACK, back_top, scratch)
        decay *= WIDE_DECAY
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
def _add_row(
    signals: Signals,
    pairs: Pairs,
    item: int,
    is_last: bool,
    decay: float,
    near: int,
    wide: int,
    stop: int,
    scratch: Scratch,
) -> None:
    scale = pairs.scale_I[item]
    near_factor = np.float32(1.0) / (pairs.near_total_I[item] + np.float32(PRIOR) * scale)
    wide_factor = np.float32(decay) / (pairs.wide_total_I[item] + np.float32(PRIOR) * scale)
    start = pairs.rows.start_R[item]
    for at in range(start, start + min(stop, pairs.rows.length_R[item])):
        other = pairs.item_P[at]
        if signals.flags_I[other] & WITHDRAWN:
            continue
        place = add_candidate(scratch, other)
        if is_candidate(place):
            scratch.feature_FC[wide, place] += pairs.wide_P[at] * wide_factor
            if is_last:
                scratch.feature_FC[near, place] = pairs.near_P[at] * near_factor


@kernel
def _complete_row(
    pairs: Pairs, item: int, is_last: bool, decay: float, near: int, wide: int, first: int, scratch: Scratch
) -> None:
    scale = pairs.scale_I[item]
    near_factor = np.float32(1.0) / (pairs.near_total_I[item] + np.float32(PRIOR) * scale)
    wide_factor = np.float32(decay) / (pairs.wide_total_I[item] + np.float32(PRIOR) * scale)
    start = pairs.rows.start_R[item] + first
    stop = pairs.rows.start_R[item] + pairs.rows.length_R[item]
    _spread(pairs.item_P, pairs.wide_P, start, stop, wide_factor, scratch, scratch.feature_FC[wide])
    if is_last:
        _spread(pairs.item_P, pairs.near_P, start, stop, near_factor, scratch, scratch.feature_FC[near])


@leaf_kernel
def _spread(item_P: Array, value_P: Array, start: int, stop: int, factor: np.float32, scratch: Scratch, into_C: Array) -> None:
    """Adds the entries' values to the candidates that they belong to, without a branch: what belongs to none goes NOWHERE."""
    place_I, base = scratch.place_I, scratch.base[0]
    for at in range(start, stop):
        place = place_I[item_P[at]] - base
        into_C[place if place >= 0 else NOWHERE + (at & 15)] += value_P[at] * factor


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
def _add_neighbours(signals: Signals, scratch: Scratch) -> None:
    """Adds the strongest of the items that neighbour sessions speak for."""
    near = scratch.neighbours
    for n in range(near.found[1]):
        item = near.item_E[n]
        kept = (find_candidate(scratch, item) != EXCLUDED) & (signals.flags_I[item] & WITHDRAWN == 0)
        near.both_E[n] = (near.spoken_IL[item, 0] + near.spoken_IL[item, 1]) * np.float32(kept)
    if near.found[1] == 0:
        return
    least = max(kth_largest(near.both_E, near.found[1], NEIGHBOUR_CANDIDATES, near.work_E), LEAST)
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
def _complete_neighbours(scratch: Scratch) -> None:
    spoken_IL = scratch.neighbours.spoken_IL
    for n in range(scratch.found[0]):
        scratch.feature_FC[AFTER, n] = spoken_IL[scratch.item_C[n], 0]
        scratch.feature_FC[BEFORE, n] = spoken_IL[scratch.item_C[n], 1]


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
def _finish_features(trends: Trends, scratch: Scratch) -> None:
    count = scratch.found[0]
    now = trends.tick[0]
    for half in range(len(RATES)):
        aged_C = scratch.feature_FC[TREND + half, :count]
        for n in range(count):
            aged_C[n] = np.float32((trends.tick_I[scratch.item_C[n]] - now) * RATES[half])
        exp2_in_place(aged_C)
        share = SHARE[half] if half != FOR_EVER else 1.0 / max(now, 1)
        for n in range(count):
            aged_C[n] *= np.float32(trends.value_IH[scratch.item_C[n], half] * share)
        log2_1p_scaled(aged_C, TREND_SCALE)
    for feature in range(NEAR, RECENT):
        log2_1p_scaled(scratch.feature_FC[feature, :count], PAIR_SCALE)
    for feature in range(AFTER, TREND):
        log2_1p_scaled(scratch.feature_FC[feature, :count], PAIR_SCALE)
    for feature in range(RECENT, LAST):
        log2_1p_scaled(scratch.feature_FC[feature, :count], REPEAT_SCALE)
