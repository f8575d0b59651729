"""The additive logit of every candidate of a context."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.likeness import Likeness
from streamer.catalog.young import Young
from streamer.head.bilinear import DIMENSIONS, Head, affinity, fill_query
from streamer.head.gate import Gate, fill_phi, fill_weights, weigh
from streamer.ranking.candidates import Signals, fill_features, gather
from streamer.ranking.liking import ask_young, fill_likeness, used_features
from streamer.ranking.scratch import (
    AFTER,
    BEFORE,
    FEATURES,
    LAST,
    NEAR,
    NEAR_BACK,
    NEURAL,
    RECENT,
    REPEAT,
    TREND,
    UNTRIED,
    WIDE,
    WIDE_BACK,
    YOUNG,
    YOUNG_CONTENT,
    Scratch,
)
from streamer.signals.trends import FOR_EVER, Trends
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel
from streamer.tables.prefetch import prefetch
from streamer.windows.users import WINDOW

FIXED_F = np.zeros(FEATURES, np.float32)
"""Weights at the start, and the yardstick for what is learned."""
FIXED_F[[NEAR, NEAR_BACK, WIDE, WIDE_BACK]] = 0.3, 0.1, 0.5, 0.2
FIXED_F[[RECENT, REPEAT, LAST]] = 0.3, 0.3, -1.0
FIXED_F[[AFTER, BEFORE]] = 0.3, 0.2
FIXED_F[TREND : TREND + FOR_EVER] = 0.1
FIXED_F[TREND + FOR_EVER] = 0.1
FIXED_F[UNTRIED] = 1.5
NEURAL_MAX = 10.0
YOUTH = 4.0
"""Weighted interactions that halve an item's youth."""


class Model(NamedTuple):
    """All that scoring reads."""

    signals: Signals
    gate: Gate
    head: Head
    young: Young
    likeness: Likeness


class Asker(NamedTuple):
    """For whom: the user's row (-1: unknown), his turn, ms since his last event, his share of repeats."""

    user: int
    turn: int
    elapsed_ms: int
    repeats: float


@kernel
def score(
    model: Model, context_W: Array, length: int, asker: Asker, exclude_seen: bool, exclude_context: bool, scratch: Scratch
) -> int:
    """Fills ``scratch`` with candidates, features, weights and logits; returns how many candidates there are."""
    if length > 0:
        fill_query(model.head, context_W, length, scratch.mean_D, scratch.query_D)
        ask_young(model.likeness, model.young, context_W, length, scratch)
    gather(model.signals, context_W, length, asker.user, asker.turn, exclude_seen, exclude_context, model.young, scratch)
    count = scratch.found[0]
    fetch_rows(model, count, scratch)
    fill_features(model.signals, context_W, length, scratch)
    if length > 0:
        neural_C = scratch.feature_FC[NEURAL]
        affinity(model.head, scratch.query_D, scratch.item_C, count, neural_C)
        center(neural_C, count)
    fill_youth(model.signals.trends, count, scratch)
    fill_likeness(model.likeness, model.signals.trends, length, count, scratch)
    fill_phi(scratch.phi_K, length, WINDOW, asker.elapsed_ms, asker.repeats)
    fill_weights(model.gate, scratch.phi_K, scratch.weight_F)
    weigh(scratch.feature_FC, scratch.weight_F[: used_features(model.likeness)], count, scratch.logit_C)
    return count


@kernel
def fetch_rows(model: Model, count: int, scratch: Scratch) -> None:
    """Asks for what will be read of every candidate, while pairs are counted."""
    for n in range(count):
        item = scratch.item_C[n]
        prefetch(model.head.fused_ID, item)
        prefetch(model.head.fused_ID[item], DIMENSIONS // 2)
        prefetch(model.head.bias_I, item)
        prefetch(model.signals.trends.tick_I, item)
        prefetch(model.signals.trends.value_IH, item)
        prefetch(model.signals.trends.value_IH[item], FOR_EVER)  # a row may lie in two lines


@kernel
def fill_youth(trends: Trends, count: int, scratch: Scratch) -> None:
    """How young candidates are, from 1 down as they are chosen, alone and times how well they fit."""
    for n in range(count):
        youth = np.float32(YOUTH) / (np.float32(YOUTH) + np.float32(trends.value_IH[scratch.item_C[n], FOR_EVER]))
        scratch.feature_FC[YOUNG, n] = youth
        scratch.feature_FC[YOUNG_CONTENT, n] = youth * scratch.feature_FC[NEURAL, n]


@kernel
def center(value_C: Array, count: int) -> None:
    """Takes out the mean, which says nothing about order, and bounds what is left; what is not finite counts as 0."""
    total = np.float32(0.0)
    for n in range(count):
        if not np.isfinite(value_C[n]):
            value_C[n] = 0.0
        total += value_C[n]
    mean = total / np.float32(max(count, 1))
    for n in range(count):
        value_C[n] = min(max(value_C[n] - mean, np.float32(-NEURAL_MAX)), np.float32(NEURAL_MAX))


@kernel
def rank_of(logit_C: Array, count: int, place: int) -> float:
    """1-based rank of a candidate, ties at their middle."""
    wanted = logit_C[place]
    better, equal = 0, 0
    for n in range(count):
        if logit_C[n] > wanted:
            better += 1
        elif logit_C[n] == wanted:
            equal += 1
    return 1.0 + better + (equal - 1) / 2.0
