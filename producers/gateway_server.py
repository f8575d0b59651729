"""The gateway's server: uvicorn on one socket, with a bound in time and number on whatever a client may hold."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamer.config.tree import Gateway

log = logging.getLogger(__name__)

LOOK_S = 0.2
GRACE_S = 10
"""For requests that are under way when the gateway is told to stop."""
BACKLOG = 2_048
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
UNREAD_S = 30.0
"""A client that takes nothing of its answer for so long is left."""


def listen(settings: Gateway) -> socket.socket:
    """A socket on ``gateway.host`` and ``gateway.port``. Raises OSError where the address is taken or not ours."""
    host, port = settings.host, settings.port
    try:
        [(family, *_), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(
            f"the gateway cannot listen on {host}:{port} (gateway.host, gateway.port, STREAMER_GATEWAY__PORT): "
            f"{error.strerror or error}; give a free port"
        ) from error


class ServerEndedError(Exception):
    """The server ended though nobody had told it to."""


def serve(app: ASGIApp, settings: Gateway, listening: socket.socket, stop: threading.Event) -> None:
    """Serves until ``stop`` is set, then ends what is under way. In a thread, so that signals stay those of the command.

    Raises ServerEndedError where it ends before.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=bounded(settings.read_timeout_ms / 1000, settings.connections_max),
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="gateway")
    thread.start()
    host, port = listening.getsockname()[:2]
    log.info("the gateway listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    while thread.is_alive() and not stop.wait(LOOK_S):
        pass
    failed = not stop.is_set()
    server.should_exit = True
    thread.join()
    if failed:
        raise ServerEndedError("the gateway's server ended by itself; its log says why")


def bounded(read_s: float, connections_max: int) -> type[H11Protocol]:
    """The protocol of uvicorn with a bound on connections, on how long a request may take to arrive, and an answer to be taken.

    Without it, a connection that sends nothing, or a byte now and then, is kept for ever. While the application waits for a body it
    has the word, and a bound of its own.
    """

    class Bounded(H11Protocol):
        _reading: asyncio.TimerHandle | None = None
        _writing: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > connections_max:  # the one too many, not whoever was there before
                transport.write(FULL)
                transport.close()
                return
            self._await_request()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in (self._reading, self._writing):
                if timer is not None:
                    timer.cancel()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
                self._await_request()
            elif self._reading is not None:
                self._reading.cancel()
                self._reading = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._writing = self.loop.call_later(UNREAD_S, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._writing is not None:
                self._writing.cancel()

        def _await_request(self) -> None:
            if self._reading is None:
                self._reading = self.loop.call_later(read_s, self._too_slow)

        def _too_slow(self) -> None:
            self._reading = None
            answering: Any = self.cycle
            if answering is None or answering.response_complete:
                self.transport.close()
            else:
                self._await_request()

    return Bounded
