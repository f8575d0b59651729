"""The head's learner: one step of the bilinear head from a closed block.

The gradient has two forms that a test holds against each other: by hand in numpy (the CPU's), and by automatic differentiation in
torch (``gradient_torch``: readable, and the one that runs on CUDA). The update is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from streamer.catalog.items import Items
from streamer.catalog.vectors import ContentVectors
from streamer.head.bilinear import (
    ATTENTION_MAX,
    BLOCK_EXAMPLES,
    CURSOR,
    REFRESHED,
    SKIPPED,
    SQUARE_DECAY,
    STEP,
    WITHOUT_FREE,
    WITHOUT_IMAGE,
    WITHOUT_TEXT,
    YOUTH,
    Block,
    Head,
    draw_dropout,
    draw_negatives,
    fill_log_odds,
)
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel

FUSED_AT_ONCE = 4_096
"""Rows of the catalog whose fused vectors are computed in one product."""
GRADIENT_MAX = 5.0
"""Largest norm of a row's gradient."""


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


class Learner:
    """Closes blocks: draws negatives, takes one step, refreshes the cached fused vectors. Holds scratch, no state."""

    def __init__(
        self, *, learning_rate: float, negatives: int, seed: int, attention: bool = True, gradient: Gradient | None = None
    ) -> None:
        """``attention``: whether the weights of the window's places are learned, or stay as at the start."""
        self._learning_rate = learning_rate
        self._negatives = negatives
        self._seed = seed
        self._attention = attention
        self._gradient = gradient or gradient_by_hand

    def learn(self, head: Head, block: Block, items: Items, content: ContentVectors) -> None:
        """One step from the block's examples; a non-finite gradient skips it and is counted."""
        if block.state[BLOCK_EXAMPLES] > 0:
            batch = self._batch(head, block, items, content)
            values = Parameters(
                head.free_ID[batch.item_T], head.bias_I[batch.item_T], head.content_ED, head.turn_DD, head.place_C, head.key_D
            )
            slopes = self._gradient(values, batch)
            if all(np.isfinite(slope).all() for slope in slopes):
                self._step(head, batch, slopes)
                note_seen(head.seen_I, block.target_B[: len(batch.weight_B)], batch.weight_B)
                refresh(head, items, content, batch.item_T)
            else:
                head.steps[SKIPPED] += 1
        live = int(items.ids.used[0])
        cursor = int(head.steps[CURSOR])
        refresh(head, items, content, np.arange(cursor, min(cursor + REFRESHED, live)))
        head.steps[CURSOR] = cursor + REFRESHED if cursor + REFRESHED < live else 0
        head.steps[STEP] += 1
        block.state[:] = 0

    def _batch(self, head: Head, block: Block, items: Items, content: ContentVectors) -> Batch:
        examples = int(block.state[BLOCK_EXAMPLES])
        live = int(items.ids.used[0])
        negative_N, negative_odds_N = np.zeros(self._negatives, np.int32), np.zeros(self._negatives, np.float32)
        draw_negatives(head, live, self._seed, negative_N, negative_odds_N)
        context_BC, target_B = block.context_BN[:examples], block.target_B[:examples]
        used_BC = np.arange(context_BC.shape[1]) < block.length_B[:examples, None]
        everything = np.concatenate([np.where(used_BC, context_BC, target_B[:, None]).ravel(), target_B, negative_N])
        item_T, place = np.unique(everything, return_inverse=True)
        cut = context_BC.size
        target_odds_B = np.zeros(examples, np.float32)
        fill_log_odds(head, live, target_B, self._negatives, target_odds_B)
        target_odds_B[block.weight_B[:examples] < 0] = 0.0  # shown by somebody's choice, not drawn
        content_TE, trust_T = self._parts(head, items, content, item_T)
        return Batch(
            item_T=item_T,
            content_TE=content_TE,
            trust_T=trust_T,
            context_BC=place[:cut].reshape(context_BC.shape),
            used_BC=used_BC.astype(np.float32),
            target_B=place[cut : cut + examples],
            negative_N=place[cut + examples :],
            target_odds_B=target_odds_B,
            negative_odds_N=negative_odds_N,
            weight_B=block.weight_B[:examples],
        )

    def _parts(self, head: Head, items: Items, content: ContentVectors, item_T: Array) -> tuple[Array, Array]:
        """Contents [T, E] and weights of the free vectors [T], a drawn part of the items without one of theirs."""
        content_TE, trust_T = content.of_rows(items, item_T), trust_of(head, items, content, item_T)
        if not content.widths.total:
            return content_TE, trust_T
        part_T, has_TM = np.zeros(len(item_T), np.int8), content.has(items, item_T)
        draw_dropout(int(head.steps[STEP]), item_T, self._seed, part_T)
        both_T = has_TM.all(axis=1)
        text = content.widths.text
        content_TE[both_T & (part_T == WITHOUT_TEXT), :text] = 0.0
        content_TE[both_T & (part_T == WITHOUT_IMAGE), text:] = 0.0
        trust_T[has_TM.any(axis=1) & (part_T == WITHOUT_FREE)] = 0.0
        return content_TE, trust_T

    def _step(self, head: Head, batch: Batch, slopes: Parameters) -> None:
        rate = np.float32(self._learning_rate)
        row_T = batch.item_T
        size_T = np.sqrt((slopes.free_TD**2).sum(axis=1))
        clip_T = np.minimum(np.float32(1.0), np.float32(GRADIENT_MAX) / np.maximum(size_T, np.float32(1e-12)))
        free_TD = slopes.free_TD * clip_T[:, None]
        square_T = np.float32(SQUARE_DECAY) * head.square_I[row_T] + (free_TD**2).mean(axis=1)
        head.square_I[row_T] = square_T
        step_T = rate / (np.sqrt(square_T) + np.float32(1e-6))
        head.free_ID[row_T] += step_T[:, None] * free_TD
        head.bias_I[row_T] += rate * np.clip(slopes.bias_T, -GRADIENT_MAX, GRADIENT_MAX)
        if head.content_ED.shape[0]:
            head.content_square_E[:] = np.float32(SQUARE_DECAY) * head.content_square_E + (slopes.content_ED**2).mean(axis=1)
            head.content_ED[:] += (rate * np.float32(0.1) / (np.sqrt(head.content_square_E) + np.float32(1e-6)))[
                :, None
            ] * slopes.content_ED
        if self._attention:
            _step_attention(head, slopes, rate * np.float32(0.1))
        head.turn_square[0] = np.float32(SQUARE_DECAY) * head.turn_square[0] + (slopes.turn_DD**2).mean()
        head.turn_DD[:] += rate * np.float32(0.1) / (np.sqrt(head.turn_square[0]) + np.float32(1e-6)) * slopes.turn_DD


def _step_attention(head: Head, slopes: Parameters, rate: np.float32) -> None:
    for n, (value_N, slope_N) in enumerate(((head.place_C, slopes.place_C), (head.key_D, slopes.key_D))):
        head.attention_square[n] = np.float32(SQUARE_DECAY) * head.attention_square[n] + (slope_N**2).mean()
        value_N[:] += rate / (np.sqrt(head.attention_square[n]) + np.float32(1e-6)) * slope_N


def refresh(head: Head, items: Items, content: ContentVectors, row_T: Array) -> None:
    """Computes the cached vectors of item rows anew."""
    fused_TD = trust_of(head, items, content, row_T)[:, None] * head.free_ID[row_T]
    if content.widths.total:
        content_TE, text = content.of_rows(items, row_T), content.widths.text
        head.text_ID[row_T] = content_TE[:, :text] @ head.content_ED[:text]
        head.image_ID[row_T] = content_TE[:, text:] @ head.content_ED[text:]
        fused_TD += head.text_ID[row_T] + head.image_ID[row_T]
    head.fused_ID[row_T] = fused_TD


def refresh_all(head: Head, items: Items, content: ContentVectors, rows: int) -> None:
    """The same of the whole catalog."""
    for first in range(0, rows, FUSED_AT_ONCE):
        refresh(head, items, content, np.arange(first, min(first + FUSED_AT_ONCE, rows)))


def trust_of(head: Head, items: Items, content: ContentVectors, row_T: Array) -> Array:
    """The weight of the free vectors of item rows: it grows with the item's examples where there is content, else it is 1."""
    seen_T = head.seen_I[row_T]
    trust_T: Array = np.where(content.has(items, row_T).any(axis=1), seen_T / (seen_T + np.float32(YOUTH)), np.float32(1.0))
    return trust_T


def gradient_by_hand(values: Parameters, batch: Batch) -> Parameters:
    """The gradient in numpy; see ``gradient_torch`` for what it is the gradient of."""
    fused_TD = batch.trust_T[:, None] * values.free_TD + batch.content_TE @ values.content_ED
    fused_BCD = fused_TD[batch.context_BC]
    logit_BC = np.clip(values.place_C + fused_BCD @ values.key_D, -ATTENTION_MAX, ATTENTION_MAX)
    share_BC = np.exp(logit_BC) * batch.used_BC
    share_BC /= share_BC.sum(axis=1, keepdims=True)
    context_BD = np.einsum("bc,bcd->bd", share_BC, fused_BCD)
    query_BD = context_BD @ values.turn_DD.T
    target_BD, negative_ND = fused_TD[batch.target_B], fused_TD[batch.negative_N]
    logit_B = (query_BD * target_BD).sum(axis=1) + values.bias_T[batch.target_B] - batch.target_odds_B
    logit_BN = query_BD @ negative_ND.T + (values.bias_T[batch.negative_N] - batch.negative_odds_N)
    chosen_B, ignored_B = np.maximum(batch.weight_B, 0.0), np.maximum(-batch.weight_B, 0.0)
    chance_B = _sigmoid(logit_B)
    slope_B = chosen_B * (1.0 - chance_B) - ignored_B * chance_B
    slope_BN = -chosen_B[:, None] * _sigmoid(logit_BN)
    slope_BN[batch.negative_N[None, :] == batch.target_B[:, None]] = 0.0
    slope_query_BD = slope_B[:, None] * target_BD + slope_BN @ negative_ND
    slope_TD = np.zeros_like(fused_TD)
    add_rows(slope_TD, batch.target_B, slope_B[:, None] * query_BD)
    add_rows(slope_TD, batch.negative_N, slope_BN.T @ query_BD)
    slope_context_BD = slope_query_BD @ values.turn_DD
    slope_share_BC = np.einsum("bd,bcd->bc", slope_context_BD, fused_BCD)
    slope_BC = share_BC * (slope_share_BC - (share_BC * slope_share_BC).sum(axis=1, keepdims=True))
    spread_BCD = share_BC[:, :, None] * slope_context_BD[:, None, :] + slope_BC[:, :, None] * values.key_D
    add_rows(slope_TD, batch.context_BC.ravel(), spread_BCD.reshape(-1, slope_TD.shape[1]))
    slope_T1 = np.zeros((len(slope_TD), 1), np.float32)
    add_rows(slope_T1, batch.target_B, slope_B[:, None])
    add_rows(slope_T1, batch.negative_N, slope_BN.sum(axis=0)[:, None])
    return Parameters(
        free_TD=batch.trust_T[:, None] * slope_TD,
        bias_T=slope_T1[:, 0],
        content_ED=batch.content_TE.T @ slope_TD,
        turn_DD=slope_query_BD.T @ context_BD,
        place_C=slope_BC.sum(axis=0),
        key_D=np.einsum("bc,bcd->d", slope_BC, fused_BCD),
    )


def _sigmoid(logit: Array) -> Array:
    chance: Array = (1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0)))).astype(np.float32)
    return chance


@kernel
def note_seen(seen_I: Array, target_B: Array, weight_B: Array) -> None:
    """Counts the examples that were chosen."""
    for n in range(len(target_B)):
        if weight_B[n] > 0:
            seen_I[target_B[n]] += np.float32(1.0)


@kernel
def add_rows(into_TD: Array, place_M: Array, row_MD: Array) -> None:
    """``into[place[m]] += row[m]``, in order."""
    for m in range(len(place_M)):
        for d in range(into_TD.shape[1]):
            into_TD[place_M[m], d] += row_MD[m, d]
