"""The HTTP gateway: events and item documents onto the log, lists out of the store, as an ASGI application."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes

import anyio
import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from producers.gateway_append import Appended, Appender
from producers.gateway_body import RETRY_AFTER_S, Problem, Waiting, read_body
from producers.gateway_counts import LISTS, Counted, Counts
from producers.gateway_pages import LIST_ITEMS_MAX, openapi, page
from producers.gateway_records import BodyError, Judge, Judged, Refused, judge_events, judge_items, values_of
from streamer.config.tree import Config
from streamer.events.fields import RefusedError, checked_id
from streamer.events.model import EVENTS, ITEMS
from streamer.events.trace_context import TRACEPARENT, TRACESTATE, trace_headers
from streamer.ports import LogError, LogWriter, RecommendationList, RecommendationStore, StoreError

READERS = 32
"""Threads in which lists are read."""
READY_TIMEOUT_S = 5.0
"""How long a probe waits for the log and the store."""
READY_KEPT_S = 1.0
"""How long the answer of one look at them serves all probes."""
INLINE_BYTES_MAX = 32_768
"""A body up to this size is judged at once; a larger one in a thread, so that others are answered meanwhile."""
CORS_MAX_AGE_S = 600

_LOOPBACK = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")

Page = Callable[[str], tuple[str, bytes]]
"""Makes the metrics page for an ``Accept`` header: its content type, and the page."""


class Gateway:
    """Handlers of the gateway's routes. It closes neither writer nor store.

    Args:
        config: ``gateway``, and ``namespace`` for the page.
        writer: appends records; thread-safe.
        store: where lists are read; thread-safe.
        check_log: raises LogError where the log cannot be reached or lacks topics; called in a thread, one call at a time.
        version: of the software, as the page and the OpenAPI document name it.
        metrics: makes the page under ``/metrics``, out of ``counts``; without it there is none.
    """

    def __init__(
        self,
        config: Config,
        writer: LogWriter,
        store: RecommendationStore,
        *,
        check_log: Callable[[], None],
        version: str,
        metrics: Callable[[Counts], Page] | None = None,
    ) -> None:
        settings = self._settings = config.gateway
        self.counts = Counts()
        self._metrics = metrics and metrics(self.counts)
        self._timeout_s = settings.ack_timeout_ms / 1000
        self._origins = [origin.strip().rstrip("/") for origin in settings.cors_origins.split(",") if origin.strip()]
        self._passed_on = (TRACEPARENT, TRACESTATE) if config.tracing.enabled else ()
        self._store = store
        self._check_log = check_log
        self._waiting = Waiting(requests_max=settings.requests_waiting_max, bytes_max=settings.waiting_bytes_max)
        self._appender = Appender(writer, timeout_s=self._timeout_s)
        self._openapi = msgspec.json.encode(openapi(version, settings, metrics=metrics is not None))
        self._page = page(version, config.namespace)
        self._look: asyncio.Task[LogError | StoreError | None] | None = None
        self._looked_s = 0.0

    def app(self) -> ASGIApp:
        """The ASGI application."""
        cors = Middleware(
            CORSMiddleware,
            allow_origins=self._origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", *self._passed_on],
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
            Route(LISTS + "{user:path}", self._list),
        ]
        if self._metrics is not None:
            routes.append(Route("/metrics", self._show_metrics))
        app = Starlette(
            routes=routes,
            middleware=[cors] if self._origins else [],
            exception_handlers={HTTPException: _answer_problem, Exception: _answer_bug},
            lifespan=self._lifespan,
        )
        app.router.redirect_slashes = False  # it would send clients wherever their Host header says
        return Counted(app, self.counts)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._readers = anyio.CapacityLimiter(READERS)
        self._judges = anyio.CapacityLimiter(
            1
        )  # a body cut into the smallest of records takes thirty times its size for a moment
        yield

    async def _events(self, request: Request) -> Response:
        if not self._settings.public_events:
            self._require_key(request)
        return await self._append(request, judge_events, EVENTS)

    async def _items(self, request: Request) -> Response:
        self._require_key(request)
        return await self._append(request, judge_items, ITEMS)

    async def _append(self, request: Request, judge: Judge, topic: str) -> Response:
        self._require_origin(request)
        counts = self.counts
        with self._waiting.one() as held:
            body = await read_body(request, held, self._settings)
            counts.body_bytes += len(body)
            judged = self._in_trace(request, await self._judged(body, content_type_of(request), judge))
            started_s = time.monotonic()
            done = await self._appender.append(judged.records, held) if judged.records else Appended()
        if judged.records and not done.failed:
            counts.acknowledged.observe(time.monotonic() - started_s)
        counts.accepted[topic] += done.acknowledged
        counts.refused.update((topic, one.reason) for one in [*judged.refused, *done.failed])
        return _taken(done, judged.refused)

    def _in_trace(self, request: Request, judged: Judged) -> Judged:
        """With the client's trace context in the headers of its records, where contexts are passed on and it sent one."""
        if not self._passed_on:
            return judged
        headers = trace_headers(request.headers.get(TRACEPARENT), request.headers.get(TRACESTATE))
        return Judged([(index, replace(record, headers=headers)) for index, record in judged.records], judged.refused)

    async def _judged(self, body: bytes, content_type: str, judge: Judge) -> Judged:
        def cut() -> Judged:
            return judge(values_of(body, content_type, records_max=self._settings.batch_records_max))

        try:
            if len(body) <= INLINE_BYTES_MAX:
                return cut()
            return await anyio.to_thread.run_sync(cut, limiter=self._judges)
        except BodyError as error:
            raise Problem(error.status, error.reason, str(error), "body") from None

    async def _list(self, request: Request) -> Response:
        self._require_key(request)
        user_id, limit = _user_id(request), _limit(request)
        outcome = "error"
        try:
            with anyio.fail_after(self._timeout_s):
                found = await anyio.to_thread.run_sync(self._store.read, user_id, limiter=self._readers, abandon_on_cancel=True)
            outcome = "none" if found is None else "personal" if found.personal else "popular"
        except (StoreError, TimeoutError) as error:
            message = str(error) or f"the store has not answered in {self._timeout_s:g} s; ask again"
            raise Problem(503, "store_away", message, "store") from None
        finally:
            self.counts.lists[outcome] += 1
        if found is None:
            message = "there is neither a list of this user nor a popular one: has a worker of this namespace read events?"
            raise Problem(404, "no_list", message, "path")
        return _json(_plain(found, limit), headers={"Cache-Control": "no-store"})

    async def _home(self, _: Request) -> Response:
        policy = (
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
            "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        return HTMLResponse(self._page, headers={"Content-Security-Policy": policy})

    async def _document(self, _: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def _livez(self, _: Request) -> Response:
        return _json({"status": "alive"})

    async def _show_metrics(self, request: Request) -> Response:
        assert self._metrics is not None
        self.counts.waiting, self.counts.waiting_bytes = self._waiting.requests, self._waiting.bytes
        content_type, shown = self._metrics(request.headers.get("accept", ""))
        return Response(shown, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    async def _readyz(self, _: Request) -> Response:
        """All probes share one look, so that no number of them opens more than one connection to the log."""
        if self._look is None or (self._look.done() and time.monotonic() - self._looked_s > READY_KEPT_S):
            self._look = asyncio.create_task(self._looked())
        try:
            found = await asyncio.wait_for(asyncio.shield(self._look), READY_TIMEOUT_S)
        except TimeoutError:
            found = LogError(f"log and store have not answered in {READY_TIMEOUT_S:g} s", retriable=True)
        if found is not None:
            where = "store" if isinstance(found, StoreError) else "log"
            raise Problem(503, "not_ready", str(found), where)
        return _json({"status": "ready"})

    async def _looked(self) -> LogError | StoreError | None:
        found = await anyio.to_thread.run_sync(self._check)
        self._looked_s = time.monotonic()
        return found

    def _check(self) -> LogError | StoreError | None:
        try:
            self._check_log()
            self._store.read_shared("status")
        except (LogError, StoreError) as error:
            return error
        return None

    def _require_origin(self, request: Request) -> None:
        """A browser sends some requests without asking first, whatever page they come from: only pages that are named may."""
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        if origin is None or origin in self._origins or "*" in self._origins or self._bears_key(request):
            return
        # of other names anybody may say that they are this machine's: what a page was loaded from proves nothing
        if _LOOPBACK.fullmatch(host) and origin in {f"http://{host}", f"https://{host}"}:
            return
        message = f"pages of {origin[:200]!r} may not send here: name the origin in gateway.cors_origins"
        raise Problem(403, "foreign_origin", message, "header Origin")

    def _require_key(self, request: Request) -> None:
        if self._settings.api_key is not None and not self._bears_key(request):
            message = "the key is missing or wrong, expected Authorization: Bearer KEY or X-API-Key: KEY"
            raise Problem(401, "unauthorized", message, "header Authorization", {"WWW-Authenticate": "Bearer"})

    def _bears_key(self, request: Request) -> bool:
        """Whether a key is configured and the request bears it; a browser never adds one by itself."""
        expected = self._settings.api_key
        if expected is None:
            return False
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        given = request.headers.get("x-api-key", "") or bearer
        return hmac.compare_digest(given.encode(), expected.encode())


def content_type_of(request: Request) -> str:
    """The media type, without parameters, in lower case; "" where there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _user_id(request: Request) -> str:
    """The id as its bytes came: a decoded path has lost what was no UTF-8, and which slashes were encoded."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    encoded = raw.partition(b"?")[0].partition(LISTS.encode())[2]
    try:
        return checked_id("the user id", unquote_to_bytes(encoded).decode())
    except UnicodeDecodeError:
        raise Problem(400, "bad_id", "the user id is no UTF-8, expected it percent-encoded", "path") from None
    except RefusedError as refused:
        raise Problem(400, str(refused.reject.reason), refused.reject.error, "path") from None


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", str(LIST_ITEMS_MAX))
    if given.isascii() and given.isdecimal() and len(given) < 4 and 1 <= int(given) <= LIST_ITEMS_MAX:
        return int(given)
    raise Problem(400, "bad_limit", f"limit is {given[:60]!r}, expected 1 to {LIST_ITEMS_MAX}", "query")


def _taken(done: Appended, refused: list[Refused]) -> Response:
    """202 where all were acknowledged, 207 where some, 400 where none can be used, 429 or 503 where some should be sent again."""
    errors = sorted([*refused, *done.failed], key=lambda one: one.index)
    status = done.status or (202 if not errors else 207 if done.acknowledged else 400)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if done.status else None
    return _json({"accepted": done.acknowledged, "refused": len(errors), "errors": errors}, status, headers)


def _plain(found: RecommendationList, limit: int) -> dict[str, Any]:
    """The list in the form that it has in the store, with whether it is the user's own."""
    return {
        "user_id": found.user_id,
        "version": found.version,
        "personal": found.personal,
        "items": [
            {"item_id": entry.item_id, "score": entry.score, "why": [[why.term, why.value, why.item_id] for why in entry.why]}
            for entry in found.items[:limit]
        ],
        "head_step": found.head_step,
        "event_ms": found.event_ms,
        "written_ms": found.written_ms,
    }


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    safe = {"X-Content-Type-Options": "nosniff", **(headers or {})}
    return Response(msgspec.json.encode(value), status, safe, media_type="application/json")


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reasons = {404: "not_found", 405: "method_not_allowed"}
    reason = error.reason if isinstance(error, Problem) else reasons.get(error.status_code, "bad_request")
    where = error.where if isinstance(error, Problem) else f"{request.method} {request.url.path}"
    body = {"error": {"reason": reason, "message": error.detail, "where": where}}
    return _json(body, error.status_code, error.headers)


async def _answer_bug(request: Request, _: Exception) -> Response:
    body = {"error": {"reason": "internal", "message": "the gateway failed; its log says why", "where": request.url.path}}
    return _json(body, 500)
