"""The order in which records were applied, as runs of one partition: what a verification folds the log again in."""

from __future__ import annotations

from collections.abc import Iterable

RUNS_MAX = 1_000_000
"""Since the last committed snapshot: beyond, while none can be written, the order is given up."""

Run = tuple[str, int, int]
"""Adjacent records of one partition: topic, partition, how many."""


class RecordedOrder:
    """Notes runs, and holds twice ``RUNS_MAX`` of them at most.

    What grows beyond is given up: it stays longer than ``RUNS_MAX``, by which whoever takes it knows that it is not whole.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._given_up = False

    def note(self, topic: str, partition: int, count: int) -> None:
        """One more run."""
        if self._given_up:
            return
        self._runs.append((topic, partition, count))
        if len(self._runs) >= 2 * RUNS_MAX:
            self._runs = list(merged_runs(self._runs))
            self._given_up = len(self._runs) > RUNS_MAX

    def take(self) -> tuple[Run, ...]:
        """The runs noted since the last call."""
        runs, self._runs, self._given_up = self._runs, [], False
        return merged_runs(runs)


def merged_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Adjacent runs of one partition become one.

    >>> merged_runs([("events", 0, 3), ("events", 0, 4), ("events", 1, 5)])
    (('events', 0, 7), ('events', 1, 5))
    """
    merged: list[Run] = []
    for topic, partition, count in runs:
        before = merged.pop()[2] if merged and merged[-1][:2] == (topic, partition) else 0
        merged.append((topic, partition, before + count))
    return tuple(merged)
