"""A closed block as the gradient reads it: its distinct items, and places among them instead of rows of the catalog.

The arrays of a batch are used again for the next one: memory that is touched for the first time costs more than what is done in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import Items
from streamer.catalog.vectors import ContentVectors
from streamer.head.bilinear import (
    BLOCK_EXAMPLES,
    DIMENSIONS,
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
from streamer.head.gradient import Batch, Parameters
from streamer.tables.arrays import Array
from streamer.tables.compile import brief_kernel
from streamer.tables.prefetch import SOON, prefetch
from streamer.tables.slots import EMPTY, new_slots, slot_of


class Room(NamedTuple):
    """Memory for one batch of B examples, N negatives and T distinct items at most.

    ``item_S`` are slots, ``place_S`` the places of their items; ``seen_T`` counts how often an item was chosen, ``one_T`` is 1 everywhere; ``row_N``
    are the negatives' rows in the catalog.
    """

    item_S: Array
    place_S: Array
    item_T: Array
    seen_T: Array
    one_T: Array
    free_TD: Array
    bias_T: Array
    context_BC: Array
    used_BC: Array
    target_B: Array
    weight_B: Array
    target_odds_B: Array
    row_N: Array
    negative_N: Array
    negative_odds_N: Array


def new_room(block: Block, negatives: int) -> Room:
    """For whatever that block may hold."""
    examples, places = block.context_BN.shape
    items = examples * (places + 1) + negatives
    slots = 1 << (4 * items).bit_length()
    return Room(
        item_S=new_slots(slots),
        place_S=np.empty(slots, np.int32),
        item_T=np.empty(items, np.int32),
        seen_T=np.empty(items, np.float32),
        one_T=np.ones(items, np.float32),
        free_TD=np.empty((items, DIMENSIONS), np.float32),
        bias_T=np.empty(items, np.float32),
        context_BC=np.empty((examples, places), np.int32),
        used_BC=np.empty((examples, places), np.float32),
        target_B=np.empty(examples, np.int32),
        weight_B=np.empty(examples, np.float32),
        target_odds_B=np.empty(examples, np.float32),
        row_N=np.empty(negatives, np.int32),
        negative_N=np.empty(negatives, np.int32),
        negative_odds_N=np.empty(negatives, np.float32),
    )


def batch_of(
    head: Head, block: Block, items: Items, content: ContentVectors, seed: int, room: Room
) -> tuple[Parameters, Batch, Array]:
    """What a block's gradient is computed from, and how often each of its items was chosen [T]; but for the head's matrices all in ``room``."""
    examples = int(block.state[BLOCK_EXAMPLES])
    assert len(block.target_B) == len(room.target_B), "the room is for another size of blocks"
    count = fill_batch(head, block, examples, int(items.ids.used[0]), seed, room)
    item_T = room.item_T[:count]
    content_TE, trust_T = _parts(head, items, content, item_T, seed, room.one_T)
    batch = Batch(
        item_T=item_T,
        content_TE=content_TE,
        trust_T=trust_T,
        context_BC=room.context_BC[:examples],
        used_BC=room.used_BC[:examples],
        target_B=room.target_B[:examples],
        negative_N=room.negative_N,
        target_odds_B=room.target_odds_B[:examples],
        negative_odds_N=room.negative_odds_N,
        weight_B=room.weight_B[:examples],
    )
    values = Parameters(room.free_TD[:count], room.bias_T[:count], head.content_ED, head.turn_DD, head.place_C, head.key_D)
    return values, batch, room.seen_T[:count]


@brief_kernel
def fill_batch(head: Head, block: Block, examples: int, items: int, seed: int, room: Room) -> int:
    """Draws negatives from as many ``items`` and fills the room; returns how many distinct items there are."""
    draw_negatives(head, items, seed, room.row_N, room.negative_odds_N)
    room.item_S[:] = EMPTY
    found = 0
    for b in range(examples):
        length, target, weight = block.length_B[b], block.target_B[b], block.weight_B[b]
        for c in range(room.context_BC.shape[1]):
            item = block.context_BN[b, c] if c < length else target
            room.used_BC[b, c] = np.float32(1.0) if c < length else np.float32(0.0)
            room.context_BC[b, c], found = place_among(room, item, found)
        room.target_B[b], found = place_among(room, target, found)
        room.weight_B[b] = weight
    for n in range(len(room.row_N)):
        room.negative_N[n], found = place_among(room, room.row_N[n], found)
    fill_log_odds(head, items, block.target_B[:examples], len(room.row_N), room.target_odds_B)
    for b in range(examples):
        if room.weight_B[b] < 0.0:
            room.target_odds_B[b] = 0.0  # shown by somebody's choice, not drawn
    for t in range(found):
        soon = room.item_T[min(t + SOON, found - 1)]
        prefetch(head.bias_I, soon)
        prefetch(head.free_ID, soon)
        prefetch(head.free_ID[soon], DIMENSIONS // 2)
        row_D, free_D = room.free_TD[t], head.free_ID[room.item_T[t]]
        for d in range(len(row_D)):
            row_D[d] = free_D[d]
        room.bias_T[t] = head.bias_I[room.item_T[t]]
        room.seen_T[t] = 0.0
    for b in range(examples):
        if room.weight_B[b] > 0.0:
            room.seen_T[room.target_B[b]] += np.float32(1.0)
    return found


@brief_kernel
def place_among(room: Room, item: int, found: int) -> tuple[int, int]:
    """The item's place among those ``found`` so far, and how many they are then."""
    slot = slot_of(room.item_S, item)
    if room.item_S[slot] != EMPTY:
        return room.place_S[slot], found
    room.item_S[slot], room.place_S[slot], room.item_T[found] = item, found, item
    return found, found + 1


def _parts(head: Head, items: Items, content: ContentVectors, item_T: Array, seed: int, one_T: Array) -> tuple[Array, Array]:
    """Contents [T, E] and weights of the free vectors [T], a drawn part of the items without one of theirs."""
    if not content.widths.total:
        return np.zeros((len(item_T), 0), np.float32), one_T[: len(item_T)]
    content_TE, trust_T = content.of_rows(items, item_T), trust_of(head, items, content, item_T)
    part_T, has_TM = np.zeros(len(item_T), np.int8), content.has(items, item_T)
    draw_dropout(int(head.steps[STEP]), item_T, seed, part_T)
    both_T = has_TM.all(axis=1)
    text = content.widths.text
    content_TE[both_T & (part_T == WITHOUT_TEXT), :text] = 0.0
    content_TE[both_T & (part_T == WITHOUT_IMAGE), text:] = 0.0
    trust_T[has_TM.any(axis=1) & (part_T == WITHOUT_FREE)] = 0.0
    return content_TE, trust_T


def trust_of(head: Head, items: Items, content: ContentVectors, row_T: Array) -> Array:
    """The weight of the free vectors of item rows: it grows with the item's examples where it has content, else it is 1."""
    seen_T = head.seen_I[row_T]
    trust_T: Array = np.where(content.has(items, row_T).any(axis=1), seen_T / (seen_T + np.float32(YOUTH)), np.float32(1.0))
    return trust_T
