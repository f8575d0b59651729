"""Working memory of one scoring: candidates of one context and their features. Nothing of it outlives the call.

What is looked up by item lies in an array with a place for every item of the catalog: one look, no search, no branch to guess. What neighbour
sessions speak for is looked up most, and where items are many it lies in a smaller table (``signals.neighbours``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.likeness import AXES
from streamer.catalog.young import YOUNG_MAX
from streamer.signals.neighbours import Neighbours, new_neighbours, reserve_neighbours
from streamer.signals.trends import HALF_LIVES
from streamer.tables.arrays import Array, grown
from streamer.tables.compile import kernel, leaf_kernel

CANDIDATES = 1_024
NOWHERE = CANDIDATES
"""The first of 16 places beyond the candidates, where what belongs to none is added."""
STRIDE = CANDIDATES + 16
PLACES = 2 * CANDIDATES
"""Numbers of one scoring: what ``place_I`` holds less the present ``base`` is a place, EXCLUDED, or of an earlier scoring."""
BASE_MAX = (1 << 31) - PLACES
MARKS = 1 << 12
"""Few enough to lie in the nearest cache, enough that hardly an item has a candidate's mark without being one."""
ENTRIES_AT_ONCE = 256
"""Of a row of neighbours, looked through for candidates."""

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
    "young_content",
    "young",
    "likeness",
    "young_likeness",
    "untried",
)
"""Terms of the additive logit, by feature number (F of them)."""

NEAR, NEAR_BACK, WIDE, WIDE_BACK, RECENT, REPEAT, LAST, AFTER, BEFORE, TREND = range(10)
NEURAL = TREND + len(HALF_LIVES)
YOUNG_CONTENT, YOUNG = NEURAL + 1, NEURAL + 2
LIKENESS, YOUNG_LIKENESS, UNTRIED = NEURAL + 3, NEURAL + 4, NEURAL + 5
"""The last of them: 0 where no item has content."""
FEATURES = NEURAL + 6
NEW, TEXT, IMAGE, FAIRNESS, DIVERSITY = range(FEATURES, FEATURES + 5)
"""Reasons beside the features' terms: that an entry explores, what either modality gives to the content's, and what re-ranking adds."""
REASON_NAMES = (*TERMS, "new", "text", "image", "fairness", "diversity")
NO_SOURCE = -1
ABSENT, EXCLUDED = -1, CANDIDATES
"""Beside the places from 0 on."""


class Scratch(NamedTuple):
    """``item_C`` are the candidates, ``feature_FC`` their features; ``place_I`` tells an item's place, ``base`` from where it counts."""

    item_C: Array
    feature_FC: Array
    logit_C: Array
    fixed_C: Array
    """Logits by the weights of the start; before those are reckoned, working memory of the trends."""
    weight_F: Array
    phi_K: Array
    step_3W: Array
    mean_D: Array
    query_D: Array
    wanted_G: Array
    context_W: Array
    place_C: Array
    found: Array
    """[candidates]."""
    row_C: Array
    """What one row gives to the candidates; 0 between two uses."""
    given_2C: Array
    source_2C: Array
    """The most that the row of an item of the window gives to a candidate, forward and back, and that item (NO_SOURCE: none)."""
    place_I: Array
    base: Array
    mark_M: Array
    """Which low bits of rows some candidate has; 0 between two uses."""
    marked_N: Array
    """The entries of a row whose items have a candidate's mark."""
    neighbours: Neighbours
    young_2Y: Array
    """How well the young items fit, and working memory."""
    liked_L: Array
    """What the window likes by content."""
    alike_in_text_C: Array
    """What text gives to the likeness of a candidate, less its mean."""
    part_2: Array
    """What text and image give to the affinity of the mean candidate."""
    rerank_2C: Array
    """What fairness and diversity add to logits, 0 where they are off."""


def new_scratch(dimensions: int, context_features: int, users: int, items: int) -> Scratch:
    """Memory for one thread, with room for so many users and items."""
    return Scratch(
        item_C=np.full(STRIDE, -1, np.int32),
        feature_FC=np.zeros((FEATURES, STRIDE), np.float32),
        logit_C=np.zeros(CANDIDATES, np.float32),
        fixed_C=np.zeros(CANDIDATES, np.float32),
        weight_F=np.zeros(FEATURES, np.float32),
        phi_K=np.zeros(context_features, np.float32),
        step_3W=np.zeros((3, FEATURES * context_features), np.float64),
        mean_D=np.zeros(dimensions, np.float32),
        query_D=np.zeros(dimensions, np.float32),
        wanted_G=np.zeros(CANDIDATES, np.int64),
        context_W=np.zeros(CANDIDATES, np.int32),
        place_C=np.zeros(CANDIDATES, np.int64),
        found=np.zeros(1, np.int64),
        row_C=np.zeros(STRIDE, np.float32),
        given_2C=np.zeros((2, CANDIDATES), np.float32),
        source_2C=np.zeros((2, CANDIDATES), np.int32),
        place_I=np.zeros(items, np.int32),
        base=np.zeros(1, np.int64),
        mark_M=np.zeros(MARKS, np.uint8),
        marked_N=np.zeros(ENTRIES_AT_ONCE + 1, np.int32),
        neighbours=new_neighbours(users, items),
        young_2Y=np.zeros((2, YOUNG_MAX), np.float32),
        liked_L=np.zeros(AXES, np.float32),
        alike_in_text_C=np.zeros(CANDIDATES, np.float32),
        part_2=np.zeros(2, np.float32),
        rerank_2C=np.zeros((2, CANDIDATES), np.float32),
    )


def reserve_scratch(scratch: Scratch, users: int, items: int) -> Scratch:
    """Room for ``users`` and ``items`` rows in all; the same object where there is room already."""
    neighbours = reserve_neighbours(scratch.neighbours, users, items)
    if items <= len(scratch.place_I) and neighbours is scratch.neighbours:
        return scratch
    return scratch._replace(place_I=grown(scratch.place_I, items), neighbours=neighbours)


@leaf_kernel
def start_candidates(scratch: Scratch) -> None:
    """Forgets the candidates of the scoring before."""
    scratch.base[0] += PLACES
    if scratch.base[0] > BASE_MAX:
        scratch.base[0] = PLACES
        scratch.place_I[:] = 0
    scratch.feature_FC[:, : scratch.found[0]] = 0.0
    scratch.found[0] = 0


@leaf_kernel
def find_candidate(scratch: Scratch, item: int) -> int:
    """The place of a candidate, ABSENT (or another number below 0), or EXCLUDED."""
    return scratch.place_I[np.uint32(item)] - scratch.base[0]


@leaf_kernel
def is_candidate(place: int) -> bool:
    """Whether what was found is a place."""
    return 0 <= place < CANDIDATES


@leaf_kernel
def exclude_item(scratch: Scratch, item: int) -> None:
    """The item can be no candidate of this scoring; called before any is added."""
    scratch.place_I[item] = scratch.base[0] + EXCLUDED


@leaf_kernel
def add_candidate(scratch: Scratch, item: int) -> int:
    """The place of the item among the candidates, where it may be one; EXCLUDED, or ABSENT where there are too many, else."""
    place = find_candidate(scratch, item)
    if place >= 0:
        return place
    found = scratch.found[0]
    if found == CANDIDATES:
        return ABSENT
    scratch.found[0] = found + 1
    scratch.item_C[found] = item
    scratch.place_I[np.uint32(item)] = scratch.base[0] + found
    return found


@kernel
def mark_candidates(scratch: Scratch, mark: int) -> None:
    """Sets the marks of all candidates to 1, or to 0 again."""
    for n in range(scratch.found[0]):
        scratch.mark_M[scratch.item_C[n] & (MARKS - 1)] = mark


@kernel
def find_marked(scratch: Scratch, item_N: Array) -> int:
    """Fills ``marked_N`` with the places of items that have a candidate's mark, at most ENTRIES_AT_ONCE; returns how many they are."""
    mark_M, marked_N = scratch.mark_M, scratch.marked_N
    found = 0
    for n in range(len(item_N)):
        marked_N[found] = n
        found += mark_M[item_N[n] & (MARKS - 1)]
    return found


@kernel
def start_sources(scratch: Scratch) -> None:
    """No row of the window has given anything to the candidates yet."""
    count = scratch.found[0]
    scratch.given_2C[:, :count] = 0.0
    scratch.source_2C[:, :count] = NO_SOURCE


@kernel
def take_row(scratch: Scratch, item: int, side: int, feature_C: Array) -> None:
    """Adds ``row_C``, which the row of that item of the window filled, to a feature, and notes whom it gives most so far."""
    row_C, given_C, source_C = scratch.row_C, scratch.given_2C[side], scratch.source_2C[side]
    source = np.int32(item)
    for n in range(scratch.found[0]):
        value = row_C[n]
        more = value > given_C[n]
        feature_C[n] += value
        source_C[n] = source if more else source_C[n]
        given_C[n] = value if more else given_C[n]
        row_C[n] = 0.0
