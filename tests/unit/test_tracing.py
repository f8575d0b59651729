"""Traced events: which are followed, what spans come of them, and what tracing costs where it is off."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from consumers.traced import Traced
from consumers.tracing import LOOKED_AT_MAX, WAITING_MAX, Traces, traces
from consumers.work import decode
from producers.sender import KafkaWriter
from producers.tracing import injector
from streamer.config import Config, ConfigError
from streamer.config.tree import Tracing
from streamer.events.trace_context import trace_headers, trace_of
from streamer.ports import RecordBatch

sdk = pytest.importorskip("opentelemetry.sdk.trace")
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import set_span_in_context  # noqa: E402
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: E402

T0_MS = 1_795_485_458_344
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ON = msgspec.structs.replace(Config(), tracing=Tracing(enabled=True))
RECORDS_MAX = 2


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def followed(exporter: InMemorySpanExporter) -> Iterator[Traces]:
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Traces(
        provider.get_tracer("test"), TraceContextTextMapPropagator().extract, set_span_in_context, records_max=RECORDS_MAX
    )
    provider.shutdown()


def batch(users: list[str], traced: dict[int, str], topic: str = "events") -> RecordBatch:
    """Clicks of these users; rows in ``traced`` carry that traceparent."""
    values = [
        f'{{"type":"click","user_id":"{user}","item_id":"i","timestamp":{T0_MS + n}}}'.encode() for n, user in enumerate(users)
    ]
    return RecordBatch(
        topic=topic,
        partition=0,
        next_offset=100 + len(users),
        offsets=list(range(100, 100 + len(users))),
        append_ms=[T0_MS] * len(users),
        keys=[user.encode() for user in users],
        values=values,
        headers={100 + row: (("traceparent", parent.encode()),) for row, parent in traced.items()},
    )


def begun(followed: Traces, one: RecordBatch) -> tuple[Traced, ...]:
    works = decode([one], {})
    followed.begin([one], works, polled_ns=(T0_MS + 5) * 1_000_000)
    return works[0].traced


def test_an_event_whose_producer_recorded_its_trace_goes_on_in_it_to_the_list(
    followed: Traces, exporter: InMemorySpanExporter
) -> None:
    traced = begun(followed, batch(["u1", "u2"], {1: PARENT}))
    followed.folded(traced, followed.now_ns())
    assert followed.rendered([b"u1"]) == ()
    shown = followed.rendered([b"u1", b"u2"])
    followed.written(shown, followed.now_ns(), {b"u2": True})
    spans = {span.name: span for span in exporter.get_finished_spans()}
    outer = spans["streamer event"]
    assert f"{outer.context.trace_id:032x}" == TRACE
    assert f"{outer.parent.span_id:016x}" == PARENT[36:52]
    assert (outer.attributes["messaging.kafka.offset"], outer.attributes["streamer.list.accepted"]) == (101, True)
    inner = [spans[f"streamer {name}"] for name in ("log", "decode", "step", "publish")]
    assert {span.parent.span_id for span in inner} == {outer.context.span_id}
    assert inner[0].start_time == T0_MS * 1_000_000 == outer.start_time
    assert all(before.end_time <= after.start_time for before, after in itertools.pairwise(inner))
    assert inner[-1].end_time == outer.end_time
    assert [span.name for span in spans.values() if "u2" in span.to_json()] == []  # who it was stands nowhere


@pytest.mark.parametrize("header", [PARENT[:-1] + "0", "ff" + PARENT[2:], "00-" + "0" * 32 + PARENT[35:], "nonsense", ""])
def test_an_event_without_a_recorded_trace_is_not_followed(followed: Traces, header: str) -> None:
    assert begun(followed, batch(["u1"], {0: header})) == ()


def test_of_one_poll_only_so_many_are_followed_and_of_other_topics_none(followed: Traces) -> None:
    users = [f"u{n}" for n in range(10)]
    assert len(begun(followed, batch(users, dict.fromkeys(range(10), PARENT)))) == RECORDS_MAX
    one = batch(["i1"], {0: PARENT}, topic="items")
    assert begun(followed, one) == ()


def test_a_list_that_the_store_did_not_take_is_waited_for(followed: Traces, exporter: InMemorySpanExporter) -> None:
    traced = begun(followed, batch(["u1"], {0: PARENT}))
    followed.folded(traced, followed.now_ns())
    followed.again(followed.rendered([b"u1"]))
    assert not exporter.get_finished_spans()
    followed.written(followed.rendered([b"u1"]), followed.now_ns(), {b"u1": True})
    outer = next(span for span in exporter.get_finished_spans() if span.name == "streamer event")
    assert outer.attributes["streamer.list.failed_writes"] == 1


def test_users_whose_lists_never_come_hold_no_more_than_so_many(followed: Traces) -> None:
    for number in range(3 * WAITING_MAX):
        followed.folded(begun(followed, batch([f"u{number}"], {0: PARENT})), followed.now_ns())
    last = [f"u{number}".encode() for number in range(3 * WAITING_MAX)]
    assert len(followed.rendered(last)) == WAITING_MAX


def test_a_sender_puts_the_trace_under_way_in_the_headers() -> None:
    headers = injector(Tracing(enabled=True))
    assert headers is not None
    assert headers() == ()
    with sdk.TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("a request") as span:
        found = trace_of(headers())
        assert found is not None
        assert found["traceparent"].split("-")[1:3] == [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
    assert injector(Tracing()) is None


def test_a_state_that_is_too_long_is_left_out() -> None:
    assert [name for name, _ in trace_headers(PARENT, "a=" + "b" * 600)] == ["traceparent"]
    assert [name for name, _ in trace_headers(PARENT, "a=b")] == ["traceparent", "tracestate"]


def test_where_opentelemetry_is_missing_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}")
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'streamer\[otel\]', or switch it off"), traces(ON):
        pass
    with pytest.raises(ConfigError, match=r"streamer\[otel\]"):
        KafkaWriter(ON)
    with traces(Config()) as nothing:
        assert nothing is None


def test_a_batch_full_of_headers_costs_a_bounded_look(followed: Traces) -> None:
    users = [f"u{n}" for n in range(LOOKED_AT_MAX + 1)]
    unsampled = dict.fromkeys(range(LOOKED_AT_MAX), PARENT[:-1] + "0")
    assert begun(followed, batch(users, unsampled | {LOOKED_AT_MAX: PARENT})) == ()
