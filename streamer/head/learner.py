"""The head's learner: one step of the bilinear head from a closed block.

The gradient has two forms that a test holds against each other: by hand (``GradientByHand``, the CPU's), and by automatic
differentiation in torch (``gradient_torch``: readable, and the one that runs on CUDA). The update is the same for both.
"""

from __future__ import annotations

import numpy as np

from streamer.catalog.items import Items
from streamer.catalog.vectors import ContentVectors
from streamer.head.batch import Room, batch_of, new_room, trust_of
from streamer.head.bilinear import BLOCK_EXAMPLES, CURSOR, DIMENSIONS, REFRESHED, SKIPPED, SQUARE_DECAY, STEP, Block, Head
from streamer.head.gradient import Gradient, GradientByHand, Parameters
from streamer.tables.arrays import Array
from streamer.tables.compile import brief_kernel, inner_kernel, kernel
from streamer.tables.prefetch import SOON, prefetch
from streamer.tables.vectors import add_scaled, dot

FUSED_AT_ONCE = 4_096
"""Rows of the catalog whose fused vectors are computed in one product."""
GRADIENT_MAX = 5.0
"""Largest norm of a row's gradient."""


class Learner:
    """Closes blocks: draws negatives, takes one step, refreshes the cached fused vectors. Holds memory, no state."""

    def __init__(
        self, *, learning_rate: float, negatives: int, seed: int, attention: bool = True, gradient: Gradient | None = None
    ) -> None:
        """``attention``: whether the weights of the window's places are learned, or stay as at the start."""
        self._learning_rate = learning_rate
        self._negatives = negatives
        self._seed = seed
        self._attention = attention
        self._gradient = gradient or GradientByHand()
        self._room: Room | None = None

    def learn(self, head: Head, block: Block, items: Items, content: ContentVectors) -> None:
        """One step from the block's examples; a non-finite gradient skips it and is counted."""
        if block.state[BLOCK_EXAMPLES] > 0:
            self._room = self._room or new_room(block, self._negatives)
            values, batch, seen_T = batch_of(head, block, items, content, self._seed, self._room)
            slopes = self._gradient(values, batch)
            if is_finite(slopes):
                self._step(head, batch.item_T, seen_T, slopes)
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

    def _step(self, head: Head, item_T: Array, seen_T: Array, slopes: Parameters) -> None:
        rate = np.float32(self._learning_rate)
        step_rows(head, item_T, seen_T, slopes, rate)
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


@brief_kernel
def is_finite(slopes: Parameters) -> bool:
    """Whether every number is."""
    total = _nothing_times(slopes.bias_T) + _nothing_times(slopes.place_C) + _nothing_times(slopes.key_D)
    total += _nothing_times_rows(slopes.free_TD) + _nothing_times_rows(slopes.content_ED) + _nothing_times_rows(slopes.turn_DD)
    return total == np.float32(0.0)


@kernel
def _nothing_times_rows(slope_NN: Array) -> np.float32:
    total = np.float32(0.0)
    for n in range(len(slope_NN)):
        total += _nothing_times(slope_NN[n])
    return total


@inner_kernel
def _nothing_times(slope_N: Array) -> np.float32:
    """0, or what is not a number where one of them is not finite."""
    total = np.float32(0.0)
    for n in range(len(slope_N)):
        total += np.float32(0.0) * slope_N[n]
    return total


@brief_kernel
def step_rows(head: Head, item_T: Array, seen_T: Array, slopes: Parameters, rate: np.float32) -> None:
    """Moves the items' free vectors, each by its own Adagrad rate and a gradient of bounded norm, and their biases; counts their examples."""
    free_ID, bias_I, square_I, seen_I = head.free_ID, head.bias_I, head.square_I, head.seen_I
    slope_TD, slope_T = slopes.free_TD, slopes.bias_T
    most, last = np.float32(GRADIENT_MAX), len(item_T) - 1
    for t in range(len(item_T)):
        soon = item_T[min(t + SOON, last)]
        prefetch(bias_I, soon)
        prefetch(square_I, soon)
        prefetch(seen_I, soon)
        prefetch(free_ID, soon)
        prefetch(free_ID[soon], DIMENSIONS // 2)
        item = item_T[t]
        total = dot(slope_TD[t], slope_TD[t])
        clip = min(np.float32(1.0), most / max(np.sqrt(total), np.float32(1e-12)))
        square_I[item] = np.float32(SQUARE_DECAY) * square_I[item] + clip * clip * total / np.float32(DIMENSIONS)
        step = clip * rate / (np.sqrt(square_I[item]) + np.float32(1e-6))
        add_scaled(free_ID[item], step, slope_TD[t])
        bias_I[item] += rate * min(max(slope_T[t], -most), most)
        seen_I[item] += seen_T[t]


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
