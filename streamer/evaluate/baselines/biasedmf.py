"""river's BiasedMF: matrix factorization with biases, one step of gradient a rating."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from river.optim import SGD
from river.optim.initializers import Normal
from river.reco import BiasedMF

from streamer.evaluate.baselines.growing import Counts, grown
from streamer.evaluate.baselines.ranked import ranked
from streamer.evaluate.method import Ranked

_INITIAL_SCALE = 0.1


@dataclass(frozen=True)
class RiverConfig:
    """chosen as the package says, among 10 and 30 factors, rates of 0.02 to 0.1 and 1 or 3 negatives."""

    factors: int = 10
    learning_rate: float = 0.1
    negatives: int = 3
    """Ratings of 0 an event, for items drawn evenly from those seen so far."""


class RiverBiasedMF:
    """``river.reco.BiasedMF`` (Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems").

    score(v) = mean + b_u + b_v + p q(v), learned by the squared loss. An event is a rating of 1, whatever its type; as there are no
    ratings without events, each is followed by ratings of 0 for drawn items. river's own ``predict_one`` would store a vector for
    every user and item that is asked for, so scores are read from its tables instead; an unknown user has neither bias nor vector.
    """

    def __init__(self, config: RiverConfig, seed: int) -> None:
        self._config = config
        self._random = np.random.default_rng(seed)
        self._model = BiasedMF(
            n_factors=config.factors,
            bias_optimizer=SGD(config.learning_rate),
            latent_optimizer=SGD(config.learning_rate),
            latent_initializer=Normal(sigma=_INITIAL_SCALE, seed=seed),
        )
        self._count = Counts()
        self._item_NF = np.zeros((0, config.factors + 1))
        """What the model has of each item: its vector and its bias."""

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del time_ms
        item_NF = self._item_NF[: self._count.size]
        score_N = item_NF[:, -1]
        if user in self._model.u_latents:
            score_N = score_N + item_NF[:, :-1] @ self._model.u_latents[user]
        return ranked(score_N, excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        del time_ms
        for item in item_G:
            self._count.add(item, 1.0)
            self._item_NF = grown(self._item_NF, item + 1)
            self._rate(user, item, 1.0)
            for other in self._random.integers(self._count.size, size=self._config.negatives).tolist():
                if other != item:
                    self._rate(user, other, 0.0)

    def _rate(self, user: int, item: int, rating: float) -> None:
        self._model.learn_one(user, item, rating)
        self._item_NF[item, :-1] = self._model.i_latents[item]
        self._item_NF[item, -1] = self._model.i_biases[item]
