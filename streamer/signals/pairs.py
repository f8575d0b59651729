"""Decayed counts of item pairs, sparse: the K strongest neighbours of each item, a row of a pool, strongest first.

An entry holds two counts: ``near`` of pairs of adjacent interactions (transition) and ``wide`` of pairs within a window, weighted by
WIDE_DECAY ** distance (co-visit). Rows fade by their own updates: increments grow by a factor instead, and a row is rescaled when
they become large. A pair that finds its row full takes the last entry's place and half of its count, as in the space-saving
sketch (Metwally et al. 2005), halved.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, resized, with_headroom
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.pools import CLASS_SIZE_MIN, Rows, give_piece, grown_rows, new_rows, room_of, rows_in, rows_out, take_piece
from streamer.tables.search import place_of

CONTEXT = 10
"""Interactions of the window that an event is paired with."""
WIDE_DECAY = 0.8
FADE_HALF_LIFE = 2_000.0
"""In additions to a row."""
SCALE_MAX = 1e6


class Pairs(NamedTuple):
    """One direction of pairs. A row's probabilities are its counts over ``near_total_I`` and ``wide_total_I``."""

    rows: Rows
    scale_I: Array
    near_total_I: Array
    wide_total_I: Array
    item_P: Array
    near_P: Array
    wide_P: Array


def new_pairs(items: int) -> Pairs:
    """No pair yet."""
    places = 8 * items
    return Pairs(
        rows=new_rows(items, places),
        scale_I=np.ones(items, np.float32),
        near_total_I=np.zeros(items, np.float32),
        wide_total_I=np.zeros(items, np.float32),
        item_P=np.zeros(places, np.int32),
        near_P=np.zeros(places, np.float32),
        wide_P=np.zeros(places, np.float32),
    )


def reserve_pairs(pairs: Pairs, items: int, places: int) -> Pairs:
    """Room for ``items`` rows in all and ``places`` more entries; the same object where there is room already."""
    needed = int(pairs.rows.top[0]) + places
    if items <= len(pairs.scale_I) and needed <= len(pairs.item_P):
        return pairs
    count = max(items, len(pairs.scale_I))
    capacity = capacity_for(needed, len(pairs.item_P))
    return Pairs(
        rows=grown_rows(pairs.rows, count, capacity),
        scale_I=grown(pairs.scale_I, count, 1),
        near_total_I=grown(pairs.near_total_I, count),
        wide_total_I=grown(pairs.wide_total_I, count),
        item_P=grown(pairs.item_P, capacity),
        near_P=grown(pairs.near_P, capacity),
        wide_P=grown(pairs.wide_P, capacity),
    )


def places_for_one(neighbours_max: int) -> int:
    """Entries that one interaction can take at its dearest: CONTEXT rows moving to the largest class."""
    return CONTEXT * (CLASS_SIZE_MIN << max(0, (neighbours_max - 1).bit_length() - 1))


def pairs_out(pairs: Pairs, prefix: str, items: int) -> dict[str, Array]:
    """For a snapshot."""
    top = int(pairs.rows.top[0])
    columns = {f"{prefix}.{name}": getattr(pairs, f"{name}_I")[:items] for name in ("scale", "near_total", "wide_total")}
    entries = {f"{prefix}.{name}": getattr(pairs, f"{name}_P")[:top] for name in ("item", "near", "wide")}
    return rows_out(pairs.rows, prefix, items) | columns | entries


def pairs_in(tables: dict[str, Array], prefix: str, items: int) -> Pairs:
    """From a snapshot, with room for ``items`` rows."""
    places = max(with_headroom(len(tables[f"{prefix}.item"])), 8 * items)
    return Pairs(
        rows=rows_in(tables, prefix, items, places),
        scale_I=resized(tables[f"{prefix}.scale"], items, 1),
        near_total_I=resized(tables[f"{prefix}.near_total"], items),
        wide_total_I=resized(tables[f"{prefix}.wide_total"], items),
        item_P=resized(tables[f"{prefix}.item"], places),
        near_P=resized(tables[f"{prefix}.near"], places),
        wide_P=resized(tables[f"{prefix}.wide"], places),
    )


@leaf_kernel
def add_pair(pairs: Pairs, row: int, item: int, near: float, wide: float, neighbours_max: int) -> None:
    """Counts ``item`` as a neighbour of ``row``'s item; the caller has reserved room."""
    growth = np.float32(2.0 ** (1.0 / FADE_HALF_LIFE))
    scale = pairs.scale_I[row] * growth
    if scale > SCALE_MAX:
        _rescale(pairs, row, np.float32(1.0) / scale)
        scale = np.float32(1.0)
    pairs.scale_I[row] = scale
    near_add = np.float32(near) * scale
    wide_add = np.float32(wide) * scale
    pairs.near_total_I[row] += near_add
    pairs.wide_total_I[row] += wide_add
    start = pairs.rows.start_R[row]
    length = pairs.rows.length_R[row]
    at = place_of(pairs.item_P, start, start + length, item)
    if at == start + length:
        at = _place_for_new(pairs, row, item, neighbours_max)
        start = pairs.rows.start_R[row]
    pairs.near_P[at] += near_add
    pairs.wide_P[at] += wide_add
    _bubble_up(pairs, start, at)


@leaf_kernel
def _place_for_new(pairs: Pairs, row: int, item: int, neighbours_max: int) -> int:
    rows = pairs.rows
    length = rows.length_R[row]
    if length >= neighbours_max:
        at = rows.start_R[row] + length - 1
        pairs.item_P[at] = item
        pairs.near_P[at] *= np.float32(0.5)
        pairs.wide_P[at] *= np.float32(0.5)
        return at
    if length == room_of(rows, row):
        size_class = rows.class_R[row] + 1
        piece = take_piece(rows, size_class)
        old = rows.start_R[row]
        for n in range(length):
            pairs.item_P[piece + n] = pairs.item_P[old + n]
            pairs.near_P[piece + n] = pairs.near_P[old + n]
            pairs.wide_P[piece + n] = pairs.wide_P[old + n]
        give_piece(rows, row)
        rows.start_R[row] = piece
        rows.class_R[row] = size_class
    rows.length_R[row] = length + 1
    at = rows.start_R[row] + length
    pairs.item_P[at] = item
    pairs.near_P[at] = 0.0
    pairs.wide_P[at] = 0.0
    return at


@leaf_kernel
def _bubble_up(pairs: Pairs, start: int, at: int) -> None:
    while at > start and pairs.wide_P[at] > pairs.wide_P[at - 1]:
        item, near, wide = pairs.item_P[at], pairs.near_P[at], pairs.wide_P[at]
        pairs.item_P[at], pairs.near_P[at], pairs.wide_P[at] = pairs.item_P[at - 1], pairs.near_P[at - 1], pairs.wide_P[at - 1]
        pairs.item_P[at - 1], pairs.near_P[at - 1], pairs.wide_P[at - 1] = item, near, wide
        at -= 1


@kernel
def _rescale(pairs: Pairs, row: int, factor: np.float32) -> None:
    start = pairs.rows.start_R[row]
    for at in range(start, start + pairs.rows.length_R[row]):
        pairs.near_P[at] *= factor
        pairs.wide_P[at] *= factor
    pairs.near_total_I[row] *= factor
    pairs.wide_total_I[row] *= factor


@kernel
def count_pairs(
    forward: Pairs, reverse: Pairs, context_W: Array, length: int, item: int, weight: float, neighbours_max: int
) -> None:
    """Counts the pairs of one interaction with the window before it, newest first."""
    wide = weight
    for n in range(min(length, CONTEXT)):
        other = context_W[n]
        if other != item:
            near = weight if n == 0 else 0.0
            add_pair(forward, other, item, near, wide, neighbours_max)
            add_pair(reverse, item, other, near, wide, neighbours_max)
        wide *= WIDE_DECAY


@kernel
def drop_items(pairs: Pairs, gone_I: Array) -> None:
    """Takes items out of every row; the others keep their order, and the totals what they were."""
    rows = pairs.rows
    for row in range(len(rows.start_R)):
        start, kept = rows.start_R[row], 0
        for at in range(start, start + rows.length_R[row]):
            if not gone_I[pairs.item_P[at]]:
                pairs.item_P[start + kept] = pairs.item_P[at]
                pairs.near_P[start + kept] = pairs.near_P[at]
                pairs.wide_P[start + kept] = pairs.wide_P[at]
                kept += 1
        rows.length_R[row] = kept
