"""How much of the lists' attention each name gets, and how unequal that is.

The entry at place k of a list gets 1 / log2(1 + k), as in DCG: a list's attention is the same whatever is on it. An item of several
categories gives each an equal part (Singh and Joachims 2018 on exposure; Gini 1912).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NAMED_MAX = 10
"""Providers and categories that are named, those that are shown most."""

Floats = NDArray[np.float64]


def places(entries: int) -> Floats:
    """What each place of a list of so many entries gets.

    >>> places(3).round(4).tolist()
    [1.0, 0.6309, 0.5]
    """
    found: Floats = 1.0 / np.log2(2.0 + np.arange(entries))
    return found


def gini(exposure_X: Floats) -> float:
    """The Gini coefficient of exposures: 0 where all get the same, near 1 where one gets all; 0 where there is nothing to share.

    >>> gini(np.array([1.0, 1.0, 1.0])), gini(np.array([0.0, 0.0, 0.0, 1.0]))
    (0.0, 0.75)
    """
    rising_X, count, total = np.sort(exposure_X), len(exposure_X), float(exposure_X.sum())
    if total <= 0.0:
        return 0.0
    return float(2.0 * np.dot(np.arange(1, count + 1), rising_X) / (count * total) - (count + 1) / count)


def catalogue_gini(exposure_N: Floats, items_N: NDArray[np.generic]) -> float:
    """The Gini coefficient over items, as if each had an equal part of its name's exposure: 0 where names are shown by their sizes.

    >>> catalogue_gini(np.array([3.0, 1.0]), np.array([3, 1])), catalogue_gini(np.array([4.0, 0.0]), np.array([3, 1]))
    (0.0, 0.25)
    """
    size_N, total = items_N.astype(np.float64), float(exposure_N.sum())
    if total <= 0.0 or not size_N.all():
        return 0.0
    rising_N = np.argsort(exposure_N / size_N, kind="stable")
    share_N, size_N = exposure_N[rising_N] / total, size_N[rising_N] / size_N.sum()
    reached_N = np.cumsum(share_N)  # the Lorenz curve; twice the area between it and the diagonal
    return max(0.0, float(1.0 - np.dot(size_N, 2.0 * reached_N - share_N)))


class Shares(NamedTuple):
    """Of N names: how unequal, how many are known and how many shown at all, and the shares of the NAMED_MAX shown most."""

    gini: float
    catalogue_gini: float
    known: int
    shown: int
    most: dict[str, float]


def shares(name_of: Callable[[int], str], exposure_N: Floats, items_N: NDArray[np.generic]) -> Shares:
    """What is told of the exposures of names, by number, each with so many items; of equal ones the first are named.

    >>> shares("abc".__getitem__, np.array([1.0, 3.0, 0.0]), np.array([1, 1, 5])).most
    {'b': 0.75, 'a': 0.25, 'c': 0.0}
    """
    total = float(exposure_N.sum()) or 1.0
    most_T = np.argsort(-exposure_N, kind="stable")[:NAMED_MAX]
    return Shares(
        gini=gini(exposure_N),
        catalogue_gini=catalogue_gini(exposure_N, items_N),
        known=len(exposure_N),
        shown=int(np.count_nonzero(exposure_N)),
        most={name_of(n): float(exposure_N[n]) / total for n in most_T.tolist()},
    )
