"""The head's learner: one step of the bilinear head from a closed block.

The gradient has two forms that a test holds against each other: by hand (``gradient_by_hand``, the CPU's), and by automatic
differentiation in torch (``gradient_torch``: readable, and the one that runs on CUDA). The update is the same for both.
"""

from __future__ import annotations

import numpy as np

from streamer.catalog.items import Items
from streamer.catalog.vectors import ContentVectors
from streamer.head.bilinear import (
    BLOCK_EXAMPLES,
    CURSOR,
    DIMENSIONS,
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
from streamer.head.gradient import Batch, Gradient, Parameters, gradient_by_hand
from streamer.tables.arrays import Array
from streamer.tables.compile import brief_kernel
from streamer.tables.prefetch import SOON, prefetch
from streamer.tables.slots import EMPTY, new_slots, slot_of
from streamer.tables.vectors import add_scaled, dot

FUSED_AT_ONCE = 4_096
"""Rows of the catalog whose fused vectors are computed in one product."""
GRADIENT_MAX = 5.0
"""Largest norm of a row's gradient."""


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
        if content.widths.total:  # else nothing moves a row but its own examples
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
        item_T, place = distinct(everything)
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
        step_rows(head.free_ID, head.bias_I, head.square_I, batch.item_T, slopes.free_TD, slopes.bias_T, rate)
        if head.content_ED.shape[0]:
            head.content_square_E[:] = np.float32(SQUARE_DECAY) * head.content_square_E + (slopes.content_ED**2).mean(axis=1)
            head.content_ED[:] += (rate * np.float32(0.1) / (np.sqrt(head.content_square_E) + np.float32(1e-6)))[
                :, None
            ] * slopes.content_ED
        slow = rate * np.float32(0.1)
        if self._attention:
            step_together(head.place_C, head.attention_square[:1], slopes.place_C, slow)
            step_together(head.key_D, head.attention_square[1:], slopes.key_D, slow)
        step_together(head.turn_DD.reshape(-1), head.turn_square, slopes.turn_DD.reshape(-1), slow)


def refresh(head: Head, items: Items, content: ContentVectors, row_T: Array) -> None:
    """Computes the cached vectors of item rows anew; without content there are none but the free ones."""
    if not content.widths.total:
        return
    content_TE, text = content.of_rows(items, row_T), content.widths.text
    if text:
        head.text_ID[row_T] = content_TE[:, :text] @ head.content_ED[:text]
    if content.widths.image:
        head.image_ID[row_T] = content_TE[:, text:] @ head.content_ED[text:]
    fuse_rows(head, row_T, trust_of(head, items, content, row_T))


def refresh_all(head: Head, items: Items, content: ContentVectors, rows: int) -> None:
    """The same of the whole catalog."""
    for first in range(0, rows, FUSED_AT_ONCE):
        refresh(head, items, content, np.arange(first, min(first + FUSED_AT_ONCE, rows)))


def trust_of(head: Head, items: Items, content: ContentVectors, row_T: Array) -> Array:
    """The weight of the free vectors of item rows: it grows with the item's examples where there is content, else it is 1."""
    if not content.widths.total:
        return np.ones(len(row_T), np.float32)
    seen_T = head.seen_I[row_T]
    trust_T: Array = np.where(content.has(items, row_T).any(axis=1), seen_T / (seen_T + np.float32(YOUTH)), np.float32(1.0))
    return trust_T


def distinct(item_M: Array) -> tuple[Array, Array]:
    """The distinct items of ``item_M`` in the order in which they appear, and the place of each entry among them, int32."""
    slots = 1 << (4 * len(item_M)).bit_length()
    item_T, place_M = np.empty(len(item_M), np.int32), np.empty(len(item_M), np.int32)
    return item_T[: find_distinct(item_M, new_slots(slots), np.empty(slots, np.int32), item_T, place_M)], place_M


@brief_kernel
def find_distinct(item_M: Array, item_S: Array, place_S: Array, item_T: Array, place_M: Array) -> int:
    """Fills the last two; ``item_S`` are slots, all empty, ``place_S`` has the place of a slot's item. Returns how many are distinct."""
    found = 0
    for m in range(len(item_M)):
        item = item_M[m]
        slot = slot_of(item_S, item)
        if item_S[slot] == EMPTY:
            item_S[slot], place_S[slot], item_T[found] = item, found, item
            found += 1
        place_M[m] = place_S[slot]
    return found


@brief_kernel
def step_rows(
    free_ID: Array, bias_I: Array, square_I: Array, item_T: Array, slope_TD: Array, slope_T: Array, rate: np.float32
) -> None:
    """Moves the items' free vectors, each by its own Adagrad rate and a gradient of bounded norm, and their biases."""
    most, last = np.float32(GRADIENT_MAX), len(item_T) - 1
    for t in range(len(item_T)):
        soon = item_T[min(t + SOON, last)]
        prefetch(bias_I, soon)
        prefetch(square_I, soon)
        item = item_T[t]
        total = dot(slope_TD[t], slope_TD[t])
        clip = min(np.float32(1.0), most / max(np.sqrt(total), np.float32(1e-12)))
        square_I[item] = np.float32(SQUARE_DECAY) * square_I[item] + clip * clip * total / np.float32(DIMENSIONS)
        step = clip * rate / (np.sqrt(square_I[item]) + np.float32(1e-6))
        add_scaled(free_ID[item], step, slope_TD[t])
        bias_I[item] += rate * min(max(slope_T[t], -most), most)


@brief_kernel
def step_together(value_N: Array, square_1: Array, slope_N: Array, rate: np.float32) -> None:
    """Moves numbers that share one Adagrad rate."""
    square_1[0] = np.float32(SQUARE_DECAY) * square_1[0] + dot(slope_N, slope_N) / np.float32(len(slope_N))
    add_scaled(value_N, rate / (np.sqrt(square_1[0]) + np.float32(1e-6)), slope_N)


@brief_kernel
def fuse_rows(head: Head, item_T: Array, trust_T: Array) -> None:
    """Computes fused(v) of items from their parts."""
    for t in range(len(item_T)):
        item = item_T[t]
        head.fused_ID[item] = np.float32(0.0)
        add_scaled(head.fused_ID[item], trust_T[t], head.free_ID[item])
        if head.widths[0] > 0:
            add_scaled(head.fused_ID[item], np.float32(1.0), head.text_ID[item])
        if head.widths[1] > 0:
            add_scaled(head.fused_ID[item], np.float32(1.0), head.image_ID[item])


@brief_kernel
def note_seen(seen_I: Array, target_B: Array, weight_B: Array) -> None:
    """Counts the examples that were chosen."""
    for n in range(len(target_B)):
        if weight_B[n] > 0:
            seen_I[target_B[n]] += np.float32(1.0)
