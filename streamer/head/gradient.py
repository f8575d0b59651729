"""The gradient of a closed block's log-likelihood on the CPU: products by BLAS, all between them in kernels without the GIL.

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


def gradient_by_hand(values: Parameters, batch: Batch) -> Parameters:
    """The gradient on the CPU."""
    fused_TD = batch.trust_T[:, None] * values.free_TD
    if len(values.content_ED):
        fused_TD += batch.content_TE @ values.content_ED
    share_BC, context_BD = np.empty_like(batch.used_BC), np.empty((len(batch.target_B), DIMENSIONS), np.float32)
    attend(fused_TD, batch.context_BC, batch.used_BC, values.place_C, values.key_D, share_BC, context_BD)
    query_BD = context_BD @ values.turn_DD.T
    negative_ND = fused_TD[batch.negative_N]
    slope_BN = query_BD @ negative_ND.T
    slope_T, slope_B, slope_N = (
        np.zeros_like(values.bias_T),
        np.empty_like(batch.weight_B),
        np.zeros_like(batch.negative_odds_N),
    )
    slopes_of_targets(fused_TD, query_BD, values.bias_T, batch, slope_B, slope_T)
    offset_N = values.bias_T[batch.negative_N] - batch.negative_odds_N
    slopes_of_negatives(offset_N, batch.negative_N, batch.target_B, batch.weight_B, slope_BN, np.empty_like(slope_N), slope_N)
    add_rows(slope_T.reshape(-1, 1), batch.negative_N, slope_N.reshape(-1, 1))
    slope_query_BD = slope_BN @ negative_ND
    slope_TD = np.zeros_like(fused_TD)
    spread_targets(fused_TD, query_BD, batch.target_B, slope_B, slope_query_BD, slope_TD)
    add_rows(slope_TD, batch.negative_N, slope_BN.T @ query_BD)
    slope_C, slope_D, work_C = np.zeros_like(values.place_C), np.zeros_like(values.key_D), np.empty_like(values.place_C)
    spread_contexts(
        fused_TD, batch.context_BC, share_BC, slope_query_BD @ values.turn_DD, values.key_D, work_C, slope_TD, slope_C, slope_D
    )
    return Parameters(
        free_TD=batch.trust_T[:, None] * slope_TD,
        bias_T=slope_T,
        content_ED=batch.content_TE.T @ slope_TD if len(values.content_ED) else values.content_ED,
        turn_DD=slope_query_BD.T @ context_BD,
        place_C=slope_C,
        key_D=slope_D,
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


@inner_kernel
def slopes_of_negatives(
    offset_N: Array, negative_N: Array, target_B: Array, weight_B: Array, slope_BN: Array, work_N: Array, slope_N: Array
) -> None:
    """Turns ``query . fused`` of examples and negatives into the slopes of their logits, and sums these up by negative.

    ``offset_N``: what a negative's logit has beyond that product.
    """
    one = np.float32(1.0)
    for b in range(len(slope_BN)):
        row_N, chosen, target = slope_BN[b], max(weight_B[b], np.float32(0.0)), target_B[b]
        for n in range(len(row_N)):
            row_N[n] = min(max(row_N[n] + offset_N[n], -LOGIT_MAX), LOGIT_MAX)
            work_N[n] = -abs(row_N[n]) * LOG2_E
        exp2_in_place(work_N)
        for n in range(len(row_N)):
            rest = work_N[n] / (one + work_N[n])  # the smaller of the two chances
            chance = one - rest if row_N[n] >= 0.0 else rest
            row_N[n] = np.float32(0.0) if negative_N[n] == target else -chosen * chance
            slope_N[n] += row_N[n]


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


@kernel
def add_rows(into_TD: Array, place_M: Array, row_MD: Array) -> None:
    """``into[place[m]] += row[m]``, in order."""
    for m in range(len(place_M)):
        add_scaled(into_TD[place_M[m]], np.float32(1.0), row_MD[m])
