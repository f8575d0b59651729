"""The gateway does what its OpenAPI document says, whatever is sent to it: schemathesis makes up the requests."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from memory_log import MemoryBroker, MemoryWriter
from memory_store import MemoryStore
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from consumers.gateway_metrics import metrics_of
from consumers.reader import encode_list, version_text
from producers.gateway import Gateway as App
from streamer.config.tree import Config, Gateway
from streamer.ports import Acknowledge, OutRecord, RecommendationList, Recommended

KEY = "sesame"


class AtOnce(MemoryWriter):
    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        super().send(record, on_done, timeout_s=timeout_s)
        self.flush(0)


def app() -> Any:
    store = MemoryStore()
    entries = (Recommended("i1", 1.0, ()),)
    store.write_shared("popular", encode_list(RecommendationList("", version_text(1, 1), entries, False, 0, 1, 1)))
    gateway = App(
        Config(gateway=Gateway(api_key=KEY)),
        AtOnce(MemoryBroker()),
        store,
        check_log=lambda: None,
        version="1",
        metrics=metrics_of("shop"),
    )
    return gateway.app()


@schemathesis.serializer("application/x-ndjson")
def as_lines(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


schema = schemathesis.openapi.from_asgi("/openapi.json", app())


@schema.auth()
class WithKey:
    def get(self, *_: Any) -> str:
        return KEY

    def set(self, case: schemathesis.Case, data: str, _: Any) -> None:
        case.headers["X-API-Key"] = data


BEYOND_A_SCHEMA = {"bad_timestamp", "bad_id"}
"""The 30th of February, and ids whose characters take more bytes than an id may have: a schema takes them."""


def refused_in_part(answer: schemathesis.Response) -> bool:
    """An array with a record that can't be used breaks the schema, and the records beside it are taken."""
    return answer.status_code == 207 and bool(answer.json()["errors"])


def refused_by_what_no_schema_says(case: schemathesis.Case, answer: schemathesis.Response) -> bool:
    if answer.status_code != 400:
        return False
    if case.media_type in {"application/x-ndjson", "text/plain"}:
        return True  # JSON in a text is a text to a schema
    errors = answer.json().get("errors", [])
    reasons = {error["reason"] for error in errors} or {answer.json()["error"]["reason"]}
    return reasons <= BEYOND_A_SCHEMA


@schema.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_is_answered_as_documented(case: schemathesis.Case) -> None:
    answer = case.call()
    left_out: list[Any] = [positive_data_acceptance] if refused_by_what_no_schema_says(case, answer) else []
    left_out += [negative_data_rejection] if refused_in_part(answer) else []
    case.validate_response(answer, excluded_checks=left_out)
