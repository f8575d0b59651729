"""V-SKNN: what the sessions most like the user's had."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from streamer.evaluate.baselines.growing import Floats, Ints
from streamer.evaluate.baselines.ranked import backed_off, ranked
from streamer.evaluate.baselines.sessions import Sessions, vsknn_scores
from streamer.evaluate.method import Ranked

NOBODY = -1


@dataclass(frozen=True)
class VSknnConfig:
    """k as in the paper. The rest chosen as the package says, among samples of 500 to 5,000, idf weights of 0 to 5 and 10 to 100 items."""

    k: int = 100
    """Neighbours."""
    sample: int = 1_000
    """The newest sessions among which they are looked for."""
    idf_weight: float = 1.0
    query_items: int = 20
    """A user's last items that are compared."""
    memory_items: int = 100
    """Last items remembered of each session."""


class VSknn:
    """V-SKNN of Ludewig and Jannach 2018 ("Evaluation of session-based recommendation algorithms"), learned event by event.

    For a session s of Q items, item number p of which weighs (p / Q)^2, and a neighbour n:
    similarity(s, n) = sum of the weights of the items of s that are in n, over the number of distinct items of s;
    score(v) = sum over the k most similar n that have v of similarity(s, n) (1 + idf_weight idf(v)) / step(s, n), where step
    counts back in s, from 1, to the newest item that is in n, and idf(v) = log(sessions / events of v), at least 0. Then popularity.
    """

    def __init__(self, config: VSknnConfig) -> None:
        self._config = config
        self._sessions = Sessions(config.memory_items)

    def scores(self, item_Q: Ints, own: int = NOBODY) -> Floats:
        """Scores of the N items seen so far for any session of Q known items, oldest first; ``own``: the user whose it is."""
        config, count_N = self._config, self._sessions.count_N
        idf_N = np.maximum(np.log(max(self._sessions.sessions, 1) / np.maximum(count_N, 1.0)), 0.0)
        if not len(item_Q):
            return np.zeros(len(count_N))
        found: Floats = vsknn_scores(self._sessions.arrays, item_Q, own, config.k, config.sample, config.idf_weight, idf_N)
        return found

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del time_ms
        score_N = self.scores(self._sessions.last(user, self._config.query_items), user)
        return ranked(backed_off(score_N, self._sessions.count_N), excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        self._sessions.learn(user, item_G, time_ms)
