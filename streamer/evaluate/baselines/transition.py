"""Transition: what users have had after the last item."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from streamer.evaluate.baselines.growing import Counts, PairCounts
from streamer.evaluate.baselines.ranked import backed_off, ranked
from streamer.evaluate.method import Ranked


@dataclass(frozen=True)
class TransitionConfig:
    """What was chosen, and how: as in the paper; a reach of one step, the plain Markov chain, is worse on events that tie in time."""

    reach_items: int = 10
    """Events after an item that count as following it."""


class Transition:
    """score(v) = sum of 1 / x over all times that v has come x steps after the user's last item, in anybody's sequence.

    Items that never did follow by popularity. A Markov chain estimated by counting, softened by its reach: the sequential rules
    (SR) of Ludewig and Jannach 2018, "Evaluation of session-based recommendation algorithms".
    """

    def __init__(self, config: TransitionConfig) -> None:
        self._after = PairCounts()
        self._count = Counts()
        self._reach_items = config.reach_items
        self._last: dict[int, deque[int]] = {}

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del time_ms
        score_N = np.zeros(self._count.size)
        if user in self._last:
            self._after.add_row_to(score_N, self._last[user][-1], 1.0)
        return ranked(backed_off(score_N, self._count.value_N), excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        del time_ms
        if not item_G:
            return
        last = self._last.setdefault(user, deque(maxlen=self._reach_items))
        for item in item_G:
            for steps, before in enumerate(reversed(last), 1):
                self._after.add(before, item, 1.0 / steps)
            self._count.add(item, 1.0)
            last.append(item)
