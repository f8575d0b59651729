"""The way of single records from the log to the list, as spans of OpenTelemetry: an extra, off unless ``tracing.enabled``.

Where a producer recorded a trace and put its context in a record's headers, the trace goes on here: the time on the log, decoding, the
step that folded it, the write of its user's list. Where nobody did, nothing is looked at but whether a batch has headers.

What is under way is a few numbers a record; spans are made when the list is written, on the publisher's thread, and sent by a thread of
OpenTelemetry's with a bounded queue, which drops what it cannot send.
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from consumers.traced import Traced
from consumers.work import Work
from producers.tracing import not_installed
from streamer.config.tree import Config
from streamer.events.model import EVENTS
from streamer.events.trace_context import trace_of
from streamer.ports import RecordBatch, TopicPartition

# The packages are an extra, imported where tracing is on.
# ruff: noqa: PLC0415

LOOKED_AT_MAX = 64
"""Records with headers of one batch that are looked at."""
WAITING_MAX = 256
"""Records whose users have no list yet; beyond it the oldest is given up."""
SERVICE = "streamer-worker"


class Traces:
    """Notes where traced records are. ``begin`` is for the polling thread, ``written`` for the publisher's, the rest for the fold's."""

    def __init__(
        self, tracer: Any, context_of: Callable[[dict[str, str]], Any], inside: Callable[[Any], Any], *, records_max: int
    ) -> None:
        """A tracer; what makes a parent of what headers carried, and of a span; how many records of one poll are followed."""
        self._tracer = tracer
        self._context_of = context_of
        self._inside = inside
        self._records_max = records_max
        self._waiting: dict[bytes, list[Traced]] = {}
        self._count = 0

    now_ns = staticmethod(time.time_ns)

    def begin(self, batches: Sequence[RecordBatch], works: Sequence[Work], polled_ns: int) -> None:
        """Takes up the first traced events of a poll, at most ``tracing.records_max``, and hands them to the work that they belong to."""
        left = self._records_max
        for batch in batches:
            if not batch.headers or batch.topic != EVENTS or left <= 0:
                continue
            for one in self._traced_of(batch, polled_ns):
                if (work := _work_of(one, works)) is not None:
                    work.traced = (*work.traced, one)
                    left -= 1
                if not left:
                    break

    def folded(self, traced: Sequence[Traced], folding_ns: int) -> None:
        """They were applied; their users' next lists know of them."""
        now_ns = self.now_ns()
        for one in traced:
            one.folding_ns, one.folded_ns = folding_ns, now_ns
            self._wait(one)

    def rendered(self, user_ids: Sequence[bytes]) -> tuple[Traced, ...]:
        """Those that lists of these users, rendered now, show."""
        if not self._waiting:
            return ()
        found = [one for user_id in user_ids for one in self._waiting.pop(user_id, ())]
        self._count -= len(found)
        return tuple(found)

    def written(self, traced: Sequence[Traced], writing_ns: int, accepted: dict[bytes, bool]) -> None:
        """Their lists are in the store, or were refused since it holds newer ones: the spans are made."""
        now_ns = self.now_ns()
        for one in traced:
            self._emit(one, writing_ns, now_ns, accepted=accepted.get(one.user_id, False))

    def again(self, traced: Sequence[Traced]) -> None:
        """The store did not take their lists, which are rendered again."""
        for one in traced:
            one.failed_writes += 1
            self._wait(one)

    def _wait(self, one: Traced) -> None:
        self._waiting.setdefault(one.user_id, []).append(one)
        self._count += 1
        while self._count > WAITING_MAX:
            self._count -= len(self._waiting.pop(next(iter(self._waiting))))

    def _traced_of(self, batch: RecordBatch, polled_ns: int) -> Iterator[Traced]:
        place, decoded_ns = TopicPartition(batch.topic, batch.partition), self.now_ns()
        for offset, headers in islice(batch.headers.items(), LOOKED_AT_MAX):
            context = trace_of(headers)
            if context is None:
                continue
            row = bisect_left(batch.offsets, offset)
            user_id = batch.keys[row]
            if user_id is not None:
                yield Traced(context, place, offset, user_id, batch.append_ms[row] * 1_000_000, polled_ns, decoded_ns)

    def _emit(self, one: Traced, writing_ns: int, written_ns: int, *, accepted: bool) -> None:
        attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": one.place.topic,
            "messaging.destination.partition.id": str(one.place.partition),
            "messaging.kafka.offset": one.offset,
            "streamer.list.accepted": accepted,
            "streamer.list.failed_writes": one.failed_writes,
        }
        began_ns = min(one.append_ns, one.polled_ns)
        outer = self._tracer.start_span(
            "streamer event", context=self._context_of(one.context), start_time=began_ns, attributes=attributes
        )
        inside = self._inside(outer)
        for name, start_ns, end_ns in (
            ("streamer log", began_ns, one.polled_ns),
            ("streamer decode", one.polled_ns, one.decoded_ns),
            ("streamer step", one.folding_ns, one.folded_ns),
            ("streamer publish", writing_ns, written_ns),
        ):
            self._tracer.start_span(name, context=inside, start_time=start_ns).end(end_ns)
        outer.end(written_ns)


def _work_of(one: Traced, works: Sequence[Work]) -> Work | None:
    """The piece that has the record: the first of its partition that goes beyond it."""
    for work in works:
        if any(place == one.place and one.offset < next_offset for place, _, next_offset in work.runs):
            return work if work.columns is not None else None
    return None


@contextlib.contextmanager
def traces(config: Config) -> Iterator[Traces | None]:
    """What notes and sends traces as ``[tracing]`` says, until the end; None where it is off.

    Raises ConfigError where it is on and OpenTelemetry is not installed.
    """
    if not config.tracing.enabled:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError as error:
        raise not_installed(error) from error
    resource = Resource.create({"service.name": SERVICE, "service.namespace": config.namespace})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=config.tracing.endpoint)))
    context_of = TraceContextTextMapPropagator().extract
    tracer = provider.get_tracer("streamer")
    try:
        yield Traces(tracer, context_of, set_span_in_context, records_max=config.tracing.records_max)
    finally:
        provider.shutdown()
