"""Logs on stderr, one line a record: JSON for collectors, or text for people."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from streamer.config.tree import Logging

_KNOWN = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "said_while"})
"""What every record has; whatever else it has was given as ``extra``."""

QUIET = {
    "kafka": logging.WARNING,
    # each failed connection, several times: we say so once, with the address and what to check
    "kafka.net": logging.CRITICAL,
    "urllib3": logging.WARNING,
    "filelock": logging.WARNING,
    "transformers": logging.WARNING,
    "numba": logging.WARNING,
}
"""Libraries that tell what only they need to know: the level from which on they are heard, unless ours is DEBUG."""


class JsonLines(logging.Formatter):
    """A record as one line of JSON: ``ts`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, ``extra`` fields, ``error``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; it never raises over what was logged."""
        fields: dict[str, object] = {
            "ts": time_text(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in sorted(record.__dict__.keys() - _KNOWN):
            fields.setdefault(name, _plain(record.__dict__[name]))
        if record.exc_info and record.exc_info[1]:
            fields["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        return msgspec.json.encode({name: _whole(value) for name, value in fields.items()}).decode()


class TextLines(logging.Formatter):
    """A record as text: time, level, logger, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002 - logging's
        """RFC 3339 with milliseconds, UTC."""
        return time_text(record)


def set_up(config: Logging) -> None:
    """Sends the logs of this process to stderr; what was set up before is replaced."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if config.format == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=config.level, force=True)
    logging.captureWarnings(capture=True)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(logging.DEBUG if config.level == "DEBUG" else level)


@contextlib.contextmanager
def said_while(doing: str) -> Iterator[None]:
    """Puts what is being done before every message: what is folded again is said again, and must not look as if it happened now."""

    def begin(record: logging.LogRecord) -> bool:
        if not getattr(record, "said_while", False):
            record.msg, record.said_while = f"{doing}: {record.msg}", True
        return True

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(begin)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(begin)


def time_text(record: logging.LogRecord) -> str:
    """When a record was made.

    >>> time_text(logging.makeLogRecord({"created": 1795485458.344}))
    '2026-11-24T01:57:38.344Z'
    """
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    """A value that JSON has, else its text."""
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value


def _whole(value: object) -> object:
    """Text that has a UTF-8 form: a lone surrogate, as in an undecodable file name, has none."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
