"""How far a replay is, told now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

PROGRESS_INTERVAL_S = 0.2

Stage = Literal["check", "compare", "send"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is.

    ``done`` counts records looked at (``check``), compared with what the log holds (``compare``) or handed to it (``send``).
    ``event_ms`` is the stream time reached, ``behind_s`` how far the replay is behind its schedule, 0 where it keeps it or has none.
    """

    stage: Stage
    done: int
    total: int | None
    events_per_s: float
    event_ms: int | None
    behind_s: float = 0.0


def no_progress(progress: Progress) -> None:
    """Shows nothing."""
    _ = progress


class Meter:
    """Tells progress at most every PROGRESS_INTERVAL_S."""

    def __init__(
        self,
        stage: Stage,
        total: int | None = None,
        tell: Callable[[Progress], None] = no_progress,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage: Stage = stage
        self._total = total
        self._clock_s = clock_s
        self._tell = tell
        self.started_s = clock_s()
        self.behind_s = 0.0
        self._told_s = self.started_s
        self._done = 0
        self._event_ms: int | None = None

    def count(self, event_ms: int | None) -> None:
        """One record more, which stands at this time of the stream."""
        self._done += 1
        self._event_ms = event_ms
        if self._clock_s() - self._told_s >= PROGRESS_INTERVAL_S:
            self.tell()

    def tell(self) -> None:
        """Tells it now."""
        self._told_s = self._clock_s()
        rate = self._done / max(self._told_s - self.started_s, 1e-9)
        self._tell(Progress(self._stage, self._done, self._total, rate, self._event_ms, self.behind_s))
