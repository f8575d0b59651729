"""What was made, by kind: what a worker that gets it all counts, too."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from producers.synthetic.broken import REASONS
from producers.synthetic.defects import BOT, BROKEN, DISORDERED, DUPLICATE, FUTURE, LABELS, LATE
from streamer.events.model import EVENT_TYPE_NAMES

CAUTION = "synthetic traffic is for load tests and demonstrations: what lists are worth on it says nothing about their quality"


class Tally:
    """Counts records by label."""

    def __init__(self) -> None:
        self._count_L = [0] * LABELS

    def note(self, label: int) -> None:
        """One record."""
        self._count_L[label] += 1

    def note_all(self, labels: Iterable[int]) -> None:
        """Several."""
        for label in labels:
            self._count_L[label] += 1

    @property
    def records(self) -> int:
        """All."""
        return sum(self._count_L)

    def counts(self) -> dict[str, object]:
        """By kind. ``records`` = the sum of ``applied``, ``rejected``, ``late`` and ``duplicate``.

        ``future``, ``disordered`` and ``bots`` are events among the applied ones.
        """
        count_L = np.array(self._count_L)
        label_L = np.arange(LABELS)
        kind_L = label_L % FUTURE
        applied = {name: int(count_L[kind_L == kind].sum()) for kind, name in enumerate(EVENT_TYPE_NAMES)}
        flags = {"future": FUTURE, "disordered": DISORDERED, "bots": BOT}
        return {
            "records": int(count_L.sum()),
            "applied": applied,
            "rejected": {str(reason): int(count_L[BROKEN + place]) for place, reason in enumerate(REASONS)},
            "late": int(count_L[LATE]),
            "duplicate": int(count_L[DUPLICATE]),
            **{name: int(count_L[label_L & flag > 0].sum()) for name, flag in flags.items()},
        }
