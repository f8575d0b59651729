"""The worker's HTTP server: metrics for Prometheus, probes for an orchestrator, a status for people and for the command."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streamer.ports import OwnerStatus

logger = logging.getLogger(__name__)

READY_ROLES = frozenset({"owner", "standby"})
CONNECTIONS_MAX = 32
"""Served at once; one more is closed unanswered."""
SOCKET_TIMEOUT_S = 10.0
"""A connection that neither asks nor takes its answer for so long is closed."""


class HttpUnavailable(Exception):  # noqa: N818 - states a condition, as a sentence would
    """The server could not listen; the message names the address, the setting and what to do."""


class Reply(NamedTuple):
    """An answer, whole."""

    status: HTTPStatus
    content_type: str
    body: bytes


class HealthServer:
    """Answers ``/metrics``, ``/livez``, ``/readyz`` and ``/status`` from a daemon thread until ``close``.

    Args:
        host: address to listen on.
        port: 0 for any free one; ``port`` tells which.
        status: what ``/status`` says; called on the server's threads, so it must not wait for the worker.
        collector: what ``/metrics`` shows, beside the process's own numbers.
        ready: whether ``/readyz`` is 200; by default as long as the role is owner or standby.
        live: whether ``/livez`` is 200; by default always, since a server that answers lives.

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
    ) -> None:
        self._host = host
        self._status = status
        self._ready = ready or (lambda: status().role in READY_ROLES)
        self._live = live
        self._page = MetricsPage(collector)
        self._pages: dict[str, Callable[[str], Reply]] = {
            "/metrics": self._metrics,
            "/livez": lambda _: _probe(ok=self._live()),
            "/readyz": lambda _: _probe(ok=self._ready(), role=self._status().role),
            "/status": lambda _: _json(HTTPStatus.OK, self._status()),
        }
        self._server = _listen(host, port, self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="streamer-http", daemon=True)
        self._thread.start()
        logger.info("listening on %s (/metrics, /livez, /readyz, /status)", self.url)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where it listens, for a person to open."""
        return f"http://{self._host}:{self.port}"

    def close(self) -> None:
        """Stops listening; answers in progress are given up with the process."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, accept: str) -> Reply:
        page = self._pages.get(path)
        if page is None:
            found = {"error": f"no page {path[:200]}", "pages": sorted(self._pages)}
            return _json(HTTPStatus.NOT_FOUND, found)
        try:
            return page(accept)
        except Exception:
            logger.exception("page %s failed", path)
            return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"page {path} failed; see the worker's log"})

    def _metrics(self, accept: str) -> Reply:
        return Reply(HTTPStatus.OK, *self._page(accept))


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
    return _json(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE, {"ok": ok, **details})


def _json(status: HTTPStatus, value: object) -> Reply:
    return Reply(status, "application/json", msgspec.json.encode(value) + b"\n")


def _listen(host: str, port: int, answer: Callable[[str, str], Reply]) -> _Server:
    where = f"http://{host}:{port} (http.host, http.port; STREAMER_HTTP__HOST, STREAMER_HTTP__PORT)"
    try:
        return _Server(host, port, answer)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "the port is taken: end what listens there, or set http.port to another one (0: any free one)"
        elif error.errno == errno.EACCES:
            reason = "this user may not listen there: set http.port to one above 1023"
        else:
            reason = f"{error.strerror or error}: expected an address of this machine"
        raise HttpUnavailable(f"cannot listen on {where}: {reason}") from error


class _Server(ThreadingHTTPServer):
    """A bounded number of daemon threads, one a connection."""

    def __init__(self, host: str, port: int, answer: Callable[[str, str], Reply]) -> None:
        self.answer = answer
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Binds without asking a name server for this machine's name, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, or an end to it where there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            logger.warning("a connection from %s is closed: %d are open", client_address[0], CONNECTIONS_MAX)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The connection, on its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the signature is the base class's
        """A reader that went away is no error of ours."""
        logger.debug("the connection from %s broke: %r", client_address, sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SOCKET_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "streamer"
    sys_version = ""

    def do_GET(self) -> None:
        self._send(body=True)

    def do_HEAD(self) -> None:
        self._send(body=False)

    def _send(self, *, body: bool) -> None:
        reply = self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body:
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        logger.debug("%s %s", self.client_address[0], format % args)
