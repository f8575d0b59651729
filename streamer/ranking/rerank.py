"""What may come between scores and lists: a floor on what providers get of the lists' attention, and diversity within a list.

Both are terms of the additive score, told as reasons, so that terms still add up and entries still stand in the order of their
scores. Switched off, nothing is added and no bit differs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.head.bilinear import DIMENSIONS, Head
from streamer.ranking.exposure import Floats
from streamer.ranking.scratch import CANDIDATES, Scratch
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel
from streamer.tables.vectors import add_scaled, dot

POOL = 100
"""The best candidates of a list, among which a diverse one is chosen; all of a longer list's."""
LIFT_MAX = 8.0
"""What an item of a provider who was not shown at all gains, in units of the score (a logit). With half of it, providers stay further below their floors."""
SHOWN_ONCE = 1.0
"""A list's first place. A provider whose floor is less than that gains less: what it lacks is no more than chance."""
LENGTH_MIN = np.float32(1e-6)
"""A shorter vector has no direction: it is like no other."""
FAIR, DIVERSE = range(2)
"""Rows of ``Scratch.rerank_2C``."""


class Rerank(NamedTuple):
    """What is on, and working memory: ``lift_P`` is what a provider's items gain, ``trade`` what likeness costs."""

    fair: bool
    lift_P: Array
    provider_I: Array
    trade: float
    """0: off; diversity d costs d / (1 - d) times the spread of the scores of the best candidates for an entry that equals one above it."""
    place_T: Array
    near_T: Array
    taken_T: Array
    vector_TD: Array


def new_rerank(exposure_min: float, diversity: float) -> Rerank:
    """As configured; who gains what, ``lift_P`` and ``provider_I``, is put in before each ranking."""
    return Rerank(
        fair=exposure_min > 0.0,
        lift_P=np.zeros(0, np.float32),
        provider_I=np.zeros(0, np.int32),
        trade=diversity / (1.0 - diversity),
        place_T=np.zeros(CANDIDATES, np.int64),
        near_T=np.zeros(CANDIDATES, np.float32),
        taken_T=np.zeros(CANDIDATES, np.bool_),
        vector_TD=np.zeros((CANDIDATES, DIMENSIONS), np.float32),
    )


def in_memory_of(rerank: Rerank, other: Rerank) -> Rerank:
    """The same with another one's working memory, for another thread."""
    return rerank._replace(**{name: getattr(other, name) for name in ("place_T", "near_T", "taken_T", "vector_TD")})


def lifts(exposure_P: Floats, items_P: Array, exposure_min: float) -> Array:
    """What the items of each provider gain in every list, float32 [P]: in proportion to what it lacks of its floor.

    The floor is ``exposure_min`` times what providers would get if attention went by the size of their catalogues; a provider at or
    above it gains nothing. A proportional controller, as FairCo has it (Morik, Singh, Hong and Joachims 2020), with two
    differences: what is lacking is taken relative to the floor, so that a gain is bounded and does not depend on how busy the stream
    is, and exposures fade, so that old wrongs are not paid for ever.

    Args:
        exposure_P: of each provider, in units of a list's first place.
        items_P: how many items of each lists can show.
        exposure_min: 0 to 1.

    >>> lifts(np.array([99.0, 1.0]), np.array([1, 1]), 0.5).tolist()
    [0.0, 7.384615421295166]
    """
    floor_P = exposure_min * float(exposure_P.sum()) * items_P / max(int(items_P.sum()), 1)
    lacking_P = np.maximum(floor_P - exposure_P, 0.0) / (floor_P + SHOWN_ONCE)
    return (LIFT_MAX * lacking_P).astype(np.float32)


@kernel
def pool_of(rerank: Rerank, entries: int) -> int:
    """How many of the best candidates a list of so many entries is chosen from."""
    return max(entries, POOL) if rerank.trade > 0.0 else entries


@kernel
def lift_providers(rerank: Rerank, count: int, scratch: Scratch) -> None:
    """Adds to each candidate's logit what its provider lacks of its floor, where there is one."""
    if not rerank.fair:
        return
    for n in range(count):
        provider = rerank.provider_I[scratch.item_C[n]]
        lift = rerank.lift_P[provider] if 0 <= provider < len(rerank.lift_P) else np.float32(0.0)
        scratch.rerank_2C[FAIR, n] = lift
        scratch.logit_C[n] += lift


@kernel
def diversify(rerank: Rerank, head: Head, found: int, entries: int, scratch: Scratch) -> int:
    """Chooses and orders a list out of the best candidates by maximal marginal relevance; returns its entries.

    Greedy, as Carbonell and Goldstein (1998): the next entry has the largest logit less ``trade`` times the spread of the pool's
    logits times its largest cosine to what is chosen already (fused vectors; below 0 counts as 0). What that takes stays in the logit. Where
    diversity is off the list is what it was.

    Args:
        rerank: What is on.
        head: Whose fused vectors tell how like two items are.
        found: Of the best candidates, whose places are the first of ``scratch.place_C``, best first.
        entries: Of the list, at most.
        scratch: Its ``place_C``, ``logit_C`` and ``rerank_2C`` are written.
    """
    if rerank.trade == 0.0 or found == 0:
        return min(found, entries)
    logit_C, place_T, near_T = scratch.logit_C, rerank.place_T, rerank.near_T
    for t in range(found):
        place_T[t] = scratch.place_C[t]
        near_T[t] = 0.0
        rerank.taken_T[t] = False
        _fill_direction(head.fused_ID[scratch.item_C[place_T[t]]], rerank.vector_TD[t])
    price = np.float32(rerank.trade * (logit_C[place_T[0]] - logit_C[place_T[found - 1]]))
    for k in range(min(found, entries)):
        best, most = -1, np.float32(-np.inf)
        for t in range(found):
            value = logit_C[place_T[t]] - price * near_T[t]
            if not rerank.taken_T[t] and (best < 0 or value > most):
                best, most = t, value
        place = place_T[best]
        rerank.taken_T[best] = True
        scratch.place_C[k] = place
        scratch.rerank_2C[DIVERSE, place] = -price * near_T[best]
        logit_C[place] = most
        _note_near(rerank.vector_TD, found, best, near_T)
    return min(found, entries)


@kernel
def _fill_direction(row_D: Array, vector_D: Array) -> None:
    length = np.sqrt(dot(row_D, row_D))
    vector_D[:] = 0.0
    if np.isfinite(length) and length > LENGTH_MIN:
        add_scaled(vector_D, np.float32(1.0) / length, row_D)


@kernel
def _note_near(vector_TD: Array, count: int, chosen: int, near_T: Array) -> None:
    for t in range(count):
        near_T[t] = max(near_T[t], dot(vector_TD[t], vector_TD[chosen]))
