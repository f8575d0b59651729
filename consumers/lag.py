"""How far positions are behind the ends of the log; looked at now and then, beside the polling thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future

from consumers.measurements import Backlog
from streamer.ports import LogAdmin, LogError, TopicPartition

logger = logging.getLogger(__name__)

LAG_EVERY_MS = 2_000


class LagWatch:
    """Keeps a backlog's ``lag`` and ``caught_up_ms``."""

    def __init__(self, admin: LogAdmin, now_ms: Callable[[], int], backlog: Backlog, pool: Executor) -> None:
        self._admin = admin
        self._now_ms = now_ms
        self._backlog = backlog
        self._pool = pool
        self._at_ms = 0
        self._measuring: Future[None] | None = None

    def look(self, positions: Mapping[TopicPartition, int]) -> None:
        """Has the ends asked for where that is due; never waits."""
        now_ms = self._now_ms()
        if abs(now_ms - self._at_ms) >= LAG_EVERY_MS and (self._measuring is None or self._measuring.done()):
            self._at_ms = now_ms
            self._measuring = self._pool.submit(self._measure, dict(positions))

    def _measure(self, positions: dict[TopicPartition, int]) -> None:
        lag: dict[str, dict[str, int]] = {}
        asked_ms = self._now_ms()
        try:
            for place, (_, end) in self._admin.bounds().items():
                if place in positions:
                    lag.setdefault(place.topic, {})[str(place.partition)] = max(0, end - positions[place])
        except LogError as error:
            logger.debug("lag is not known now: %s", error)
            return
        self._backlog.lag, self._backlog.looked_ms = lag, self._now_ms()
        if not any(behind for parts in lag.values() for behind in parts.values()):
            self._backlog.caught_up_ms = asked_ms
