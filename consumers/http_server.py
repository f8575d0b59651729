"""A small HTTP server for pages of a process about itself: a bounded number of daemon threads, one a connection."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl

import msgspec

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 32
"""Served at once; one more is closed unanswered."""
SOCKET_TIMEOUT_S = 10.0
"""A connection that neither asks nor takes its answer for so long is closed."""
BODY_BYTES_MAX = 65_536
STREAM_BUFFER_BYTES = 65_536
"""Sent and not yet taken by a reader of a stream: he who falls further behind is waited for by his own thread, then left."""


class HttpUnavailable(Exception):  # noqa: N818 - states a condition, as a sentence would
    """The server could not listen; the message names the address, the setting and what to do."""


class Request(NamedTuple):
    """What was asked, and by whom."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes
    address: str


class Stream(Protocol):
    """Parts of an answer that has no end yet; closed when they were sent, or the reader is gone."""

    def __iter__(self) -> Iterator[bytes]:
        """The parts."""
        ...

    def close(self) -> None:
        """Frees what is held."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: ``body`` whole, or ``parts`` one after the other for as long as there are any."""

    status: HTTPStatus
    content_type: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Stream | None = None


def json_reply(status: HTTPStatus, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer in JSON."""
    return Reply(status, "application/json", msgspec.json.encode(value) + b"\n", headers or {})


def listen(host: str, port: int, answer: Callable[[Request], Reply]) -> Server:
    """A server on that address; ``answer`` is called on its threads and raises nothing. Raises HttpUnavailable."""
    where = f"http://{host}:{port} (http.host, http.port; STREAMER_HTTP__HOST, STREAMER_HTTP__PORT)"
    try:
        return Server(host, port, answer)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "the port is taken: end what listens there, or set http.port to another one (0: any free one)"
        elif error.errno == errno.EACCES:
            reason = "this user may not listen there: set http.port to one above 1023"
        else:
            reason = f"{error.strerror or error}: expected an address of this machine"
        raise HttpUnavailable(f"cannot listen on {where}: {reason}") from error


class Server(ThreadingHTTPServer):
    """Threads of their own for connections, as many as are allowed."""

    def __init__(self, host: str, port: int, answer: Callable[[Request], Reply]) -> None:
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
    server: Server
    timeout = SOCKET_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "streamer"
    sys_version = ""

    def do_GET(self) -> None:
        self._send(self._answer(b""), body=True)

    def do_HEAD(self) -> None:
        self._send(self._answer(b""), body=False)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= len(str(BODY_BYTES_MAX))):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a body needs its length in Content-Length")
        elif int(length) > BODY_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {length} bytes, expected at most {BODY_BYTES_MAX}")
        else:
            self._send(self._answer(self.rfile.read(int(length))), body=True)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._send(json_reply(status, {"error": why}, {"Connection": "close"}), body=True)

    def _answer(self, body: bytes) -> Reply:
        path, _, query = self.path.partition("?")
        found = dict(parse_qsl(query, keep_blank_values=True, errors="replace")[:20])
        return self.server.answer(Request(self.command, path, found, self.headers, body, str(self.client_address[0])))

    def _send(self, reply: Reply, *, body: bool) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Cache-Control", "no-store")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.parts is None:
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if body:
                self.wfile.write(reply.body)
            return
        self.close_connection = True
        with contextlib.closing(reply.parts):
            self.send_header("Connection", "close")
            self.end_headers()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)
            for part in reply.parts if body else ():
                self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        logger.debug("%s %s", self.client_address[0], format % args)
