"""What a user's window says of items by content alone, before anybody's choices do; and the chance that an item with content is given.

    likeness(u, v)       = SCALE / sqrt(n) sum over the window's n items w of alike(w, v),    less its mean over the candidates
    young_likeness(u, v) = LIKE_YOUTH / (LIKE_YOUTH + interactions of v) likeness(u, v)
    untried(u, v)        = YOUTH / (YOUTH + interactions of v) min(max((1 + likeness(u, v)) / 2, 0), 1)    where v has content, else 0

The sum grows as the root of n, as a mean becomes surer: a window of twenty like items says more than one of one. The gate learns what the
first two are worth. The weight of ``untried`` is given, not learned: likelihood alone keeps what is hardly known out of lists, so
that it stays hardly known. To those whom it fits it is shown somewhat sooner than that (optimism in the face of uncertainty: Auer, Cesa-Bianchi and
Fischer 2002), which costs no hits over all.

Without content none of it costs anything: these features are the last ones, and are left out until the first axes are there.
"""

from __future__ import annotations

import numpy as np

from streamer.catalog.likeness import AXES, TEXT_AXES, Likeness
from streamer.catalog.young import Young
from streamer.ranking.scratch import FEATURES, LIKENESS, UNTRIED, YOUNG, YOUNG_LIKENESS, Scratch
from streamer.signals.trends import FOR_EVER, Trends
from streamer.tables.arrays import Array
from streamer.tables.compile import inner_kernel, kernel
from streamer.tables.vectors import add_scaled, dot

SCALE = 2.0
LIKE_YOUTH = 16.0
"""Weighted interactions that halve how much more likeness counts for an item than for an old one."""


@kernel
def learned_features(likeness: Likeness) -> int:
    """How many of the features the gate learns: those of content once there is some, and never what is given as a chance."""
    return UNTRIED if len(likeness.axis_EL) else LIKENESS


@kernel
def used_features(likeness: Likeness) -> int:
    """How many of the features can be other than 0."""
    return FEATURES if len(likeness.axis_EL) else LIKENESS


@kernel
def ask_young(likeness: Likeness, young: Young, context_W: Array, length: int, scratch: Scratch) -> None:
    """Notes what the window likes, and how alike the young items are to it."""
    if len(likeness.axis_EL):
        fill_liked(likeness, context_W, length, scratch.liked_L)
        fill_young(likeness.young_AY, scratch.liked_L, young.tended[0], scratch.young_2Y[0])
    else:
        scratch.young_2Y[0, : young.tended[0]] = 0.0


@kernel
def fill_liked(likeness: Likeness, context_W: Array, length: int, liked_L: Array) -> None:
    """What the window likes: the sum of its items' places, scaled."""
    liked_L[:] = 0.0
    for n in range(length):
        add_scaled(liked_L, np.float32(SCALE / np.sqrt(max(length, 1))), likeness.place_IL[context_W[n]])


@inner_kernel
def fill_young(young_AY: Array, liked_L: Array, count: int, alike_Y: Array) -> None:
    """How alike each young item is: axis by axis, since the young items' coordinates lie side by side for this."""
    alike_Y[:count] = 0.0
    for axis in range(0, AXES, 4):
        a, b, c, d = liked_L[axis], liked_L[axis + 1], liked_L[axis + 2], liked_L[axis + 3]
        a_Y, b_Y, c_Y, d_Y = young_AY[axis], young_AY[axis + 1], young_AY[axis + 2], young_AY[axis + 3]
        for n in range(count):
            alike_Y[n] += (a * a_Y[n] + b * b_Y[n]) + (c * c_Y[n] + d * d_Y[n])


@inner_kernel
def fill_alike(place_IL: Array, liked_L: Array, item_C: Array, count: int, alike_C: Array, text_C: Array) -> None:
    """How alike each item is to what is liked, and what text gives to it."""
    for n in range(count):
        place_L = place_IL[item_C[n]]
        text_C[n] = dot(liked_L[:TEXT_AXES], place_L[:TEXT_AXES])
        alike_C[n] = text_C[n] + dot(liked_L[TEXT_AXES:], place_L[TEXT_AXES:])


@kernel
def fit_of(likeness: Likeness, liked_L: Array, item: int) -> np.float32:
    """How alike one item is to what is liked."""
    return dot(liked_L, likeness.place_IL[item])


@kernel
def fill_likeness(likeness: Likeness, trends: Trends, length: int, count: int, scratch: Scratch) -> None:
    """The three features of the candidates; needs YOUNG."""
    if not len(likeness.axis_EL):
        return
    alike_C, young_C, text_C = scratch.feature_FC[LIKENESS], scratch.feature_FC[YOUNG_LIKENESS], scratch.alike_in_text_C
    if length == 0:
        text_C[:count] = 0.0
        return
    fill_alike(likeness.place_IL, scratch.liked_L, scratch.item_C, count, alike_C, text_C)
    take_out_mean(alike_C, count)
    take_out_mean(text_C, count)
    for n in range(count):
        item = scratch.item_C[n]
        chosen = np.float32(trends.value_IH[item, FOR_EVER])
        young_C[n] = np.float32(LIKE_YOUTH) / (np.float32(LIKE_YOUTH) + chosen) * alike_C[n]
        if likeness.there_I[item]:
            fits = min(max(np.float32(0.5) + np.float32(0.5) * alike_C[n], np.float32(0.0)), np.float32(1.0))
            scratch.feature_FC[UNTRIED, n] = fits * scratch.feature_FC[YOUNG, n]


@kernel
def take_out_mean(value_C: Array, count: int) -> None:
    """What all candidates share says nothing about their order."""
    total = np.float32(0.0)
    for n in range(count):
        total += value_C[n]
    mean = total / np.float32(max(count, 1))
    for n in range(count):
        value_C[n] -= mean


@kernel
def without_chance(likeness: Likeness, count: int, scratch: Scratch) -> None:
    """Takes what is given out of the logits, so that what is learned does not learn against it."""
    if len(likeness.axis_EL):
        weight = scratch.weight_F[UNTRIED]
        for n in range(count):
            scratch.logit_C[n] -= weight * scratch.feature_FC[UNTRIED, n]


@kernel
def likeness_parts(place: int, scratch: Scratch) -> tuple[np.float32, np.float32]:
    """What text and image give to a candidate's logit by likeness alone."""
    weight_F, alike = scratch.weight_F, scratch.feature_FC[LIKENESS, place]
    if alike == 0.0:
        return np.float32(0.0), np.float32(0.0)
    both = weight_F[LIKENESS] * alike + weight_F[YOUNG_LIKENESS] * scratch.feature_FC[YOUNG_LIKENESS, place]
    text = both / alike * scratch.alike_in_text_C[place]
    return text, both - text
