"""Methods that people could pick instead, each built by its name.

Settings are their papers', or were chosen on 10 to 30 % of three streams (MovieLens 100K, DeskDrop, YooChoose), one setting for
all: the one with the best mean, over the streams, of NDCG@10 as a share of that stream's best.
"""

from __future__ import annotations

from collections.abc import Callable

from streamer.evaluate.baselines.biasedmf import RiverBiasedMF, RiverConfig
from streamer.evaluate.baselines.covisit import Covisit, CovisitConfig
from streamer.evaluate.baselines.decayed import Decayed, DecayedConfig
from streamer.evaluate.baselines.ials import Ials, IalsConfig
from streamer.evaluate.baselines.isgd import Isgd, IsgdConfig
from streamer.evaluate.baselines.newest import NewestOut
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
    "isgd": lambda seed: Isgd(IsgdConfig(), seed),
    "ials": lambda seed: Ials(IalsConfig(), seed),
    "biasedmf": lambda seed: RiverBiasedMF(RiverConfig(), seed),
}

NAMES = tuple(_MAKERS)
"""Names that ``new_method`` knows."""


def new_method(name: str, seed: int) -> Method:
    """A method that has seen nothing yet. It leaves out the item that a user has just had where the stream says so: ``NewestOut``.

    Raises ValueError for a name that is not in ``NAMES``.
    """
    if name not in _MAKERS:
        raise ValueError(f"no baseline is named {name!r}: expected one of {', '.join(NAMES)}")
    return NewestOut(_MAKERS[name](seed))
