"""What a ranking is worth, from the place of its target. Pure functions on arrays of any shape.

A rank counts from 1 and may be a half, where the target is tied with others; it is infinite where the target is not in the list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOP = 10
"""HR and NDCG look at so many entries."""
LIST = 20
"""MRR looks at the whole list, which has so many entries."""


def hit(rank: Floats | float, k: int = TOP) -> Floats:
    """1 where the target is among the first ``k``, else 0: its mean is HR@k.

    >>> hit(np.array([1.0, 10.0, 10.5, np.inf])).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    return np.asarray(np.asarray(rank) <= k, np.float64)


def ndcg(rank: Floats | float, k: int = TOP) -> Floats:
    """1 / log2(1 + rank) among the first ``k``, else 0: NDCG@k of one relevant item (Järvelin and Kekäläinen 2002).

    >>> ndcg(np.array([1.0, 3.0, np.inf])).tolist()
    [1.0, 0.5, 0.0]
    """
    return hit(rank, k) / np.log2(1.0 + np.asarray(rank, np.float64))


def reciprocal(rank: Floats | float, k: int = LIST) -> Floats:
    """1 / rank among the first ``k``, else 0: its mean is MRR@k.

    >>> reciprocal(np.array([1.0, 4.0, 21.0])).tolist()
    [1.0, 0.25, 0.0]
    """
    return hit(rank, k) / np.asarray(rank, np.float64)


def mid_rank(score_K: Floats, place: int) -> float:
    """The rank of the entry at ``place`` (from 0): the middle of the ranks that those with its score take together.

    Args:
        score_K: scores of a ranking, never rising.
        place: where the target stands in it.

    >>> mid_rank(np.array([3.0, 2.0, 2.0, 1.0]), 1)
    2.5
    """
    falling_K = -score_K
    first = int(np.searchsorted(falling_K, falling_K[place], "left"))
    after = int(np.searchsorted(falling_K, falling_K[place], "right"))
    return (first + 1 + after) / 2.0
