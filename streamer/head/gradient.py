"""The gradient of a closed block's log-likelihood on the CPU, in one kernel: the interpreter's lock is not asked for between its steps.

What it is the gradient of stands in ``torch_gradient``, which a test holds it against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from streamer.head.bilinear import ATTENTION_MAX, DIMENSIONS
from streamer.tables.arrays import Array
from streamer.tables.compile import inner_kernel, kernel
from streamer.tables.fastmath import exp2_in_place
from streamer.tables.vectors import add_scaled, dot

LOGIT_MAX = np.float32(30.0)
LOG2_E = np.float32(1.442695)
AT_ONCE = 8
"""Examples whose slopes are in the nearest cache together."""


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


class Work(NamedTuple):
    """Working memory of one gradient.

    By example: contexts, queries, and their slopes [B, D]; shares of places [B, C], slopes of the target's logit [B] and of the negatives'
    [B, N]. By negative: the vectors side by side [D, N], their slopes, and those of the logits summed up [N].
    """

    context_BD: Array
    query_BD: Array
    slope_query_BD: Array
    slope_context_BD: Array
    share_BC: Array
    place_C: Array
    factor_B: Array
    slope_B: Array
    slope_BN: Array
    chance_N: Array
    slope_N: Array
    negative_DN: Array
    slope_DN: Array


def new_work(batch: Batch) -> Work:
    """Zeros: some of it is summed up in."""
    examples, places, negatives = *batch.context_BC.shape, len(batch.negative_N)
    context_BD, query_BD, slope_query_BD, slope_context_BD = np.zeros((4, examples, DIMENSIONS), np.float32)
    return Work(
        context_BD=context_BD,
        query_BD=query_BD,
        slope_query_BD=slope_query_BD,
        slope_context_BD=slope_context_BD,
        share_BC=np.zeros((examples, places), np.float32),
        place_C=np.zeros(places, np.float32),
        factor_B=np.zeros(AT_ONCE, np.float32),
        slope_B=np.zeros(examples, np.float32),
        slope_BN=np.zeros((examples, negatives), np.float32),
        chance_N=np.zeros(negatives, np.float32),
        slope_N=np.zeros(negatives, np.float32),
        negative_DN=np.zeros((DIMENSIONS, negatives), np.float32),
        slope_DN=np.zeros((DIMENSIONS, negatives), np.float32),
    )


def gradient_by_hand(values: Parameters, batch: Batch) -> Parameters:
    """The gradient on the CPU."""
    fused_TD = batch.trust_T[:, None] * values.free_TD
    if len(values.content_ED):
        fused_TD += batch.content_TE @ values.content_ED
    slopes = Parameters(*(np.zeros_like(value) for value in values))
    fill_gradient(values, batch, fused_TD, new_work(batch), slopes)
    content_ED = batch.content_TE.T @ slopes.free_TD if len(values.content_ED) else values.content_ED
    return slopes._replace(free_TD=batch.trust_T[:, None] * slopes.free_TD, content_ED=content_ED)


@kernel
def fill_gradient(values: Parameters, batch: Batch, fused_TD: Array, work: Work, slopes: Parameters) -> None:
    """The slopes of all parameters but the content's matrix; ``slopes.free_TD`` gets those of fused(v)."""
    attend(fused_TD, batch.context_BC, batch.used_BC, values.place_C, values.key_D, work.share_BC, work.context_BD)
    for b in range(len(work.query_BD)):
        for d in range(len(values.turn_DD)):
            work.query_BD[b, d] = dot(values.turn_DD[d], work.context_BD[b])
    slopes_of_targets(fused_TD, work.query_BD, values.bias_T, batch, work.slope_B, slopes.bias_T)
    slopes_of_negatives(fused_TD, values.bias_T, batch, work)
    spread_negatives(batch.negative_N, work, slopes.free_TD, slopes.bias_T)
    spread_targets(fused_TD, work.query_BD, batch.target_B, work.slope_B, work.slope_query_BD, slopes.free_TD)
    for b in range(len(work.query_BD)):
        for d in range(len(values.turn_DD)):
            add_scaled(slopes.turn_DD[d], work.slope_query_BD[b, d], work.context_BD[b])
            add_scaled(work.slope_context_BD[b], work.slope_query_BD[b, d], values.turn_DD[d])
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
def slopes_of_negatives(fused_TD: Array, bias_T: Array, batch: Batch, work: Work) -> None:
    """Slopes of the negatives' logits by example, and their sums by negative."""
    negative_N, negative_DN, slope_BN = batch.negative_N, work.negative_DN, work.slope_BN
    for n in range(len(negative_N)):
        for d in range(len(negative_DN)):
            negative_DN[d, n] = fused_TD[negative_N[n], d]
    for b in range(len(slope_BN)):
        for n in range(len(negative_N)):
            slope_BN[b, n] = bias_T[negative_N[n]] - batch.negative_odds_N[n]
        add_product(slope_BN[b], work.query_BD[b], negative_DN)
        slope_from_logit(slope_BN[b], negative_N, batch.target_B[b], max(batch.weight_B[b], np.float32(0.0)), work.chance_N)
        add_scaled(work.slope_N, np.float32(1.0), slope_BN[b])


@inner_kernel
def add_product(into_N: Array, factor_D: Array, row_DN: Array) -> None:
    """``into += factor @ row``, four rows at a time: what is summed up is read and written once for them."""
    fours = len(factor_D) // 4 * 4
    for d in range(0, fours, 4):
        i, j, k, m = factor_D[d], factor_D[d + 1], factor_D[d + 2], factor_D[d + 3]
        i_N, j_N, k_N, m_N = row_DN[d], row_DN[d + 1], row_DN[d + 2], row_DN[d + 3]
        for n in range(len(into_N)):
            into_N[n] += (i * i_N[n] + j * j_N[n]) + (k * k_N[n] + m * m_N[n])
    for d in range(fours, len(factor_D)):
        add_scaled(into_N, factor_D[d], row_DN[d])


@inner_kernel
def dots(row_DN: Array, with_N: Array, into_D: Array) -> None:
    """``into = row @ with``, four rows at a time; as many as DIMENSIONS."""
    for d in range(0, len(row_DN), 4):
        i_N, j_N, k_N, m_N = row_DN[d], row_DN[d + 1], row_DN[d + 2], row_DN[d + 3]
        i, j, k, m = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for n in range(len(with_N)):
            value = with_N[n]
            i += value * i_N[n]
            j += value * j_N[n]
            k += value * k_N[n]
            m += value * m_N[n]
        into_D[d], into_D[d + 1], into_D[d + 2], into_D[d + 3] = i, j, k, m


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
    """Takes the negatives' slopes to the queries and to the items."""
    slope_BN, negative_DN, slope_DN = work.slope_BN, work.negative_DN, work.slope_DN
    for b in range(len(slope_BN)):
        dots(negative_DN, slope_BN[b], work.slope_query_BD[b])
    for first in range(0, len(slope_BN), AT_ONCE):
        row_BN = slope_BN[first : first + AT_ONCE]
        for d in range(len(slope_DN)):
            for b in range(len(row_BN)):
                work.factor_B[b] = work.query_BD[first + b, d]
            add_product(slope_DN[d], work.factor_B[: len(row_BN)], row_BN)
    for n in range(len(negative_N)):
        slope_T[negative_N[n]] += work.slope_N[n]
        for d in range(len(slope_DN)):
            slope_TD[negative_N[n], d] += slope_DN[d, n]


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
