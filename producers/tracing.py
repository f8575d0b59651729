"""The trace in which a record is sent, put in its headers: by OpenTelemetry, where ``tracing.enabled`` says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from streamer.config import ConfigError
from streamer.config.tree import Tracing
from streamer.events.trace_context import trace_headers
from streamer.ports import Headers

# The package is an extra, imported where tracing is on.
# ruff: noqa: PLC0415


class _Propagator(Protocol):
    def inject(self, carrier: dict[str, str]) -> None: ...


def injector(tracing: Tracing) -> Callable[[], Headers] | None:
    """What gives the headers of the trace under way in this thread, none outside of one; None where tracing is off.

    Raises ConfigError where it is on and OpenTelemetry is not installed.
    """
    if not tracing.enabled:
        return None
    try:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError as error:
        raise not_installed(error) from error
    propagator = cast("_Propagator", TraceContextTextMapPropagator())

    def headers() -> Headers:
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        return trace_headers(carrier.get("traceparent"), carrier.get("tracestate"))

    return headers


def not_installed(error: ImportError) -> ConfigError:
    """The error that names the extra."""
    return ConfigError(
        f"tracing.enabled (STREAMER_TRACING__ENABLED) is true, and OpenTelemetry cannot be imported ({error}): "
        "pip install 'streamer[otel]', or switch it off"
    )
