"""Methods that people could pick instead, each built by its name."""

from __future__ import annotations

from collections.abc import Callable

from streamer.evaluate.baselines.covisit import Covisit, CovisitConfig
from streamer.evaluate.baselines.decayed import Decayed, DecayedConfig
from streamer.evaluate.baselines.popularity import Popularity
from streamer.evaluate.baselines.repeat import Repeat, RepeatConfig
from streamer.evaluate.baselines.stan import Stan, StanConfig
from streamer.evaluate.baselines.transition import Transition, TransitionConfig
from streamer.evaluate.baselines.vsknn import VSknn, VSknnConfig
from streamer.evaluate.method import Method

_MAKERS: dict[str, Callable[[int], Method]] = {
    "popularity": lambda _seed: Popularity(),
    "decayed": lambda _seed: Decayed(DecayedConfig()),
    "transition": lambda _seed: Transition(TransitionConfig()),
    "covisit": lambda _seed: Covisit(CovisitConfig()),
    "repeat": lambda _seed: Repeat(RepeatConfig()),
    "vsknn": lambda _seed: VSknn(VSknnConfig()),
    "stan": lambda _seed: Stan(StanConfig()),
}

NAMES = tuple(_MAKERS)
"""Names that ``new_method`` knows."""


def new_method(name: str, seed: int) -> Method:
    """A method that has seen nothing yet.

    Raises ValueError for a name that is not in ``NAMES``.
    """
    if name not in _MAKERS:
        raise ValueError(f"no baseline is named {name!r}: expected one of {', '.join(NAMES)}")
    return _MAKERS[name](seed)
