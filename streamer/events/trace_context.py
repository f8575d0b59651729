"""The trace context of a record as its headers carry it: ``traceparent`` and ``tracestate`` of the W3C, bytes to values."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
STATE_BYTES_MAX = 512
"""What the W3C asks to be passed on; a longer one is left out."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1


def sampled(traceparent: bytes) -> bool:
    """Whether this is a valid ``traceparent`` whose producer recorded its trace.

    >>> sampled(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    True
    >>> sampled(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), sampled(b"nonsense")
    (False, False)
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    return found is not None and bool(int(found[1], 16) & _SAMPLED)


def trace_headers(traceparent: str | None, tracestate: str | None) -> tuple[tuple[str, bytes], ...]:
    """The headers of a record that goes on in this trace; none where ``traceparent`` is not valid.

    >>> trace_headers("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", None)
    (('traceparent', b'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00'),)
    >>> trace_headers("00-0-0-0", "a=b")
    ()
    """
    if traceparent is None or not _TRACEPARENT.fullmatch(parent := traceparent.encode("utf-8", "replace")):
        return ()
    state = (tracestate or "").encode("utf-8", "replace")
    if not state or len(state) > STATE_BYTES_MAX:
        return ((TRACEPARENT, parent),)
    return ((TRACEPARENT, parent), (TRACESTATE, state))


def trace_of(headers: Iterable[tuple[str, bytes]]) -> dict[str, str] | None:
    """Both as text, where the headers carry a context whose producer recorded it; None otherwise.

    >>> trace_of([("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("other", b"")])
    {'traceparent': '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'}
    """
    found = {name: value for name, value in headers if name in {TRACEPARENT, TRACESTATE}}
    if not sampled(found.get(TRACEPARENT, b"")):
        return None
    return {name: value.decode("utf-8", "replace") for name, value in found.items()}
