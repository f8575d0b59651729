"""Methods that people could pick instead, each built by its name."""

from __future__ import annotations

from collections.abc import Callable

from streamer.evaluate.method import Method

_MAKERS: dict[str, Callable[[int], Method]] = {}

NAMES = tuple(_MAKERS)
"""Names that ``new_method`` knows."""


def new_method(name: str, seed: int) -> Method:
    """A method that has seen nothing yet.

    Raises ValueError for a name that is not in ``NAMES``.
    """
    if name not in _MAKERS:
        raise ValueError(f"no baseline is named {name!r}: expected one of {', '.join(NAMES)}")
    return _MAKERS[name](seed)
