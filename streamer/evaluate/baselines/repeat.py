"""Repeat and co-visit: the user's own items, and what others have had near them."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from streamer.evaluate.baselines.covisit import Covisit, CovisitConfig
from streamer.evaluate.baselines.ranked import backed_off, ranked
from streamer.evaluate.method import Ranked


@dataclass(frozen=True)
class RepeatConfig:
    """Decay (0.5 to 1) and share (0.1 to 0.7): chosen as the package says."""

    covisit: CovisitConfig = field(default_factory=CovisitConfig)
    decay: float = 0.9
    """An own event counts so much less with each event of the user's that followed it."""
    share: float = 0.1
    """Of the score, what repeats have; the rest is co-visit's."""


class Repeat:
    """score(v) = share R(v) / sum R + (1 - share) C(v) / sum C, then popularity.

    R(v) = sum over the user's own events of v of decay^(own events since): count and recency in one number; C is co-visit's score.
    """

    def __init__(self, config: RepeatConfig) -> None:
        self._config = config
        self._covisit = Covisit(config.covisit)
        self._own: dict[int, dict[int, float]] = {}
        """R by user and item."""

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del time_ms
        score_N = self._covisit.scores(user)
        if total := score_N.sum():
            score_N *= (1.0 - self._config.share) / total
        own = self._own.get(user)
        if own:
            factor = self._config.share / sum(own.values())
            for item, value in own.items():
                score_N[item] += factor * value
        return ranked(backed_off(score_N, self._covisit.count_N), excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        self._covisit.learn(user, item_G, time_ms)
        own = self._own.setdefault(user, {})
        for item in item_G:
            for other in own:
                own[other] *= self._config.decay
            own[item] = own.get(item, 0.0) + 1.0
