"""The worker's HTTP server: metrics for Prometheus, probes for an orchestrator, a status for people and for the command."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from consumers.http_server import Reply, Request, json_reply, listen
from streamer.ports import OwnerStatus

logger = logging.getLogger(__name__)

READY_ROLES = frozenset({"owner", "standby"})

Page = Callable[[Request], Reply]
"""What answers the requests of one path, of any method; what it raises is told as status 500."""


class HealthServer:
    """Answers ``/metrics``, ``/livez``, ``/readyz`` and ``/status`` from a daemon thread until ``close``.

    Args:
        host: address to listen on.
        port: 0 for any free one; ``port`` tells which.
        status: what ``/status`` says; called on the server's threads, so it must not wait for the worker.
        collector: what ``/metrics`` shows, beside the process's own numbers.
        ready: whether ``/readyz`` is 200; by default as long as the role is owner or standby.
        live: whether ``/livez`` is 200; by default always, since a server that answers lives.
        pages: what else it answers, by path; called on the server's threads.

    Raises HttpUnavailable where the port is taken or the address is none of this machine.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        status: Callable[[], OwnerStatus],
        collector: Collector,
        ready: Callable[[], bool] | None = None,
        live: Callable[[], bool] = lambda: True,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self._host = host
        self._status = status
        self._ready = ready or (lambda: status().role in READY_ROLES)
        self._live = live
        self._page = MetricsPage(collector)
        self._pages: dict[str, Page] = {
            "/metrics": self._metrics,
            "/livez": lambda _: _probe(ok=self._live()),
            "/readyz": lambda _: _probe(ok=self._ready(), role=self._status().role),
            "/status": lambda _: json_reply(HTTPStatus.OK, self._status()),
        }
        self._more = pages or {}
        self._server = listen(host, port, self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="streamer-http", daemon=True)
        self._thread.start()
        logger.info("listening on %s (%s/metrics, /livez, /readyz, /status)", self.url, "console at /, " * ("/" in self._more))

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where it listens, for a person to open."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def close(self) -> None:
        """Stops listening; answers in progress are given up with the process."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: Request) -> Reply:
        page = self._pages.get(request.path) or self._more.get(request.path)
        if page is None:
            listed = sorted({*self._pages, *self._more})
            return json_reply(HTTPStatus.NOT_FOUND, {"error": f"no page {request.path[:200]}", "pages": listed})
        if request.method == "POST" and request.path in self._pages:
            return json_reply(HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"{request.path} is only read"}, {"Allow": "GET, HEAD"})
        try:
            return page(request)
        except Exception:
            logger.exception("page %s failed", request.path)
            return json_reply(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"page {request.path} failed; see the worker's log"})

    def _metrics(self, request: Request) -> Reply:
        return Reply(HTTPStatus.OK, *self._page(request.headers.get("Accept", "")))


class MetricsPage:
    """What ``collector`` shows, and the process's own numbers, as Prometheus reads them."""

    def __init__(self, collector: Collector) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def __call__(self, accept: str) -> tuple[str, bytes]:
        """The content type for an ``Accept`` header, and the page."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)


def _probe(*, ok: bool, **details: str) -> Reply:
    return json_reply(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE, {"ok": ok, **details})
