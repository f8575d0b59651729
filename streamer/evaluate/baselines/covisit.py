"""Co-visit: what users have had near the items of the window, before or after."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from streamer.evaluate.baselines.growing import Counts, Floats, PairCounts
from streamer.evaluate.baselines.ranked import backed_off, ranked
from streamer.evaluate.method import Ranked


@dataclass(frozen=True)
class CovisitConfig:
    """The window is the engine's; the decay is one of 0.6 to 1, chosen as the package says."""

    window_items: int = 10
    """A user's last events that count."""
    decay: float = 0.6
    """A step back in the window counts so much less, in learning and in ranking."""


class Covisit:
    """score(v) = sum over the user's last items a of decay^p C(a, v), p the steps back from the newest; then popularity.

    C is symmetric: each event of v adds decay^p to C(a, v) and C(v, a) for every a in the window before it (AR of Ludewig and
    Jannach 2018, "Evaluation of session-based recommendation algorithms", with distances weighed).
    """

    def __init__(self, config: CovisitConfig) -> None:
        self._config = config
        self._pairs = PairCounts()
        self._count = Counts()
        self._window: dict[int, deque[int]] = {}

    def scores(self, user: int) -> Floats:
        """Scores of the N items seen so far, before the back-off."""
        score_N = np.zeros(self._count.size)
        weight = 1.0
        for item in reversed(self._window.get(user, ())):
            self._pairs.add_row_to(score_N, item, weight)
            weight *= self._config.decay
        return score_N

    @property
    def count_N(self) -> Floats:
        """Events of each item so far."""
        return self._count.value_N

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del time_ms
        return ranked(backed_off(self.scores(user), self.count_N), excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        del time_ms
        window = self._window.setdefault(user, deque(maxlen=self._config.window_items))
        for item in item_G:
            self._note(window, item)
            window.append(item)

    def _note(self, window: deque[int], item: int) -> None:
        weight = 1.0
        for before in reversed(window):
            if before != item:
                self._pairs.add(before, item, weight)
                self._pairs.add(item, before, weight)
            weight *= self._config.decay
        self._count.add(item, 1.0)
