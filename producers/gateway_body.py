"""The body of a request, read within bounds: of bytes, of time, and of what all requests hold together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from streamer.config.tree import Gateway

RETRY_AFTER_S = 1
AGAIN = frozenset({429, 503})
"""Statuses that say when to come again."""
CLOSED_REQUEST = 499
"""What is counted where the client left before its body had come; nobody gets it."""


class Problem(HTTPException):
    """A request that ends in an error: HTTP status, reason for programs, message for people, and where it was found."""

    def __init__(self, status: int, reason: str, message: str, where: str, headers: dict[str, str] | None = None) -> None:
        retry = {"Retry-After": str(RETRY_AFTER_S)} if status in AGAIN else {}
        super().__init__(status, message, retry | (headers or {}))
        self.reason = reason
        self.where = where


class Waiting:
    """Requests with records between the first look at their body and their answer, and the bytes that they hold, or their records do.

    Nobody waits for room here: who finds none is answered 429 at once. Used on the event loop alone.
    """

    def __init__(self, *, requests_max: int, bytes_max: int) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def one(self) -> Iterator[Held]:
        """Room for one request. Raises Problem (429) where as many wait as may."""
        if self.requests >= self._requests_max:
            raise _full(f"{self._requests_max} requests wait already (gateway.requests_waiting_max)")
        self.requests += 1
        held = Held(self)
        try:
            yield held
        finally:
            self.requests -= 1
            self.bytes -= held.bytes - held.lent

    def take(self, size: int) -> None:
        """Raises Problem (429) where all bodies together would hold more than they may."""
        if self.bytes + size > self._bytes_max:
            raise _full(
                f"the bodies of waiting requests hold {self.bytes} bytes of {self._bytes_max} (gateway.waiting_bytes_max)"
            )
        self.bytes += size


class Held:
    """What one request holds of the room for bodies."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self.bytes = 0
        self.lent = 0

    def take(self, size: int) -> None:
        """Holds ``size`` bytes more. Raises Problem (429) where there is no room."""
        self._waiting.take(size)
        self.bytes += size

    def lend(self, size: int) -> None:
        """So much is still held when the request is answered: by records that the log has neither taken nor refused."""
        self.lent += size

    def give_back(self, size: int) -> None:
        """One of these records is settled, after the request."""
        self._waiting.bytes -= size


async def read_body(request: Request, held: Held, settings: Gateway) -> bytes:
    """The whole body. Raises Problem where it is encoded, too long or too slow, or its sender left."""
    _check_head(request, settings)
    parts: list[bytes] = []
    try:
        with anyio.fail_after(settings.read_timeout_ms / 1000):
            async for part in request.stream():
                held.take(len(part))
                parts.append(part)
                if held.bytes > settings.body_bytes_max:
                    raise _too_large(settings)
    except TimeoutError:
        message = f"the body had not come whole after {settings.read_timeout_ms} ms (gateway.read_timeout_ms); send it again"
        raise Problem(408, "too_slow", message, "body", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(CLOSED_REQUEST, "client_left", "the connection ended before the body did", "body") from None
    return b"".join(parts)


def _check_head(request: Request, settings: Gateway) -> None:
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "unsupported_encoding", "the body is encoded, expected it as it is", "header Content-Encoding")
    declared = headers.get("content-length")
    if declared is not None and "transfer-encoding" in headers:
        # a proxy in front may believe the one while the server believes the other, and take a part of this body for a request
        message = "both Content-Length and Transfer-Encoding are given, expected one of them"
        raise Problem(400, "two_lengths", message, "header Transfer-Encoding", {"Connection": "close"})
    if declared is not None and declared.isascii() and declared.isdecimal() and int(declared[:20]) > settings.body_bytes_max:
        raise _too_large(settings)


def _too_large(settings: Gateway) -> Problem:
    message = f"the body is larger than {settings.body_bytes_max} bytes (gateway.body_bytes_max): send several requests"
    return Problem(413, "too_many_bytes", message, "body")


def _full(found: str) -> Problem:
    return Problem(429, "too_many_requests", f"{found}; send this one again", "gateway")
