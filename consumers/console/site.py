"""The console's pages: what is served at which path, to whom, and with which headers.

Whoever can reach the server may see how the line is. What is personal (users, values of records) is shown without a token only where the
server listens on loopback; whatever changes anything needs the token everywhere.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import urlsplit

from consumers.console.actions import Actions
from consumers.console.history import SPANS
from consumers.console.lookup import CannotAnswer, Lookup
from consumers.console.watch import LISTENERS_MAX, Watch
from consumers.health import Page
from consumers.http_server import Reply, Request, json_reply
from consumers.measurements import Measurements
from consumers.owner import Owner
from streamer.config.tree import Config
from streamer.ports import Clock, RecommendationStore, SnapshotStore

logger = logging.getLogger(__name__)

ID_BYTES_MAX = 256
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Connection": "close",  # a browser keeps six open, and each would hold a thread that probes may need
}
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/console/look.js": ("look.js", "text/javascript; charset=utf-8"),
    "/console/act.js": ("act.js", "text/javascript; charset=utf-8"),
    "/console/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/console/words.js": ("words.js", "text/javascript; charset=utf-8"),
    "/console/style.css": ("style.css", "text/css; charset=utf-8"),
    "/console/icon.svg": ("icon.svg", "image/svg+xml"),
}
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PERSONAL, PUBLIC = True, False


class Refused(Exception):  # noqa: N818 - says what is the case
    """A request that is not answered, and why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Console:
    """``pages`` for the server; ``start`` once the owner is made, ``close`` before the server is."""

    def __init__(
        self,
        owner: Owner,
        measurements: Measurements,
        store: RecommendationStore,
        snapshots: SnapshotStore,
        config: Config,
        clock: Clock,
    ) -> None:
        self._token = config.http.token
        self._loopback = is_loopback(config.http.host)
        self._lookup = Lookup(owner, store, snapshots, config)
        self._actions = Actions(owner, snapshots, config, clock)
        access = {"acts": self._token is not None, "looks": "open" if self._loopback else "token" if self._token else "closed"}
        self._watch = Watch(owner, measurements, config, clock, lambda: {"access": access})
        self.pages: Mapping[str, Page] = {
            **{path: self._file(*found) for path, found in FILES.items()},
            "/console/state": self._read(PUBLIC, lambda _: self._state()),
            "/console/history": self._read(PUBLIC, self._history),
            "/console/events": self._read(PUBLIC, lambda _: self._events()),
            "/console/snapshots": self._read(PUBLIC, lambda _: _found(self._lookup.snapshots())),
            "/console/recent": self._read(PERSONAL, lambda _: _found(self._lookup.recent())),
            "/console/letters": self._read(
                PERSONAL, lambda asked: _found(self._lookup.letters(asked.query.get("reason") or None))
            ),
            "/console/user": self._read(PERSONAL, lambda asked: _found(self._lookup.user(_id(asked)))),
            "/console/item": self._read(PERSONAL, lambda asked: _found(self._lookup.item(_id(asked)))),
            **{f"/console/{name}": self._act(name) for name in self._actions.all},
        }

    def start(self) -> None:
        """Begins to watch."""
        self._watch.start()

    def close(self) -> None:
        """Ends all that it does."""
        self._watch.close()
        self._lookup.close()

    def _file(self, name: str, content_type: str) -> Page:
        body = (files(__package__) / "static" / name).read_bytes()
        return self._read(PUBLIC, lambda _: Reply(HTTPStatus.OK, content_type, body))

    def _state(self) -> Reply:
        return Reply(HTTPStatus.OK, "application/json", self._watch.frame + b"\n")

    def _history(self, asked: Request) -> Reply:
        span = asked.query.get("span", SPANS[0].name)
        try:
            rows = self._watch.history.rows(span)
        except KeyError:
            raise Refused(
                HTTPStatus.NOT_FOUND, f"no span {span[:50]!r}: expected one of {', '.join(one.name for one in SPANS)}"
            ) from None
        step_s = next(one.step_s for one in SPANS if one.name == span)
        return _found({"span": span, "step_s": step_s, "spans": [one.name for one in SPANS], "rows": rows})

    def _events(self) -> Reply:
        parts = self._watch.listen()
        if parts is None:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{LISTENERS_MAX} pages listen already; this one asks every few seconds instead"
            )
        return Reply(HTTPStatus.OK, "text/event-stream", parts=parts)

    def _read(self, personal: bool, page: Callable[[Request], Reply]) -> Page:
        def answer(asked: Request) -> Reply:
            if asked.method == "POST":
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{asked.path} is only read")
            self._require_own_name(asked)
            if personal and not self._loopback:
                self._require_token(asked, "users and records are shown")
            return page(asked)

        return _guarded(answer)

    def _act(self, name: str) -> Page:
        def answer(asked: Request) -> Reply:
            if asked.method != "POST":
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{asked.path} takes a POST")
            self._require_own_name(asked)
            _require_same_origin(asked)
            self._require_token(asked, f"{name} is done")
            return _found(self._actions.do(name, asked.body, asked.address))

        return _guarded(answer)

    def _require_own_name(self, asked: Request) -> None:
        """On loopback only its own names are answered: else a page of anywhere whose name resolves to this machine could read along."""
        host = _host(asked)
        if self._loopback and host not in LOOPBACK_NAMES:
            raise Refused(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server listens on loopback and is not called {host[:100]!r}: open it as localhost, or send Host: localhost",
            )

    def _require_token(self, asked: Request, what: str) -> None:
        if self._token is None:
            raise Refused(
                HTTPStatus.FORBIDDEN, f"{what} only where http.token is set (STREAMER_HTTP__TOKEN or STREAMER_HTTP__TOKEN_FILE)"
            )
        kind, _, given = asked.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            if given:
                logger.warning("console: a wrong token from %s for %s", asked.address, asked.path)
            raise Refused(HTTPStatus.UNAUTHORIZED, f"{what} only with the token of http.token")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(asked: Request) -> str:
    try:
        return (urlsplit(f"//{asked.headers.get('Host', '')}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _require_same_origin(asked: Request) -> None:
    """Only our own page, or a program that is no browser, may act."""
    origin, site = asked.headers.get("Origin"), asked.headers.get("Sec-Fetch-Site")
    if (origin is not None and urlsplit(origin).netloc != asked.headers.get("Host")) or site not in {None, "same-origin"}:
        raise Refused(HTTPStatus.FORBIDDEN, "a page of another origin may not act here")
    if asked.headers.get_content_type() != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")


def _id(asked: Request) -> str:
    found = asked.query.get("id", "")
    if not 1 <= len(found.encode(errors="replace")) <= ID_BYTES_MAX:
        raise Refused(HTTPStatus.BAD_REQUEST, f"expected ?id= with 1 to {ID_BYTES_MAX} bytes")
    return found


def _found(value: object) -> Reply:
    return json_reply(HTTPStatus.OK, value)


def _guarded(answer: Page) -> Page:
    """The same with the headers that all answers bear; what was refused is told."""

    def page(asked: Request) -> Reply:
        try:
            reply = answer(asked)
        except (Refused, CannotAnswer) as error:
            more = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else {}
            reply = json_reply(error.status, {"error": str(error)}, more)
        return Reply(reply.status, reply.content_type, reply.body, {**HEADERS, **reply.headers}, reply.parts)

    return page
