"""A trace that a client of the gateway began, to the list in the store: real processes, and what a collector gets of it by OTLP."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from line import WITHOUT_ENCODER, Line, wait_until

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = {"log", "decode", "step", "publish", "event"}


class Collector:
    """Takes traces by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str, str]] = []
        """Name, trace, id, parent's id."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def take(self, body: bytes) -> None:
        request = trace_service.ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [
                    (span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) for span in scope.spans
                ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_a_trace_goes_from_a_request_to_the_list(kafka_line: Callable[..., Line], collector: Collector) -> None:
    line = kafka_line(
        **WITHOUT_ENCODER,
        STREAMER_TRACING__ENABLED="true",
        STREAMER_TRACING__ENDPOINT=collector.url,
        STREAMER_GATEWAY__PORT="0",
        OTEL_BSP_SCHEDULE_DELAY="200",
    ).create_topics()
    worker, gateway = line.start("worker"), line.start("gateway")
    listens = re.compile(r"listens on http://([\d.]+):(\d+)")
    gateway.wait(lambda: listens.search(gateway.text), "the gateway listens")
    place = listens.search(gateway.text)
    assert place
    connection = http.client.HTTPConnection(place[1], int(place[2]), timeout=30)
    now_ms = time.time_ns() // 1_000_000
    for number, traced in enumerate((False, True)):
        event = {"type": "click", "user_id": f"u{number}", "item_id": "i1", "timestamp": now_ms}
        headers = {"traceparent": f"00-{TRACE}-{CLIENT}-01"} if traced else {}
        connection.request("POST", "/v1/events", json.dumps(event), headers | {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["accepted"]) == (202, 1)
    connection.close()
    wait_until(lambda: len(collector.spans) >= len(SENT), "the spans")
    assert {name for name, *_ in collector.spans} == {f"streamer {name}" for name in SENT}
    assert {trace for _, trace, *_ in collector.spans} == {TRACE}
    [(outer, parent)] = [(own, parent) for name, _, own, parent in collector.spans if name == "streamer event"]
    assert parent == CLIENT
    assert {parent for name, _, _, parent in collector.spans if name != "streamer event"} == {outer}
    worker.stop()
    gateway.stop()
