"""Progress of a replay on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from tqdm import tqdm

from producers.checks import shown
from producers.progress import Progress

REDRAW_S = 0.2
REDRAW_UNWATCHED_S = 10.0
"""Between two lines of progress where stderr is no terminal."""
STAGES = {"check": "reading", "compare": "comparing with the log", "send": "sending"}


class Bar:
    """Events/s, the stream time reached, and how far behind its schedule the replay is: a line that moves on a terminal, else one now and then."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        """Shows it."""
        if self._bar is None or progress.stage != self._stage:
            self.close()
            watched = sys.stderr.isatty()
            self._bar = tqdm(
                total=progress.total,
                desc=STAGES[progress.stage],
                unit=" events",
                unit_scale=True,
                mininterval=REDRAW_S if watched else REDRAW_UNWATCHED_S,
                leave=watched,
            )
            self._stage = progress.stage
        self._bar.set_postfix_str(reached(progress), refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        """Leaves the line as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def reached(progress: Progress) -> str:
    """Where in the stream's time a replay is, and how far behind its schedule where it is.

    >>> reached(Progress("send", 5, 10, 2.0, 1_795_485_458_344, 12.34))
    '12.3 s behind, at 2026-11-24T01:57:38Z'
    """
    behind = f"{progress.behind_s:.1f} s behind, " if progress.behind_s >= 0.1 else ""
    when = "" if progress.event_ms is None else f"at {shown(progress.event_ms - progress.event_ms % 1000).replace('.000', '')}"
    return behind + when


@contextlib.contextmanager
def bar() -> Iterator[Bar]:
    """A bar that is closed at the end."""
    with contextlib.closing(Bar()) as made:
        yield made
