"""How far the owner's positions are behind the ends of the log; looked at now and then, beside the polling thread."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor, Future

from consumers.measurements import Measurements
from streamer.ports import Clock, LogAdmin, LogError, TopicPartition

logger = logging.getLogger(__name__)

LAG_EVERY_S = 2.0


class LagWatch:
    """Keeps ``measurements.lag``."""

    def __init__(self, admin: LogAdmin, clock: Clock, measurements: Measurements, pool: Executor) -> None:
        self._admin = admin
        self._clock = clock
        self._measurements = measurements
        self._pool = pool
        self._at_s = 0.0
        self._measuring: Future[None] | None = None

    def look(self, positions: Mapping[TopicPartition, int]) -> None:
        """Has the ends asked for where that is due; never waits."""
        now_s = self._clock.monotonic_s()
        if now_s - self._at_s >= LAG_EVERY_S and (self._measuring is None or self._measuring.done()):
            self._at_s = now_s
            self._measuring = self._pool.submit(self._measure, dict(positions))

    def _measure(self, positions: dict[TopicPartition, int]) -> None:
        lag: dict[str, dict[str, int]] = {}
        try:
            for place, (_, end) in self._admin.bounds().items():
                if place in positions:
                    lag.setdefault(place.topic, {})[str(place.partition)] = max(0, end - positions[place])
        except LogError as error:
            logger.debug("lag is not known now: %s", error)
            return
        self._measurements.lag = lag
