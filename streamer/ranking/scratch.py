"""Working memory of one scoring: candidates of one context and their features. Nothing of it outlives the call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.signals.neighbours import Neighbours, new_neighbours
from streamer.signals.trends import HALF_LIVES
from streamer.tables.arrays import Array
from streamer.tables.compile import leaf_kernel

CANDIDATES = 1_024
NOWHERE = CANDIDATES
"""The first of 16 places beyond the candidates, where what belongs to none is added."""
STRIDE = CANDIDATES + 16
DIRECT = 16_384
SLOTS = 4_096
ITEM_BITS, PLACE_BITS = 31, 13
STAMP_MAX = 1 << (63 - ITEM_BITS - PLACE_BITS)
"""A slot of the hash set is one number, (stamp, item, place): a slot with another stamp than the present one is empty."""

TERMS = (
    "transition",
    "transition_back",
    "co_visit",
    "co_visit_back",
    "repeat_recent",
    "repeat",
    "last",
    "neighbours",
    "neighbours_before",
    *(f"trend_{half_life:g}" for half_life in HALF_LIVES[:-1]),
    "popularity",
    "content",
)
"""Terms of the additive logit, by feature number (F of them)."""

NEAR, NEAR_BACK, WIDE, WIDE_BACK, RECENT, REPEAT, LAST, AFTER, BEFORE, TREND = range(10)
NEURAL = TREND + len(HALF_LIVES)
FEATURES = NEURAL + 1
NEW = FEATURES
"""The reason of an entry that explores: no term of the logit."""
REASON_NAMES = (*TERMS, "new")
ABSENT, EXCLUDED, FULL = -1, -2, -3
_EXCLUDED_PLACE = (1 << PLACE_BITS) - 1


class Scratch(NamedTuple):
    """``item_C`` are the candidates, ``feature_FC`` their features; a hash set finds a candidate by item."""

    item_C: Array
    feature_FC: Array
    logit_C: Array
    fixed_C: Array
    weight_F: Array
    phi_K: Array
    step_2W: Array
    mean_D: Array
    query_D: Array
    wanted_G: Array
    context_W: Array
    place_C: Array
    found: Array
    """[candidates]."""
    slot_S: Array
    stamp: Array
    direct_T: Array
    """Place of the candidate whose item has these low bits, NOWHERE where there is none: one look, no search."""
    crowded_C: Array
    """Places of candidates that found their direct place taken."""
    crowded: Array
    neighbours: Neighbours


def new_scratch(dimensions: int, context_features: int) -> Scratch:
    """Memory for one thread."""
    return Scratch(
        item_C=np.full(STRIDE, -1, np.int32),
        feature_FC=np.zeros((FEATURES, STRIDE), np.float32),
        logit_C=np.zeros(CANDIDATES, np.float32),
        fixed_C=np.zeros(CANDIDATES, np.float32),
        weight_F=np.zeros(FEATURES, np.float32),
        phi_K=np.zeros(context_features, np.float32),
        step_2W=np.zeros((2, FEATURES * context_features), np.float64),
        mean_D=np.zeros(dimensions, np.float32),
        query_D=np.zeros(dimensions, np.float32),
        wanted_G=np.zeros(CANDIDATES, np.int64),
        context_W=np.zeros(CANDIDATES, np.int32),
        place_C=np.zeros(CANDIDATES, np.int64),
        found=np.zeros(1, np.int64),
        slot_S=np.zeros(SLOTS, np.int64),
        direct_T=np.full(DIRECT, NOWHERE, np.int16),
        crowded_C=np.zeros(CANDIDATES, np.int32),
        crowded=np.zeros(1, np.int64),
        stamp=np.zeros(1, np.int64),
        neighbours=new_neighbours(),
    )


@leaf_kernel
def _first_slot(item: np.int64) -> np.int64:
    return ((item * 0x9E3779B1) >> 12) & (SLOTS - 1)


@leaf_kernel
def start_candidates(scratch: Scratch) -> None:
    """Forgets the candidates of the scoring before."""
    scratch.stamp[0] += 1
    if scratch.stamp[0] == STAMP_MAX:
        scratch.stamp[0] = 1
        scratch.slot_S[:] = 0
    for place in range(scratch.found[0]):
        scratch.direct_T[scratch.item_C[place] & (DIRECT - 1)] = NOWHERE
    scratch.crowded[0] = 0
    scratch.feature_FC[:, : scratch.found[0]] = 0.0
    scratch.found[0] = 0


@leaf_kernel
def find_candidate(scratch: Scratch, item: int) -> int:
    """The place of a candidate, ABSENT or EXCLUDED."""
    wanted = (scratch.stamp[0] << ITEM_BITS) | np.int64(item)
    slot = _first_slot(np.int64(item))
    while True:
        entry = scratch.slot_S[slot]
        if entry >> PLACE_BITS == wanted:
            place = entry & _EXCLUDED_PLACE
            return EXCLUDED if place == _EXCLUDED_PLACE else place
        if entry >> (ITEM_BITS + PLACE_BITS) != scratch.stamp[0]:
            return ABSENT
        slot = (slot + 1) & (SLOTS - 1)


@leaf_kernel
def _put(scratch: Scratch, item: int, place: int) -> int:
    """Puts an item that is not there into the set; what is there already keeps its place, which is returned."""
    wanted = (scratch.stamp[0] << ITEM_BITS) | np.int64(item)
    slot = _first_slot(np.int64(item))
    while True:
        entry = scratch.slot_S[slot]
        if entry >> PLACE_BITS == wanted:
            return entry & _EXCLUDED_PLACE
        if entry >> (ITEM_BITS + PLACE_BITS) != scratch.stamp[0]:
            scratch.slot_S[slot] = (wanted << PLACE_BITS) | place
            return place
        slot = (slot + 1) & (SLOTS - 1)


@leaf_kernel
def exclude_item(scratch: Scratch, item: int) -> None:
    """The item can be no candidate of this scoring; called before any is added."""
    _put(scratch, item, _EXCLUDED_PLACE)


@leaf_kernel
def add_candidate(scratch: Scratch, item: int) -> int:
    """The place of the item among the candidates, where it may be one; EXCLUDED or FULL else."""
    found = scratch.found[0]
    if found == CANDIDATES:
        place = find_candidate(scratch, item)
        return FULL if place == ABSENT else place
    place = _put(scratch, item, found)
    if place == _EXCLUDED_PLACE:
        return EXCLUDED
    if place == found:
        scratch.found[0] = found + 1
        scratch.item_C[place] = item
        direct = item & (DIRECT - 1)
        if scratch.direct_T[direct] == NOWHERE:
            scratch.direct_T[direct] = place
        else:
            scratch.crowded_C[scratch.crowded[0]] = place
            scratch.crowded[0] += 1
    return place
