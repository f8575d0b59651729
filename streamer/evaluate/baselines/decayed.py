"""Decayed popularity: what is popular now, by one half-life."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from streamer.evaluate.baselines.growing import Counts
from streamer.evaluate.baselines.ranked import ranked
from streamer.evaluate.method import Ranked

_SCALE_MAX = 1e100


@dataclass(frozen=True)
class DecayedConfig:
    """The half-life is one of 10 to 10,000, chosen as the package says."""

    half_life_events: float = 1_000.0
    """Events of the whole stream after which an event counts half."""


class Decayed:
    """score(v) = sum over the events of v of 2^(-age / half-life), the age in events of the whole stream.

    Instead of aging all sums at each event, each event counts 2^(1 / half-life) times as much as the one before.
    """

    def __init__(self, config: DecayedConfig) -> None:
        self._growth = 2.0 ** (1.0 / config.half_life_events)
        self._value = Counts()
        self._unit = 1.0
        """What an event of now counts."""

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        del user, time_ms
        return ranked(self._value.value_N / self._unit, excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        del user, time_ms
        for item in item_G:
            self._unit *= self._growth
            self._value.add(item, self._unit)
        if self._unit > _SCALE_MAX:
            self._value.value_N[:] /= self._unit
            self._unit = 1.0
