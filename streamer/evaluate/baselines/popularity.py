"""Popularity: the items with the most events, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from streamer.evaluate.baselines.growing import Counts
from streamer.evaluate.baselines.ranked import ranked
from streamer.evaluate.method import Ranked


class Popularity:
    """score(v) = the number of events of v so far, of whatever type."""

    def __init__(self) -> None:
        self._count = Counts()

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del user, time_ms
        return ranked(self._count.value_N, excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        del user, time_ms
        for item in item_G:
            self._count.add(item, 1.0)
