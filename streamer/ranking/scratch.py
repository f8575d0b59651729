"""Working memory of one scoring: candidates of one context and their features. Nothing of it outlives the call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.signals.trends import HALF_LIVES
from streamer.tables.arrays import Array
from streamer.tables.compile import leaf_kernel

CANDIDATES = 1_024
STRIDE = CANDIDATES + 16
"""Of a feature's row: rows a power of two apart would share cache sets."""
SLOTS = 8_192

TERMS = (
    "transition",
    "transition_back",
    "co_visit",
    "co_visit_back",
    "repeat_recent",
    "repeat",
    "last",
    *(f"trend_{half_life:g}" for half_life in HALF_LIVES[:-1]),
    "popularity",
    "content",
)
"""Terms of the additive logit, by feature number (F of them)."""

NEAR, NEAR_BACK, WIDE, WIDE_BACK, RECENT, REPEAT, LAST, TREND = range(8)
NEURAL = TREND + len(HALF_LIVES)
FEATURES = NEURAL + 1
ABSENT, EXCLUDED, FULL = -1, -2, -3


class Scratch(NamedTuple):
    """``item_C`` are the candidates, ``feature_FC`` their features; a hash set finds a candidate by item."""

    item_C: Array
    feature_FC: Array
    logit_C: Array
    fixed_C: Array
    weight_F: Array
    phi_K: Array
    query_D: Array
    found: Array
    """[candidates]."""
    slot_item_S: Array
    slot_place_S: Array
    slot_stamp_S: Array
    stamp: Array


def new_scratch(dimensions: int, context_features: int) -> Scratch:
    """Memory for one thread."""
    return Scratch(
        item_C=np.zeros(CANDIDATES, np.int32),
        feature_FC=np.zeros((FEATURES, STRIDE), np.float32),
        logit_C=np.zeros(CANDIDATES, np.float32),
        fixed_C=np.zeros(CANDIDATES, np.float32),
        weight_F=np.zeros(FEATURES, np.float32),
        phi_K=np.zeros(context_features, np.float32),
        query_D=np.zeros(dimensions, np.float32),
        found=np.zeros(1, np.int64),
        slot_item_S=np.zeros(SLOTS, np.int32),
        slot_place_S=np.zeros(SLOTS, np.int32),
        slot_stamp_S=np.zeros(SLOTS, np.int64),
        stamp=np.zeros(1, np.int64),
    )


@leaf_kernel
def _slot_of(scratch: Scratch, item: int) -> np.int64:
    mask = np.uint64(SLOTS - 1)
    slot = ((np.uint64(item) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask
    while scratch.slot_stamp_S[slot] == scratch.stamp[0] and scratch.slot_item_S[slot] != item:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@leaf_kernel
def start_candidates(scratch: Scratch) -> None:
    """Forgets the candidates of the scoring before."""
    scratch.stamp[0] += 1
    scratch.feature_FC[:, : scratch.found[0]] = 0.0
    scratch.found[0] = 0


@leaf_kernel
def find_candidate(scratch: Scratch, item: int) -> int:
    """The place of a candidate, ABSENT or EXCLUDED."""
    slot = _slot_of(scratch, item)
    return scratch.slot_place_S[slot] if scratch.slot_stamp_S[slot] == scratch.stamp[0] else ABSENT


@leaf_kernel
def exclude_item(scratch: Scratch, item: int) -> None:
    """The item can be no candidate of this scoring."""
    slot = _slot_of(scratch, item)
    scratch.slot_item_S[slot] = item
    scratch.slot_stamp_S[slot] = scratch.stamp[0]
    scratch.slot_place_S[slot] = EXCLUDED


@leaf_kernel
def add_candidate(scratch: Scratch, item: int) -> int:
    """The place of the item among the candidates, where it may be one; EXCLUDED or FULL else."""
    slot = _slot_of(scratch, item)
    if scratch.slot_stamp_S[slot] == scratch.stamp[0]:
        return scratch.slot_place_S[slot]
    place = scratch.found[0]
    if place == CANDIDATES:
        return FULL
    scratch.found[0] = place + 1
    scratch.slot_item_S[slot] = item
    scratch.slot_stamp_S[slot] = scratch.stamp[0]
    scratch.slot_place_S[slot] = place
    scratch.item_C[place] = item
    return place
