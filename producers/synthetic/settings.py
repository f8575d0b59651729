"""What synthetic traffic is made from: one value, which determines every byte."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass

import msgspec

from streamer.config.tree import Windows

START_MS = 1_767_225_600_000
"""2026-01-01T00:00Z."""
START_MS_MIN, START_MS_MAX = 946_684_800_000, 4_102_444_800_000
"""The years 2000 to 2100."""
DAY_MS = 86_400_000
LATE_SPAN_MS = 6 * DAY_MS
"""Late records are up to that much later than allowed."""
LATE_MARGIN_MS = 3_600_000
LATENESS_MS_MIN = 1_000
LATENESS_MS_MAX = 20 * 365 * DAY_MS
USERS_MAX = ITEMS_MAX = 10_000_000
RATE_MAX = 1e6


SHARE_A_DAY_MIN = 1e-6
"""A smaller share a day is none."""


def between_changes_ms(share_a_day: float) -> int:
    """The time from one change of each to its next, where such a share of all changes within a day; 0 for never.

    >>> between_changes_ms(0.5), between_changes_ms(0.0)
    (172800000, 0)
    """
    return round(DAY_MS / share_a_day) if share_a_day >= SHARE_A_DAY_MIN else 0


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The settings of a stream; shares are of 1. Equal settings make equal bytes.

    ``late``, ``duplicate`` and ``broken`` are records beside an event that is sound, so many an event.
    """

    users: int = 10_000
    items: int = 2_000
    """In the catalogue at any one time."""
    rate: float = 100.0
    """Records a second of event time, on average over a day."""
    seed: int = 7
    start_ms: int = START_MS
    late: float = 0.01
    """Beyond ``lateness_ms_max``."""
    duplicate: float = 0.01
    """The same bytes again, a little later."""
    broken: float = 0.001
    """No event, for one of the reasons for which a codec refuses a value."""
    future: float = 0.0
    """Events whose clock is 1 to 365 days ahead."""
    disorder: float = 0.02
    """Events that come after younger ones."""
    bots: float = 0.02
    """Of the events, by users that never rest."""
    drift: float = 0.05
    """Of the users, whose main taste changes within a day."""
    turnover: float = 0.01
    """Of the items, replaced by new ones within a day."""
    repeats: float = 0.15
    """Of what people look at: one of their few staples again."""
    rhythm: float = 0.5
    """How far a day's hours swing around the mean rate: 0 is level, 1 is from nothing to double."""
    lateness_ms_max: int = Windows().lateness_ms_max
    """What the worker's ``windows.lateness_ms_max`` is."""

    def __post_init__(self) -> None:
        """Raises ValueError for what makes no stream."""
        limits = {
            "users": (1, USERS_MAX),
            "items": (1, ITEMS_MAX),
            "rate": (1e-3, RATE_MAX),
            "seed": (0, 2**64 - 1),
            "start_ms": (START_MS_MIN, START_MS_MAX),
            "lateness_ms_max": (LATENESS_MS_MIN, LATENESS_MS_MAX),
            **dict.fromkeys(("late", "duplicate", "broken", "future", "disorder", "bots"), (0, 0.5)),
            **dict.fromkeys(("drift", "turnover", "repeats", "rhythm"), (0, 1)),
        }
        for name, (least, most) in limits.items():
            found = getattr(self, name)
            if not (math.isfinite(found) and least <= found <= most):
                raise ValueError(f"{name} is {found}, expected {least:,} to {most:,}")

    @property
    def records_per_event(self) -> float:
        """Events that are sound, and what comes beside them."""
        return 1.0 + self.late + self.duplicate + self.broken

    @property
    def tag(self) -> str:
        """Eight digits that tell the ids of this stream's events from those of another's."""
        return hashlib.sha256(msgspec.json.encode(asdict(self), order="sorted")).hexdigest()[:8]
