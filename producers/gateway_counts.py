"""What a gateway counts of its requests: plain numbers on the event loop, read by the metrics page."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.gateway_body import CLOSED_REQUEST

log = logging.getLogger(__name__)

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram, seconds; one more is infinite."""
ROUTES = {
    "/": "home",
    "/openapi.json": "openapi",
    "/livez": "livez",
    "/readyz": "readyz",
    "/metrics": "metrics",
    "/v1/events": "events",
    "/v1/items": "items",
}
LISTS = "/v1/recommendations/"
OTHER = "other"
"""The route of every path that there is not."""


def route_of(path: str) -> str:
    """The name that a path's requests are counted under, one of a few whatever is asked.

    >>> route_of("/v1/recommendations/u42"), route_of("/etc/passwd")
    ('recommendations', 'other')
    """
    return "recommendations" if path.startswith(LISTS) else ROUTES.get(path, OTHER)


class Seconds:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.bounds_s: tuple[float, ...] = BOUNDS_S
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Adds one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Counts:
    """Since the process started. ``waiting`` and ``waiting_bytes`` are of now."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """By route and HTTP status."""
        self.accepted: Counter[str] = Counter()
        """Records that the log acknowledged in time, by topic."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Records answered as refused, by topic and reason."""
        self.acknowledged = Seconds()
        """From a request's records handed over to the last one's acknowledgement, where all were acknowledged."""
        self.body_bytes = 0
        self.lists: Counter[str] = Counter({"personal": 0, "popular": 0, "none": 0, "error": 0})
        """Lists asked for, by what was found."""
        self.waiting = 0
        self.waiting_bytes = 0


class Counted:
    """The whole application, counted: whatever it answers, and as 500 where it failed, which is logged here and ends here."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLOSED_REQUEST

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started_s = time.monotonic()
        try:
            await self._app(scope, receive, noting)
        except Exception:
            if status == CLOSED_REQUEST:
                raise
            log.exception("%s %r failed after %.3f s", scope["method"], scope["path"][:200], time.monotonic() - started_s)
        finally:
            self._counts.requests[route_of(scope["path"]), status] += 1
