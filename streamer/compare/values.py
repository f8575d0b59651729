"""What comparisons of all kinds have in common: keys whose values differ, and how alike two lists are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Found = dict[str, Any]
"""A result as plain values: what ``--json`` says, and what text and page are made of."""
Told = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and how much there is in all, where that is known."""

PERSISTENCE = 0.9
"""Of rank-biased overlap: how likely a reader of one entry reads the next."""
MACHINE = "machine"
"""Among versions: told, but no difference by itself, since the same results on two machines are what one hopes for."""


class RunUnreadable(Exception):  # noqa: N818 - says what is the case, as the message does
    """What was named is no run that can be compared: the message says what was found, and what was expected."""


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Found]:
    """The keys whose values differ, in order; a key that one lacks has None there and is named in ``only_in``.

    >>> changes({"x": 1, "y": 2}, {"x": 1, "y": 3})
    [{'key': 'y', 'a': 2, 'b': 3}]
    >>> changes({"x": 1}, {})
    [{'key': 'x', 'a': 1, 'b': None, 'only_in': 'a'}]
    """
    found = []
    for key in sorted(a.keys() | b.keys()):
        if key not in a or key not in b:
            found.append({"key": key, "a": a.get(key), "b": b.get(key), "only_in": "a" if key in a else "b"})
        elif a[key] != b[key]:
            found.append({"key": key, "a": a[key], "b": b[key]})
    return found


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values of a tree that hold no others, each with its way through the tree.

    >>> dict(leaves({"a": {"b": [1, 2]}, "c": 3}))
    {'a.b[0]': 1, 'a.b[1]': 2, 'c': 3}
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for n, inner in enumerate(value):
            yield from leaves(inner, f"{key}[{n}]")
    else:
        yield key, value


def overlap(a: Sequence[str], b: Sequence[str]) -> float:
    """The share of entries that two lists have in common, of the longer one; 1 where both are empty.

    >>> overlap(["x", "y"], ["y", "z"]), overlap([], [])
    (0.5, 1.0)
    """
    longer = max(len(a), len(b))
    return len(set(a) & set(b)) / longer if longer else 1.0


def rank_biased_overlap(a: Sequence[str], b: Sequence[str]) -> float:
    """How alike two lists are, their tops counting most: 1 where they are the same, 0 where they have nothing in common.

    Extrapolated from the depth of the longer list (Webber, Moffat and Zobel 2010, equation 23).

    >>> round(rank_biased_overlap(["x", "y", "z"], ["x", "y", "z"]), 9)
    1.0
    >>> rank_biased_overlap(["x", "y", "z"], ["y", "x", "z"]) < rank_biased_overlap(["x", "y", "z"], ["x", "z", "y"])
    True
    """
    depth = max(len(a), len(b))
    if not depth:
        return 1.0
    seen_a: set[str] = set()
    seen_b: set[str] = set()
    total, common, weight = 0.0, 0, 1.0
    for d in range(1, depth + 1):
        seen_a.update(a[d - 1 : d])
        seen_b.update(b[d - 1 : d])
        common = len(seen_a & seen_b)
        weight *= PERSISTENCE
        total += common / d * weight
    return common / depth * weight + (1 - PERSISTENCE) / PERSISTENCE * total


def moved(a: Sequence[str], b: Sequence[str]) -> tuple[list[str], list[str]]:
    """What went and what came from one list to the other, each in the order of its list.

    >>> moved(["x", "y"], ["y", "z"])
    (['x'], ['z'])
    """
    return [item for item in a if item not in set(b)], [item for item in b if item not in set(a)]
