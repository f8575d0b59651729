"""Random numbers that are the same everywhere: raw bits of a counter, integer tables, no float in between.

What a machine's vector units may round otherwise (logarithms, powers) goes into tables of rounded integers once; every draw is integer
arithmetic on the raw output of Philox, which numpy promises to keep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Raw = NDArray[np.uint64]
Ints = NDArray[np.int64]

_GOLDEN, _FIRST, _SECOND = (np.uint64(one) for one in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_ONE = 1 << 64
_EXPONENTIAL_BITS = 16
_SCALE_BITS = 10
WEIGHT_ONE = 1 << 32
"""The weight of the likeliest outcome in a table."""


def raw_bits(seed: int, block: int, purpose: int, count: int) -> Raw:
    """``count`` numbers of 64 random bits: a function of the arguments alone; those of a smaller count are the first ones."""
    key, counter = np.array([seed, 0], np.uint64), np.array([0, 0, purpose, block], np.uint64)
    drawn: Raw = np.random.Philox(counter=counter, key=key).random_raw(count)
    return drawn


def mixed(*parts: Ints | Raw | int) -> Raw:
    """64 bits that look random, of one or several whole numbers (SplitMix64)."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        number = np.uint64(part % _ONE) if isinstance(part, int) else part.astype(np.uint64)
        state = (state ^ number) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        state ^= state >> np.uint64(31)
    return state


def below(bits_N: Raw, limit: int) -> Ints:
    """Whole numbers from 0 to ``limit`` - 1, for limits under 2^32.

    >>> below(np.array([0, 2**63, 2**64 - 1], np.uint64), 10).tolist()
    [0, 5, 9]
    """
    return (((bits_N >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)


def happens(bits_N: Raw, chance: float) -> NDArray[np.bool_]:
    """True with that chance; never with 0, always with 1."""
    if chance >= 1.0:
        return np.ones(len(bits_N), bool)
    return bits_N < np.uint64(int(chance * _ONE))


class Choice:
    """Draws places 0 to K - 1 by their weights."""

    def __init__(self, weight_K: Sequence[float] | NDArray[np.floating]) -> None:
        weights = np.asarray(weight_K, np.float64)
        whole_K = np.maximum(np.rint(weights / weights.max() * WEIGHT_ONE).astype(np.int64), weights > 0)
        self._edge_K = np.cumsum(whole_K)
        self._total = np.uint64(self._edge_K[-1])
        self.share_K: NDArray[np.float64] = whole_K / float(self._total)

    def pick(self, bits_N: Raw) -> Ints:
        """A place for every number."""
        picked: Ints = np.searchsorted(self._edge_K, (bits_N % self._total).astype(np.int64), side="right")
        return picked


def zipf(places: int, exponent: float, flat: float = 0.0) -> Choice:
    """Chances in proportion to 1 / (rank + flat)^exponent: Zipf's law, with Mandelbrot's shift where ``flat`` is not 0."""
    return Choice((np.arange(1, places + 1) + flat) ** -exponent)


_EXPONENTIAL_Q = np.array(
    [
        round(-math.log((place + 0.5) / (1 << _EXPONENTIAL_BITS)) * (1 << _SCALE_BITS))
        for place in range(1 << _EXPONENTIAL_BITS)
    ],
    np.int64,
)
"""Quantiles of the exponential distribution with mean 1, in units of 2^-10."""


WAIT_MEANS_MAX = 12
"""No wait is longer than so many means."""


def waits(bits_N: Raw, mean: int) -> Ints:
    """Exponential waiting times with that mean, in its unit."""
    return (_EXPONENTIAL_Q[(bits_N >> np.uint64(64 - _EXPONENTIAL_BITS)).astype(np.int64)] * mean) >> _SCALE_BITS
