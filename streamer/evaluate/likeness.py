"""How alike the entries of a list are: by the engine's fused vectors, and by the categories that documents name.

The mean over all pairs of the first TOP entries (intra-list similarity, Ziegler et al. 2005): the cosine of their vectors, which is
what diversity is chosen by, and the share that two entries' categories have in common (Jaccard), which it knows nothing of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.evaluate.metrics import TOP

Floats = NDArray[np.float64]


class Likeness:
    """Sums over lists."""

    def __init__(self, categories: Mapping[int, Sequence[str]], items: int) -> None:
        """``categories`` by item number, of ``items`` in all; without any there is no figure by category."""
        names = {name: n for n, name in enumerate(dict.fromkeys(name for named in categories.values() for name in named))}
        self._bears_IC = np.zeros((items, len(names)), np.float32)
        for item, named in categories.items():
            self._bears_IC[item, [names[name] for name in named]] = 1.0
        self._sum: dict[str, float] = {}
        self._lists: dict[str, int] = {}

    def note(self, listed: Sequence[int], vector_KD: NDArray[np.float32]) -> None:
        """One list, best first, and the fused vectors of its entries."""
        self._add("vectors", _cosines(vector_KD[:TOP].astype(np.float64)))
        if self._bears_IC.shape[1]:
            self._add("categories", _jaccard(self._bears_IC[listed[:TOP]]))

    def means(self) -> dict[str, float]:
        """By what they are compared by; only what could be compared."""
        return {kind: total / self._lists[kind] for kind, total in self._sum.items()}

    def _add(self, kind: str, pairs: Floats) -> None:
        if len(pairs):
            self._sum[kind] = self._sum.get(kind, 0.0) + float(pairs.mean())
            self._lists[kind] = self._lists.get(kind, 0) + 1


def _cosines(vector_KD: Floats) -> Floats:
    """Of all pairs of entries that have a vector."""
    length_K = np.sqrt(np.einsum("kd,kd->k", vector_KD, vector_KD))
    unit_KD = vector_KD[length_K > 0] / length_K[length_K > 0, None]
    return _pairs(unit_KD @ unit_KD.T)


def _jaccard(bears_KC: NDArray[np.float32]) -> Floats:
    """Of all pairs of entries that have categories."""
    some_KC = bears_KC[bears_KC.any(axis=1)].astype(np.float64)
    both_KK = some_KC @ some_KC.T
    count_K = some_KC.sum(axis=1)
    return _pairs(both_KK / (count_K[:, None] + count_K - both_KK))


def _pairs(value_KK: Floats) -> Floats:
    found: Floats = value_KK[np.triu_indices(len(value_KK), 1)]
    return found
