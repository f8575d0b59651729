"""Terms of a score as operators read them: those of one kind together."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.ranking.scratch import REASON_NAMES

POPULARITY = "popularity and trends"

_BEGINNINGS = (
    ("transition", "what comes next"),
    ("co_visit", "seen together"),
    ("neighbours", "similar sessions"),
    ("repeat", "repeats"),
    ("last", "repeats"),
    ("trend_", POPULARITY),
    ("popularity", POPULARITY),
    ("content", "learned vectors (text, image, item)"),
    ("text", "text"),
    ("image", "image"),
    ("young", "new items"),
    ("untried", "new items"),
    ("likeness", "content alone"),
    ("new", "explored"),
    ("fairness", "fairness and diversity"),
    ("diversity", "fairness and diversity"),
)


def family_of(term: str) -> str:
    """What a term is counted with; one that this version does not know stands for itself.

    >>> family_of("co_visit_back"), family_of("sound")
    ('seen together', 'sound')
    """
    return next((family for beginning, family in _BEGINNINGS if term.startswith(beginning)), term)


FAMILIES = tuple(map(family_of, REASON_NAMES))
"""By number of the term, as in lists."""


def summed(weights: Sequence[float]) -> dict[str, float]:
    """The weights of all terms (by number), summed a family."""
    found: dict[str, float] = {}
    for family, weight in zip(FAMILIES, weights, strict=False):
        found[family] = found.get(family, 0.0) + weight
    return found
