"""Whether the head learns: an operator may freeze it, and so do blocks that are skipped one after the other."""

from __future__ import annotations

import logging

import numpy as np

from streamer.tables.arrays import Array

logger = logging.getLogger(__name__)

BY_OPERATOR, BY_SKIPS, SKIPPED_IN_A_ROW = range(3)
SKIPPED_IN_A_ROW_MAX = 10
"""Blocks skipped one after the other, each for a loss or gradient that was not finite, after which learning is frozen."""


class Freezing:
    """``table`` is [frozen by an operator, frozen by skipped blocks, blocks skipped in a row]."""

    def __init__(self, table: Array | None = None) -> None:
        """Starts unfrozen, or from the table of a snapshot."""
        self.table: Array = np.zeros(3, np.int64) if table is None else np.array(table, copy=True)

    @property
    def frozen(self) -> bool:
        """Whether the head learns nothing."""
        return bool(self.table[BY_OPERATOR] or self.table[BY_SKIPS])

    @property
    def frozen_by(self) -> str | None:
        """What froze learning: an operator's word counts before skipped blocks."""
        by_skips = "skipped blocks" if self.table[BY_SKIPS] else None
        return "operator" if self.table[BY_OPERATOR] else by_skips

    def freeze(self) -> None:
        """By an operator."""
        self.table[BY_OPERATOR] = 1

    def unfreeze(self) -> None:
        """Whether an operator froze it or skipped blocks did."""
        self.table[:] = 0

    def begin_anew(self) -> None:
        """What was learned comes from elsewhere: blocks skipped before count no more."""
        self.table[SKIPPED_IN_A_ROW] = 0

    def note_block(self, block: int, *, skipped: bool) -> bool:
        """A block taught something, or was skipped; too many of those in a row freeze. Whether they do."""
        self.table[SKIPPED_IN_A_ROW] = self.table[SKIPPED_IN_A_ROW] + 1 if skipped else 0
        if self.table[SKIPPED_IN_A_ROW] < SKIPPED_IN_A_ROW_MAX:
            return False
        self.table[BY_SKIPS] = 1
        logger.error(
            "learning is frozen at block %d: %d blocks in a row had a loss or gradient that was not finite; lists and counts go "
            "on; bring back weights from before (`streamer rollback SNAPSHOT`), then let it learn (`streamer unfreeze`)",
            block,
            SKIPPED_IN_A_ROW_MAX,
        )
        return True
