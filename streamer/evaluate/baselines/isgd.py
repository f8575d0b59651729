"""ISGD: matrix factorization from positive feedback only, one step of gradient an event."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice

import numpy as np

from streamer.evaluate.baselines.growing import Counts, grown
from streamer.evaluate.baselines.ranked import ranked
from streamer.evaluate.method import Ranked

_INITIAL_SCALE = 0.1


@dataclass(frozen=True)
class IsgdConfig:
    """chosen as the package says, among 50 to 150 factors, rates of 0.02 to 0.4, regularizations of 0.01 to 0.1 and 0 to 12 negatives."""

    factors: int = 150
    learning_rate: float = 0.2
    regularization: float = 0.03
    negatives: int = 12
    """Items imputed with a rating of 0 an event: those that nobody has had for longest. 0 is plain ISGD."""


class Isgd:
    """ISGD of Vinagre, Jorge and Gama 2014 ("Fast incremental matrix factorization for recommendation with positive-only feedback").

    Every event is a rating of 1: e = 1 - p q, then p += rate (e q - reg p) and q += rate (e p - reg q). Lists have the items whose
    p q is nearest to 1 first. Negatives are those of RAISGD (Vinagre, Jorge and Gama 2015, "Collaborative filtering with
    recency-based negative feedback"): a rating of 0 for the item at the tail of the queue of items, which moves the user alone.
    Errors are
    clipped to [-1, 1], without which the steps that rank best diverge on some streams. A user without events gets popularity.
    """

    def __init__(self, config: IsgdConfig, seed: int) -> None:
        self._config = config
        self._random = np.random.default_rng(seed)
        self._item_NF = np.zeros((0, config.factors))
        self._user: dict[int, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        self._count = Counts()
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Items, the one without events for longest first."""

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del time_ms
        if user not in self._user:
            return ranked(self._count.value_N, excluded)
        return ranked(-np.abs(1.0 - self._item_NF[: self._count.size] @ self._user[user]), excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        del time_ms
        if item_G and user not in self._user:
            self._user[user] = self._random.normal(0.0, _INITIAL_SCALE, self._config.factors)
        for item in item_G:
            self._meet(item)
            self._impute(user, item)
            self._step(user, item)
            self._idle[item] = None
            self._idle.move_to_end(item)

    def _meet(self, item: int) -> None:
        """Gives vectors to all items up to this one, and counts it."""
        known = self._count.size
        self._count.add(item, 1.0)
        self._item_NF = grown(self._item_NF, item + 1)
        for new in range(known, item + 1):
            self._item_NF[new] = self._random.normal(0.0, _INITIAL_SCALE, self._config.factors)

    def _step(self, user: int, item: int) -> None:
        rate, reg = self._config.learning_rate, self._config.regularization
        p_F, q_F = self._user[user], self._item_NF[item].copy()
        error = np.clip(1.0 - p_F @ q_F, -1.0, 1.0)
        self._item_NF[item] += rate * (error * p_F - reg * q_F)
        p_F += rate * (error * q_F - reg * p_F)

    def _impute(self, user: int, item: int) -> None:
        rate, reg = self._config.learning_rate, self._config.regularization
        p_F = self._user[user]
        idle = [other for other in islice(self._idle, self._config.negatives) if other != item]
        for other in idle:
            q_F = self._item_NF[other]
            p_F -= rate * (np.clip(p_F @ q_F, -1.0, 1.0) * q_F + reg * p_F)
            self._idle.move_to_end(other)
