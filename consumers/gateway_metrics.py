"""The metrics page of a gateway: what each number is called and means. The gateway itself knows no Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from consumers.families import family, histogram_family
from consumers.health import MetricsPage
from streamer import __version__


class Histogram(Protocol):
    """Counts by upper bound in seconds, one more than there are bounds, and the sum."""

    bounds_s: tuple[float, ...]
    counts: list[int]
    sum_s: float


class GatewayCounts(Protocol):
    """What a gateway counts; each by the labels of the row that reads it."""

    # ruff: noqa: D102 - the rows below say what each means
    @property
    def requests(self) -> Mapping[tuple[str, int], int]: ...
    @property
    def accepted(self) -> Mapping[str, int]: ...
    @property
    def refused(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def acknowledged(self) -> Histogram: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def lists(self) -> Mapping[str, int]: ...
    @property
    def waiting(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...


Values = Iterable[tuple[Sequence[str], float]]


class GatewayRow(NamedTuple):
    """One metric of a gateway's page."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    labels: tuple[str, ...]
    read: Callable[[GatewayCounts], Values]


ACKNOWLEDGED = (
    "streamer_gateway_acknowledge_seconds",
    "From a request's records handed to the sender to the last one's acknowledgement; of requests whose records all were.",
)

GATEWAY: tuple[GatewayRow, ...] = (
    GatewayRow(
        "streamer_gateway_requests_total",
        "counter",
        "Requests answered, by route (`other`: no such page) and HTTP status (499: the client left before its request had come).",
        ("route", "status"),
        lambda c: [((route, str(status)), n) for (route, status), n in dict(c.requests).items()],
    ),
    GatewayRow(
        "streamer_gateway_records_accepted_total",
        "counter",
        "Records that the log acknowledged before their request was answered, by topic.",
        ("topic",),
        lambda c: [((topic,), n) for topic, n in dict(c.accepted).items()],
    ),
    GatewayRow(
        "streamer_gateway_records_refused_total",
        "counter",
        "Records answered as refused, by topic and reason: those of dead letters, and log_refused, log_away, not_sent, not_acknowledged.",
        ("topic", "reason"),
        lambda c: [(labels, n) for labels, n in dict(c.refused).items()],
    ),
    GatewayRow(
        "streamer_gateway_body_bytes_total",
        "counter",
        "Bytes of bodies that were read whole.",
        (),
        lambda c: [((), c.body_bytes)],
    ),
    GatewayRow(
        "streamer_gateway_waiting_requests",
        "gauge",
        "Requests with records between their first byte and their answer: at gateway.requests_waiting_max others are answered 429.",
        (),
        lambda c: [((), c.waiting)],
    ),
    GatewayRow(
        "streamer_gateway_waiting_bytes",
        "gauge",
        "Bytes of the bodies of these: at gateway.waiting_bytes_max others are answered 429.",
        (),
        lambda c: [((), c.waiting_bytes)],
    ),
    GatewayRow(
        "streamer_gateway_lists_total",
        "counter",
        "Lists asked for, by what was found: personal, popular (the user has none), none, error (the store was away).",
        ("outcome",),
        lambda c: [((outcome,), n) for outcome, n in dict(c.lists).items()],
    ),
)


class GatewayCollector(Collector):
    """Reads a gateway's numbers whenever the page is asked for."""

    def __init__(self, counts: GatewayCounts, namespace: str) -> None:
        self._counts = counts
        self._namespace = namespace

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not call ``collect`` to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric, also those that have no sample yet."""
        build = [((__version__, self._namespace), 1.0)]
        yield family("streamer_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "namespace"), build)
        found = self._counts.acknowledged
        yield histogram_family(*ACKNOWLEDGED, found.bounds_s, found.counts, found.sum_s)
        for row in GATEWAY:
            yield family(row.name, row.kind, row.meaning, row.labels, row.read(self._counts))


def metrics_of(namespace: str) -> Callable[[GatewayCounts], MetricsPage]:
    """Makes the page of the counts it is handed."""
    return lambda counts: MetricsPage(GatewayCollector(counts, namespace))
