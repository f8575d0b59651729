"""iALS: matrix factorization of implicit feedback by alternating least squares, refitted as the stream goes on."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from streamer.evaluate.baselines.growing import Counts
from streamer.evaluate.baselines.ranked import backed_off, ranked
from streamer.evaluate.method import Ranked


@dataclass(frozen=True)
class IalsConfig:
    """Regularization (0.1 to 30) and alpha (1 to 20): chosen as the package says."""

    factors: int = 64
    regularization: float = 30.0
    alpha: float = 20.0
    """Confidence that one event adds."""
    iterations: int = 8
    refit_events: int = 200
    """Events between two fits on all events so far."""
    refit_share: float = 0.05
    """The same as a share of the events so far, where that is more: a long stream is fitted as often while it doubles as a short one."""


class Ials:
    """iALS of Hu, Koren and Volinsky 2008 ("Collaborative filtering for implicit feedback datasets"), by the package ``implicit``.

    An event of (u, v) adds alpha to the confidence in a preference of 1; score(v) = p q(v). All factors are refitted when 5 % came
    since the last time; between two fits the user's own are solved for at each ranking, exactly, from all that he has done. Items that
    came after the last fit follow by popularity, and users without events get popularity.
    """

    def __init__(self, config: IalsConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._count = Counts()
        self._own: dict[int, dict[int, float]] = {}
        self._events = self._fitted_events = 0
        threadpool_limits(1, user_api="blas")  # small products: threads cost more than they save, and regroup sums
        self._item_MF = np.zeros((0, config.factors))
        """Of the M items that were there at the last fit."""
        self._gram_FF = np.zeros((config.factors, config.factors))

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del time_ms
        count_N = self._count.value_N
        own = [(item, value) for item, value in self._own.get(user, {}).items() if item < len(self._item_MF)]
        if not own:
            return ranked(count_N, excluded)
        score_N = backed_off(np.zeros(len(count_N)), count_N)
        score_M = self._item_MF @ self._folded_in(own)
        score_N[: len(score_M)] = score_M - min(score_M.min(), 0.0)  # so that the new items of the back-off come last
        return ranked(score_N, excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        del time_ms
        own = self._own.setdefault(user, {})
        for item in item_G:
            own[item] = own.get(item, 0.0) + 1.0
            self._count.add(item, 1.0)
        self._events += len(item_G)
        if self._events - self._fitted_events >= max(self._config.refit_events, self._config.refit_share * self._events):
            self._fit()
            self._fitted_events = self._events

    def _folded_in(self, own: list[tuple[int, float]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The user's vector: p = (Q'Q + reg I + sum (c - 1) q q')^-1 sum c q."""
        item_H = np.array([item for item, _ in own])
        confidence_H = 1.0 + self._config.alpha * np.array([value for _, value in own])
        q_HF = self._item_MF[item_H]
        system_FF = self._gram_FF + (q_HF.T * (confidence_H - 1.0)) @ q_HF
        solved: np.ndarray[tuple[int], np.dtype[np.float64]] = np.linalg.solve(system_FF, q_HF.T @ confidence_H)
        return solved

    def _fit(self) -> None:
        config = self._config
        user_E = [user for user, own in self._own.items() for _ in own]
        item_E = [item for own in self._own.values() for item in own]
        value_E = [1.0 + config.alpha * value for own in self._own.values() for value in own.values()]
        shape = (max(self._own) + 1, self._count.size)
        model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.regularization,
            iterations=config.iterations,
            num_threads=1,
            random_state=self._seed,
        )
        model.fit(csr_matrix((np.array(value_E, np.float32), (user_E, item_E)), shape=shape), show_progress=False)
        self._item_MF = np.asarray(model.item_factors, np.float64)
        self._gram_FF = self._item_MF.T @ self._item_MF + config.regularization * np.eye(config.factors)
