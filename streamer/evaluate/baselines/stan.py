"""STAN: neighbour sessions, with places in both sessions and their age weighed."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from streamer.evaluate.baselines.growing import Floats, Ints
from streamer.evaluate.baselines.ranked import backed_off, ranked
from streamer.evaluate.baselines.sessions import Sessions, stan_scores
from streamer.evaluate.baselines.vsknn import NOBODY
from streamer.evaluate.method import Ranked

_DAY_MS = 86_400_000.0


@dataclass(frozen=True)
class StanConfig:
    """k as in the paper. The rest chosen as the package says, among lambdas of 1.02 to 8, 5 to 80 days and 2.05 to 40, and memories of 50 to 200."""

    k: int = 100
    """Neighbours."""
    sample: int = 1_000
    """The newest sessions among which they are looked for."""
    lambda_spw: float = 1.5
    """Steps back in the user's session over which an item's weight falls by e."""
    lambda_snh_days: float = 80.0
    """Age of a neighbour over which its similarity falls by e."""
    lambda_inh: float = 6.0
    """Steps from the match in the neighbour over which an item's weight falls by e."""
    query_items: int = 50
    """A user's last items that are compared."""
    memory_items: int = 200
    """Last items remembered of each session."""


class Stan:
    """STAN of Garg et al. 2019 ("Sequence and time aware neighborhood for session-based recommendations"), learned event by event.

    For a session s of Q items, item number p of which weighs w(p) = exp((p - Q) / lambda_spw), and a neighbour n of age t:
    similarity(s, n) = sum of w over the items of s that are in n / (|w| sqrt(distinct items of n)) exp(-t / lambda_snh);
    score(v) = sum over the k most similar n that have v of similarity(s, n) exp(-|place of v - place of i*| / lambda_inh), where
    i* is the newest item of s that is in n and places are the last in n. Then popularity.
    """

    def __init__(self, config: StanConfig) -> None:
        self._config = config
        self._sessions = Sessions(config.memory_items)

    def scores(self, item_Q: Ints, time_ms: int, own: int = NOBODY) -> Floats:
        """Scores of the N items seen so far for any session of Q known items, oldest first; ``own``: the user whose it is."""
        config, items = self._config, len(self._sessions.count_N)
        if not len(item_Q):
            return np.zeros(items)
        found: Floats = stan_scores(
            self._sessions.arrays,
            item_Q,
            own,
            time_ms,
            config.k,
            config.sample,
            config.lambda_spw,
            config.lambda_snh_days * _DAY_MS,
            config.lambda_inh,
            items,
        )
        return found

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        score_N = self.scores(self._sessions.last(user, self._config.query_items), time_ms, user)
        return ranked(backed_off(score_N, self._sessions.count_N), excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        self._sessions.learn(user, item_G, time_ms)
