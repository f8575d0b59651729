"""The HTTP gateway: events and item documents onto the log, lists out of the store, as an ASGI application."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

import anyio
import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from producers.gateway_append import Appended, Appender
from producers.gateway_pages import openapi, page
from producers.gateway_records import BodyError, Judge, Refused, judge_events, judge_items, values_of
from streamer.config.tree import Config
from streamer.events.fields import RefusedError, checked_id
from streamer.ports import LogError, LogWriter, RecommendationList, RecommendationStore, StoreError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
READERS = 32
"""Threads in which lists are read."""
READY_TIMEOUT_S = 5.0
"""How long a probe waits for the log and the store."""
CORS_MAX_AGE_S = 600
_LISTS = "/v1/recommendations/"


class Problem(HTTPException):
    """A request that ends in an error: HTTP status, reason for programs, message for people, and where it was found."""

    def __init__(self, status: int, reason: str, message: str, where: str) -> None:
        retry = {"Retry-After": str(RETRY_AFTER_S)} if status in {429, 503} else None
        super().__init__(status, message, retry)
        self.reason = reason
        self.where = where


class Gateway:
    """Handlers of the gateway's routes. It closes neither writer nor store.

    Args:
        config: ``gateway``, and ``namespace`` for the page.
        writer: appends records; thread-safe.
        store: where lists are read; thread-safe.
        check_log: raises LogError where the log cannot be reached or lacks topics; called in a thread, one call at a time.
        version: of the software, as the page and the OpenAPI document name it.
    """

    def __init__(
        self, config: Config, writer: LogWriter, store: RecommendationStore, *, check_log: Callable[[], None], version: str
    ) -> None:
        self._settings = config.gateway
        self._timeout_s = config.gateway.ack_timeout_ms / 1000
        self._store = store
        self._check_log = check_log
        waiting_max = config.gateway.requests_waiting_max
        self._appender = Appender(writer, timeout_s=self._timeout_s, waiting_max=waiting_max)
        self._openapi = msgspec.json.encode(openapi(version, config.gateway))
        self._page = page(version, config.namespace)

    def app(self) -> Starlette:
        """The ASGI application."""
        origins = [origin.strip().rstrip("/") for origin in self._settings.cors_origins.split(",") if origin.strip()]
        cors = Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
            max_age=CORS_MAX_AGE_S,
        )
        routes = [
            Route("/", self._home),
            Route("/openapi.json", self._document),
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/v1/events", self._events, methods=["POST"]),
            Route("/v1/items", self._items, methods=["POST"]),
            Route(_LISTS + "{user:path}", self._list),
        ]
        return Starlette(
            routes=routes,
            middleware=[cors] if origins else [],
            exception_handlers={HTTPException: _answer_problem, Exception: _answer_bug},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._readers = anyio.CapacityLimiter(READERS)
        self._probes = anyio.CapacityLimiter(1)
        yield

    async def _events(self, request: Request) -> Response:
        if not self._settings.public_events:
            self._require_key(request)
        return await self._append(request, judge_events)

    async def _items(self, request: Request) -> Response:
        self._require_key(request)
        return await self._append(request, judge_items)

    async def _append(self, request: Request, judge: Judge) -> Response:
        if self._appender.full:
            message = f"{self._settings.requests_waiting_max} requests wait for the log already; send this one again"
            raise Problem(429, "too_many_requests", message, request.url.path)
        body = await self._body(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            values = values_of(body, content_type)
        except BodyError as error:
            raise Problem(error.status, error.reason, str(error), "body") from None
        if len(values) > self._settings.batch_records_max:
            message = (
                f"the body holds {len(values)} records, at most {self._settings.batch_records_max} are taken "
                "(gateway.batch_records_max): send several requests"
            )
            raise Problem(413, "too_many_records", message, "body")
        judged = judge(values)
        done = await self._appender.append(judged.records) if judged.records else Appended()
        return _taken(done, judged.refused)

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "unsupported_encoding", "the body is encoded, expected it as it is", "header Content-Encoding")
        most = self._settings.body_bytes_max
        declared = request.headers.get("content-length", "")
        parts, size = [], int(declared) if declared.isascii() and declared.isdecimal() and len(declared) < 20 else 0
        too_large = f"the body is larger than {most} bytes (gateway.body_bytes_max): send several requests"
        if size > most:
            raise Problem(413, "too_many_bytes", too_large, "body")
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise Problem(413, "too_many_bytes", too_large, "body")
            parts.append(part)
        return b"".join(parts)

    async def _list(self, request: Request) -> Response:
        self._require_key(request)
        user_id = _user_id(request)
        try:
            with anyio.fail_after(self._timeout_s):
                found = await anyio.to_thread.run_sync(self._store.read, user_id, limiter=self._readers, abandon_on_cancel=True)
        except (StoreError, TimeoutError) as error:
            message = str(error) or f"the store has not answered in {self._timeout_s:g} s; ask again"
            raise Problem(503, "store_away", message, "store") from None
        if found is None:
            message = "there is neither a list of this user nor a popular one: has a worker of this namespace read events?"
            raise Problem(404, "no_list", message, "path")
        return _json(_plain(found), headers={"Cache-Control": "no-store"})

    async def _home(self, _: Request) -> Response:
        policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
        return HTMLResponse(self._page, headers={"Content-Security-Policy": policy})

    async def _document(self, _: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def _livez(self, _: Request) -> Response:
        return _json({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        try:
            with anyio.fail_after(READY_TIMEOUT_S):
                await anyio.to_thread.run_sync(self._check, limiter=self._probes, abandon_on_cancel=True)
        except (LogError, StoreError, TimeoutError) as error:
            where = "store" if isinstance(error, StoreError) else "log"
            message = str(error) or f"log and store have not answered in {READY_TIMEOUT_S:g} s"
            raise Problem(503, "not_ready", message, where) from None
        return _json({"status": "ready"})

    def _check(self) -> None:
        self._check_log()
        self._store.read_shared("status")

    def _require_key(self, request: Request) -> None:
        expected = self._settings.api_key
        if expected is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        given = request.headers.get("x-api-key", "") or bearer
        if not hmac.compare_digest(given.encode(), expected.encode()):
            message = "the key is missing or wrong, expected Authorization: Bearer KEY or X-API-Key: KEY"
            raise Problem(401, "unauthorized", message, "header Authorization")


def _user_id(request: Request) -> str:
    """The id as its bytes came: a decoded path has lost what was no UTF-8, and which slashes were encoded."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    encoded = raw.partition(b"?")[0].partition(_LISTS.encode())[2]
    try:
        return checked_id("the user id", unquote_to_bytes(encoded).decode())
    except UnicodeDecodeError:
        raise Problem(400, "bad_id", "the user id is no UTF-8, expected it percent-encoded", "path") from None
    except RefusedError as refused:
        raise Problem(400, str(refused.reject.reason), refused.reject.error, "path") from None


def _taken(done: Appended, refused: list[Refused]) -> Response:
    """202 where all were acknowledged, 207 where some, 400 where none can be used, 429 or 503 where some should be sent again."""
    errors = sorted([*refused, *done.failed], key=lambda one: one.index)
    status = done.status or (202 if not errors else 207 if done.acknowledged else 400)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if done.status else None
    return _json({"accepted": done.acknowledged, "refused": len(errors), "errors": errors}, status, headers)


def _plain(found: RecommendationList) -> dict[str, Any]:
    """The list in the form that it has in the store, with whether it is the user's own."""
    return {
        "user_id": found.user_id,
        "version": found.version,
        "personal": found.personal,
        "items": [
            {"item_id": entry.item_id, "score": entry.score, "why": [[why.term, why.value, why.item_id] for why in entry.why]}
            for entry in found.items
        ],
        "head_step": found.head_step,
        "event_ms": found.event_ms,
        "written_ms": found.written_ms,
    }


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reasons = {404: "not_found", 405: "method_not_allowed"}
    reason = error.reason if isinstance(error, Problem) else reasons.get(error.status_code, "bad_request")
    where = error.where if isinstance(error, Problem) else f"{request.method} {request.url.path}"
    body = {"error": {"reason": reason, "message": error.detail, "where": where}}
    return _json(body, error.status_code, error.headers)


async def _answer_bug(request: Request, error: Exception) -> Response:
    if not isinstance(error, ClientDisconnect):
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    body = {"error": {"reason": "internal", "message": "the gateway failed; its log says why", "where": request.url.path}}
    return _json(body, 500)
