"""From scores of the whole catalogue to a ranking."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import numpy as np

from streamer.evaluate.baselines.growing import Floats
from streamer.evaluate.method import DEPTH, Ranked


def ranked(score_N: Floats, excluded: AbstractSet[int]) -> Ranked:
    """The best ``DEPTH`` items that are not excluded, ties in the order of their numbers; ``score_N`` stays as it is.

    Args:
        score_N: finite scores of the N items seen so far.
        excluded: items to leave out; those never seen are passed over.
    """
    score_N = score_N.copy()
    out = np.fromiter(excluded, np.int64, len(excluded))
    score_N[out[out < len(score_N)]] = -np.inf
    item_K = np.arange(len(score_N))
    if len(score_N) > DEPTH:
        least = np.partition(score_N, len(score_N) - DEPTH)[len(score_N) - DEPTH]
        item_K = np.flatnonzero(score_N >= least)  # all that tie at the end, so that the cut is the same on every machine
    item_K = item_K[np.lexsort((item_K, -score_N[item_K]))][:DEPTH]
    item_K = item_K[score_N[item_K] > -np.inf]
    return Ranked(item_K, score_N[item_K])


def backed_off(score_N: Floats, count_N: Floats) -> Floats:
    """Positive scores as they are; every other item below them by its popularity, so that a list is full.

    Whoever serves a method that knows only some items fills its lists so; without it the method would lose to popularity
    wherever it has seen too little.
    """
    return np.where(score_N > 0.0, score_N, -1.0 / (1.0 + count_N))
