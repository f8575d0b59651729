"""The methods that a backtest can run, by name. Imports nothing: the command reads them before it loads the engine."""

from __future__ import annotations

import re
from typing import NamedTuple

OURS = "streamer"
"""The method that the others are compared with."""
ENGINE = (OURS, "bilinear", "attention", "frozen", "fixed")
"""The engine as configured, and run otherwise."""
BASELINES = ("popularity", "decayed", "transition", "covisit", "repeat", "vsknn", "stan", "isgd", "ials", "biasedmf")
METHODS = (*ENGINE, *BASELINES)
"""In the order in which they run, all unless some are named."""
TOWERS = "towers"
"""The engine's two towers alone over the whole catalogue; it runs only when named, for it asks torch at every group."""

FAIR, DIVERSE = "fair", "diverse"
RERANKED = ("fair-X", "diverse-X")
"""Likewise only when named: the engine with ranking.provider_exposure_min or ranking.diversity set to X."""
_RERANKED = re.compile(rf"({FAIR}|{DIVERSE})-(0|1|0?\.\d{{1,4}})")
DIVERSITY_MAX = 0.9


class Reranked(NamedTuple):
    """A setting of re-ranking: which, and how much of it."""

    kind: str
    amount: float


def reranked(name: str) -> Reranked | None:
    """The setting that a name like ``fair-0.5`` says; None where it is no such name, or the setting is out of its range.

    >>> reranked("fair-0.5"), reranked("diverse-1"), reranked("fixed")
    (Reranked(kind='fair', amount=0.5), None, None)
    """
    found = _RERANKED.fullmatch(name)
    if found is None:
        return None
    setting = Reranked(found[1], float(found[2]))
    return setting if setting.kind == FAIR or setting.amount <= DIVERSITY_MAX else None


def is_method(name: str) -> bool:
    """Whether a backtest can run it."""
    return name in (*METHODS, TOWERS) or reranked(name) is not None


def is_engine(name: str) -> bool:
    """Whether it is the engine itself, run one way or another."""
    return name in (*ENGINE, TOWERS) or reranked(name) is not None


def in_order(name: str) -> tuple[int, str]:
    """Sorts methods as they run: those of METHODS in its order, those that run only when named behind the engine's others."""
    return (len(ENGINE) - 1, name) if name not in METHODS else (METHODS.index(name), "")
