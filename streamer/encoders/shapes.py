"""The shapes in which a model is asked: as they come on a CPU, few fixed ones on an accelerator.

An accelerator keeps memory and the choice of its kernels by shape, so each new one costs time and memory again. What fills a batch up
is computed beside the rest and dropped.
"""

from __future__ import annotations

from typing import NamedTuple

TOKENS_MIN = 16


class Shapes(NamedTuple):
    """How many rows and tokens a batch is given."""

    fixed: bool
    batch_items_max: int

    def rows(self, items: int) -> int:
        """Of a batch of so many items."""
        return self.batch_items_max if self.fixed else items

    def tokens(self, longest: int, tokens_max: int) -> int:
        """Of a batch whose longest text has so many: a power of two, or the most that is allowed.

        >>> [Shapes(True, 64).tokens(longest, 100) for longest in (3, 16, 17, 64, 65)]
        [16, 16, 32, 64, 100]
        """
        return min(tokens_max, max(TOKENS_MIN, 1 << (longest - 1).bit_length())) if self.fixed else longest


def shapes_on(device: str, batch_items_max: int) -> Shapes:
    """What suits a torch device, by its name."""
    return Shapes(device.partition(":")[0] != "cpu", batch_items_max)
