"""The gradient of a closed block's log-likelihood on the CPU, in one kernel: the interpreter's lock is not asked for between its steps.

What it is the gradient of stands in ``torch_gradient``, which a test holds it against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from streamer.head.bilinear import ATTENTION_MAX, DIMENSIONS
from streamer.tables.arrays import Array
from streamer.tables.compile import brief_kernel, inner_kernel, kernel, product_kernel
from streamer.tables.fastmath import exp2_in_place
from streamer.tables.vectors import add_scaled, dot

LOGIT_MAX = np.float32(30.0)
LOG2_E = np.float32(1.442695)


class Batch(NamedTuple):
    """A closed block over its T distinct items: places into T of contexts [B, C] (``used_BC`` is 1 where there is one, else 0), targets [B], negatives [N]."""

    item_T: Array
    content_TE: Array
    trust_T: Array
    """Weight of the free vector in fused(v)."""
    context_BC: Array
    used_BC: Array
    target_B: Array
    negative_N: Array
    target_odds_B: Array
    negative_odds_N: Array
    weight_B: Array


class Parameters(NamedTuple):
    """The head's values that a batch reads."""

    free_TD: Array
    bias_T: Array
    content_ED: Array
    turn_DD: Array
    place_C: Array
    key_D: Array


Gradient = Callable[[Parameters, Batch], Parameters]
"""Ascent direction of the batch's log-likelihood, shaped like the parameters."""


HEADROOM = 1.25
"""Room made for the slopes of items, as a multiple of what they are now."""


class Work(NamedTuple):
    """Working memory of one gradient.

    By example: contexts, queries, and their slopes [B, D]; shares of places [B, C], slopes of the target's logit [B] and of the negatives'
    [B, N]. By negative: what its logit has beside the product, sums of its slopes [N]; its vector, and the slopes of that [N, D].
    """

    context_BD: Array
    query_BD: Array
    slope_query_BD: Array
    slope_context_BD: Array
    share_BC: Array
    place_C: Array
    slope_B: Array
    slope_BN: Array
    chance_N: Array
    offset_N: Array
    slope_N: Array
    negative_ND: Array
    slope_ND: Array


_BY_EXAMPLE = ("context_BD", "query_BD", "slope_query_BD", "slope_context_BD", "share_BC", "slope_B", "slope_BN")


def new_work(examples: int, places: int, negatives: int) -> Work:
    """Memory, whatever is in it."""
    context_BD, query_BD, slope_query_BD, slope_context_BD = np.empty((4, examples, DIMENSIONS), np.float32)
    chance_N, offset_N, slope_N = np.empty((3, negatives), np.float32)
    negative_ND, slope_ND = np.empty((2, negatives, DIMENSIONS), np.float32)
    return Work(
        context_BD=context_BD,
        query_BD=query_BD,
        slope_query_BD=slope_query_BD,
        slope_context_BD=slope_context_BD,
        share_BC=np.empty((examples, places), np.float32),
        place_C=np.empty(places, np.float32),
        slope_B=np.empty(examples, np.float32),
        slope_BN=np.empty((examples, negatives), np.float32),
        chance_N=chance_N,
        offset_N=offset_N,
        slope_N=slope_N,
        negative_ND=negative_ND,
        slope_ND=slope_ND,
    )


class GradientByHand:
    """The gradient on the CPU. What it returns is overwritten by the next one: memory touched for the first time costs more than what is done in it."""

    def __init__(self) -> None:
        self._work = new_work(0, 0, 0)
        self._slopes = Parameters(*np.zeros((6, 0, 0), np.float32))
        self._fused_TD = np.zeros((0, DIMENSIONS), np.float32)

    def __call__(self, values: Parameters, batch: Batch) -> Parameters:
        """Ascent direction of the batch's log-likelihood."""
        self._reserve(values, batch)
        examples, items = len(batch.target_B), len(batch.item_T)
        work = self._work._replace(**{name: getattr(self._work, name)[:examples] for name in _BY_EXAMPLE})
        slopes = self._slopes._replace(free_TD=self._slopes.free_TD[:items], bias_T=self._slopes.bias_T[:items])
        fused_TD = self._fused_TD[:items]
        weighted(batch.trust_T, values.free_TD, fused_TD)
        if len(values.content_ED):
            fused_TD += batch.content_TE @ values.content_ED
        fill_gradient(values, batch, fused_TD, work, slopes)
        content_ED = batch.content_TE.T @ slopes.free_TD if len(values.content_ED) else values.content_ED
        weighted(batch.trust_T, slopes.free_TD, slopes.free_TD)
        return slopes._replace(content_ED=content_ED)

    def _reserve(self, values: Parameters, batch: Batch) -> None:
        examples, places, negatives = *batch.context_BC.shape, len(batch.negative_N)
        work, slopes = self._work, self._slopes
        if len(work.slope_BN) < examples or (work.share_BC.shape[1], len(work.slope_N)) != (places, negatives):
            self._work = new_work(max(examples, len(work.slope_BN)), places, negatives)
        if len(slopes.bias_T) < len(batch.item_T):
            room = Parameters(*(np.empty_like(value) for value in values))
            items = int(len(batch.item_T) * HEADROOM)
            free_TD, self._fused_TD = np.empty((2, items, DIMENSIONS), np.float32)
            self._slopes = room._replace(free_TD=free_TD, bias_T=np.empty(items, np.float32))


def gradient_by_hand(values: Parameters, batch: Batch) -> Parameters:
    """The same, in memory of its own."""
    return GradientByHand()(values, batch)


@brief_kernel
def weighted(weight_T: Array, row_TD: Array, into_TD: Array) -> None:
    """``into = weight * row``, row by row."""
    for t in range(len(weight_T)):
        row_D, into_D = row_TD[t], into_TD[t]
        for d in range(len(row_D)):
            into_D[d] = weight_T[t] * row_D[d]


@product_kernel
def fill_gradient(values: Parameters, batch: Batch, fused_TD: Array, work: Work, slopes: Parameters) -> None:
    """The slopes of all parameters but the content's matrix; ``slopes.free_TD`` gets those of fused(v)."""
    start_sums(work, slopes)
    attend(fused_TD, batch.context_BC, batch.used_BC, values.place_C, values.key_D, work.share_BC, work.context_BD)
    np.dot(work.context_BD, values.turn_DD.T, work.query_BD)
    slopes_of_targets(fused_TD, work.query_BD, values.bias_T, batch, work.slope_B, slopes.bias_T)
    gather_negatives(fused_TD, values.bias_T, batch, work)
    np.dot(work.query_BD, work.negative_ND.T, work.slope_BN)
    slopes_of_negatives(batch, work)
    np.dot(work.slope_BN, work.negative_ND, work.slope_query_BD)
    np.dot(work.slope_BN.T, work.query_BD, work.slope_ND)
    spread_negatives(batch.negative_N, work, slopes.free_TD, slopes.bias_T)
    spread_targets(fused_TD, work.query_BD, batch.target_B, work.slope_B, work.slope_query_BD, slopes.free_TD)
    np.dot(work.slope_query_BD.T, work.context_BD, slopes.turn_DD)
    np.dot(work.slope_query_BD, values.turn_DD, work.slope_context_BD)
    spread_contexts(
        fused_TD,
        batch.context_BC,
        work.share_BC,
        work.slope_context_BD,
        values.key_D,
        work.place_C,
        slopes.free_TD,
        slopes.place_C,
        slopes.key_D,
    )


@kernel
def start_sums(work: Work, slopes: Parameters) -> None:
    """What is summed up begins at 0."""
    slopes.free_TD[:] = 0.0
    slopes.bias_T[:] = 0.0
    slopes.place_C[:] = 0.0
    slopes.key_D[:] = 0.0
    work.slope_N[:] = 0.0


@inner_kernel
def attend(
    fused_TD: Array, context_BC: Array, used_BC: Array, place_C: Array, key_D: Array, share_BC: Array, context_BD: Array
) -> None:
    """Shares of the places of each context, and their mean by them: what ``fill_query`` does for one."""
    most = np.float32(ATTENTION_MAX)
    for b in range(len(context_BC)):
        share_C = share_BC[b]
        for c in range(len(share_C)):
            logit = place_C[c] + dot(key_D, fused_TD[context_BC[b, c]])
            share_C[c] = (min(max(logit, -most), most) - most) * LOG2_E
        exp2_in_place(share_C)
        total = np.float32(0.0)
        for c in range(len(share_C)):
            share_C[c] *= used_BC[b, c]
            total += share_C[c]
        context_BD[b] = 0.0
        for c in range(len(share_C)):
            share_C[c] /= total
            add_scaled(context_BD[b], share_C[c], fused_TD[context_BC[b, c]])


@inner_kernel
def slopes_of_targets(fused_TD: Array, query_BD: Array, bias_T: Array, batch: Batch, slope_B: Array, slope_T: Array) -> None:
    """Slopes of the targets' logits, added to those of the items' biases ``slope_T``."""
    for b in range(len(slope_B)):
        target = batch.target_B[b]
        logit = bias_T[target] - batch.target_odds_B[b] + dot(query_BD[b], fused_TD[target])
        chance = np.float32(1.0) / (np.float32(1.0) + np.exp(-min(max(logit, -LOGIT_MAX), LOGIT_MAX)))
        weight = batch.weight_B[b]
        slope_B[b] = weight * (np.float32(1.0) - chance) if weight >= 0.0 else weight * chance
        slope_T[target] += slope_B[b]


@kernel
def gather_negatives(fused_TD: Array, bias_T: Array, batch: Batch, work: Work) -> None:
    """The negatives' vectors side by side, and what their logits have beside the product."""
    for n in range(len(batch.negative_N)):
        work.offset_N[n] = bias_T[batch.negative_N[n]] - batch.negative_odds_N[n]
        row_D, fused_D = work.negative_ND[n], fused_TD[batch.negative_N[n]]
        for d in range(len(row_D)):
            row_D[d] = fused_D[d]


@kernel
def slopes_of_negatives(batch: Batch, work: Work) -> None:
    """Slopes of the negatives' logits by example, in the place of the products, and their sums by negative."""
    for b in range(len(work.slope_BN)):
        row_N = work.slope_BN[b]
        add_scaled(row_N, np.float32(1.0), work.offset_N)
        slope_from_logit(row_N, batch.negative_N, batch.target_B[b], max(batch.weight_B[b], np.float32(0.0)), work.chance_N)
        add_scaled(work.slope_N, np.float32(1.0), row_N)


@inner_kernel
def slope_from_logit(row_N: Array, negative_N: Array, target: int, chosen: np.float32, chance_N: Array) -> None:
    """``-chosen * sigmoid(row)`` in place, 0 where the negative is the target itself; ``chance_N`` is working memory."""
    one = np.float32(1.0)
    for n in range(len(row_N)):
        row_N[n] = min(max(row_N[n], -LOGIT_MAX), LOGIT_MAX)
        chance_N[n] = -abs(row_N[n]) * LOG2_E
    exp2_in_place(chance_N)
    for n in range(len(row_N)):
        rest = chance_N[n] / (one + chance_N[n])  # the smaller of the two chances
        chance = one - rest if row_N[n] >= 0.0 else rest
        row_N[n] = np.float32(0.0) if negative_N[n] == target else -chosen * chance


@kernel
def spread_negatives(negative_N: Array, work: Work, slope_TD: Array, slope_T: Array) -> None:
    """Takes the negatives' slopes to the items."""
    for n in range(len(negative_N)):
        slope_T[negative_N[n]] += work.slope_N[n]
        add_scaled(slope_TD[negative_N[n]], np.float32(1.0), work.slope_ND[n])


@inner_kernel
def spread_targets(
    fused_TD: Array, query_BD: Array, target_B: Array, slope_B: Array, slope_query_BD: Array, slope_TD: Array
) -> None:
    """Takes the targets' slopes to the queries and to the items."""
    for b in range(len(target_B)):
        slope, target = slope_B[b], target_B[b]
        add_scaled(slope_query_BD[b], slope, fused_TD[target])
        add_scaled(slope_TD[target], slope, query_BD[b])


@inner_kernel
def spread_contexts(
    fused_TD: Array,
    context_BC: Array,
    share_BC: Array,
    slope_context_BD: Array,
    key_D: Array,
    work_C: Array,
    slope_TD: Array,
    slope_C: Array,
    slope_D: Array,
) -> None:
    """Takes the slopes of the contexts to their items, and to what the attention learns: places ``slope_C`` and key ``slope_D``."""
    for b in range(len(context_BC)):
        mean = np.float32(0.0)
        for c in range(len(slope_C)):
            work_C[c] = dot(slope_context_BD[b], fused_TD[context_BC[b, c]])
            mean += share_BC[b, c] * work_C[c]
        for c in range(len(slope_C)):
            share, from_D, to_D = share_BC[b, c], slope_context_BD[b], slope_TD[context_BC[b, c]]
            slope = share * (work_C[c] - mean)
            slope_C[c] += slope
            add_scaled(slope_D, slope, fused_TD[context_BC[b, c]])
            for d in range(len(to_D)):
                to_D[d] += share * from_D[d] + slope * key_D[d]
