"""Popularity at several half-lives, from a few interactions of the whole stream to for ever.

Each item has a (value, tick) pair a half-life; the value is aged when it is used. The strongest TOP items a half-life stand in exact
lists: log2(value) + tick / half-life does not change while nothing happens to an item, so only a touched item moves.

A user moves an item once. What he adds fades with the half-life, and choosing the item again fills it up and no further: at every
half-life he holds at most his weightiest interaction with the item, aged since his last one. So a value is the number of users who
chose the item lately, and one who chooses it a thousand times is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, grown, resized
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.search import place_of

HALF_LIVES = (3.0, 10.0, 30.0, 100.0, 1_000.0, 10_000.0, np.inf)
"""In interactions of the whole stream (H of them); the last is popularity for ever."""
RATES = np.array([1.0 / half_life for half_life in HALF_LIVES])
TOP = 256
FOR_EVER = len(HALF_LIVES) - 1
SOON = 3
"""In interactions: the same user and item again before that is no interaction more, or one user could make all else look old."""
TICK_MASK = (1 << 32) - 1
"""Users' histories keep 32 bits of the clock: who comes back to an item after 2^32 interactions may find it counted in part."""


class Trends(NamedTuple):
    """``tick[0]`` is the clock, which counts interactions; ``value_IH`` is as of ``tick_I``; ``top_HT`` are items by ``key_HT``, strongest first."""

    tick: Array
    value_IH: Array
    tick_I: Array
    top_HT: Array
    key_HT: Array
    length_H: Array


def new_trends(items: int) -> Trends:
    """Nothing has happened yet."""
    halves = len(HALF_LIVES)
    return Trends(
        tick=np.zeros(1, np.int64),
        value_IH=np.zeros((items, halves), np.float32),
        tick_I=np.zeros(items, np.int64),
        top_HT=np.zeros((halves, TOP), np.int32),
        key_HT=np.zeros((halves, TOP), np.float64),
        length_H=np.zeros(halves, np.int32),
    )


def reserve_trends(trends: Trends, items: int) -> Trends:
    """Room for ``items`` rows in all."""
    return trends._replace(value_IH=grown(trends.value_IH, items), tick_I=grown(trends.tick_I, items))


def trends_out(trends: Trends, items: int) -> dict[str, Array]:
    """For a snapshot."""
    return {
        "trends.tick": trends.tick,
        "trends.value": trends.value_IH[:items],
        "trends.item_tick": trends.tick_I[:items],
        "trends.top": trends.top_HT,
        "trends.key": trends.key_HT,
        "trends.length": trends.length_H,
    }


def trends_in(tables: dict[str, Array], items: int) -> Trends:
    """From a snapshot, with room for ``items`` rows."""
    return Trends(
        tick=np.array(tables["trends.tick"], copy=True),
        value_IH=resized(tables["trends.value"], items),
        tick_I=resized(tables["trends.item_tick"], items),
        top_HT=np.array(tables["trends.top"], copy=True),
        key_HT=np.array(tables["trends.key"], copy=True),
        length_H=np.array(tables["trends.length"], copy=True),
    )


@kernel
def count_trend(trends: Trends, item: int, weight: float, held: float, touched: int) -> int:
    """Counts one interaction of a user with an item; returns the clock, which the user's history keeps.

    ``held``: the largest weight that he has had with the item, 0 where he had none, and ``touched`` the clock then.
    """
    since = (trends.tick[0] - touched) & TICK_MASK
    if held <= 0.0 or since >= SOON:
        trends.tick[0] += 1
        since += 1
    now = trends.tick[0]
    elapsed = now - trends.tick_I[item]
    trends.tick_I[item] = now
    for half in range(len(RATES)):
        missing = weight - held * 2.0 ** (-since * RATES[half])
        value = trends.value_IH[item, half] * 2.0 ** (-elapsed * RATES[half]) + max(missing, 0.0)
        trends.value_IH[item, half] = value
        if missing > 0.0:
            _raise_in_top(trends, half, item, np.log2(value) + now * RATES[half])
    return now


@contextmanager
def unchanged_after(trends: Trends, item_G: Array) -> Iterator[None]:
    """Within it those items may be counted; after it the trends are bit for bit what they were."""
    if not len(item_G):
        yield
        return
    item_G = item_G.copy()  # the group may close meanwhile
    whole = (trends.tick, trends.top_HT, trends.key_HT, trends.length_H)
    kept = [array.copy() for array in whole]
    kept_rows = trends.value_IH[item_G], trends.tick_I[item_G]
    try:
        yield
    finally:
        trends.value_IH[item_G], trends.tick_I[item_G] = kept_rows
        for array, before in zip(whole, kept, strict=True):
            array[...] = before


@leaf_kernel
def _raise_in_top(trends: Trends, half: int, item: int, key: float) -> None:
    length = trends.length_H[half]
    if length == TOP and key <= trends.key_HT[half, TOP - 1]:
        return
    at = place_of(trends.top_HT[half], 0, length, item)
    if at == length:
        if length < TOP:
            trends.length_H[half] = length + 1
        else:
            at = TOP - 1
    else:
        key = max(key, trends.key_HT[half, at])  # what adds next to nothing may round downwards
    while at > 0 and trends.key_HT[half, at - 1] < key:
        trends.key_HT[half, at] = trends.key_HT[half, at - 1]
        trends.top_HT[half, at] = trends.top_HT[half, at - 1]
        at -= 1
    trends.key_HT[half, at] = key
    trends.top_HT[half, at] = item
