"""A real Prometheus on real processes under load: no panel and no alert asks for what is not there."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from line import Line, movielens_events, movielens_items, wait_until
from prometheus_server import RULES, Prometheus, free_port, needs_prometheus

from consumers.dashboards import DASHBOARDS
from producers.formats import Recorded
from streamer.events.model import ITEMS
from streamer.ranking.exposure import NAMED_MAX

SELECTED = re.compile(r"streamer_[a-z_]+(\{[^}]*\})?")
CARDINALITY_MAX = 520
"""Samples of a worker's page, the process's own among them, as docs/metrics.md says."""
EVENTS_A_TURN = 300


def panel_queries() -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for _, query in panel.queries:
                filled = query.replace("$namespace", ".*").replace("$__rate_interval", "10s")
                yield f"{dashboard.name}: {panel.title}: {filled}", filled


def answer(request: str | urllib.request.Request) -> int:
    """The HTTP status."""
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            reply.read()
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def with_provider(n: int, item: Recorded) -> Recorded:
    """The document, as of one of more providers than are named."""
    return item._replace(value=json.dumps(json.loads(item.value or b"") | {"provider": f"p{n % (2 * NAMED_MAX)}"}).encode())


class Load:
    """Events onto the log and through a gateway, some of them bad, and readers, until closed."""

    def __init__(self, line: Line, gateway: int) -> None:
        self._line = line
        self._gateway = f"http://127.0.0.1:{gateway}/v1"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        events, items = movielens_events(), [with_provider(n, one) for n, one in enumerate(movielens_items())]
        for turn in range(len(events) // EVENTS_A_TURN):
            part = events[turn * EVENTS_A_TURN : (turn + 1) * EVENTS_A_TURN]
            self._line.send(part[30:])
            self._line.send(items[turn : turn + 1], ITEMS)
            posted = b"".join(record.value + b"\n" for record in part[:30] if record.value) + b"no event\n"
            headers = {"Content-Type": "application/x-ndjson"}
            assert answer(urllib.request.Request(f"{self._gateway}/events", posted, headers)) == 207
            user = json.loads(part[0].value or b"")["user_id"]
            assert answer(f"{self._gateway}/recommendations/{user}") in {200, 404}  # 404: not even popular items yet
            if self._stop.wait(0.3):
                return

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def unanswered(prometheus: Prometheus) -> list[str]:
    """Panels without a number."""
    return [what for what, query in panel_queries() if not any(map(math.isfinite, prometheus.values(query)))]


@needs_prometheus
def test_every_panel_and_every_alert_has_data_under_load_and_series_are_bounded(
    embedded_line: Callable[..., Line], tmp_path: Path
) -> None:
    """The worker holds its encoder: what a process of its own shows is the same, and a standby shows its role and little else."""
    ports = {name: free_port() for name in ("worker", "gateway")}
    line = embedded_line().create_topics()
    with contextlib.ExitStack() as stack:
        worker = line.start("worker", STREAMER_HTTP__PORT=str(ports["worker"]))
        worker.wait_role("owner")
        gateway = line.start("gateway", STREAMER_GATEWAY__PORT=str(ports["gateway"]))
        prometheus = stack.enter_context(
            contextlib.closing(Prometheus(tmp_path / "prometheus", {line.config.namespace: ports.values()}))
        )
        gateway.wait(lambda: answers(ports["gateway"]), "the gateway answers")
        stack.enter_context(contextlib.closing(Load(line, ports["gateway"])))
        missing: list[str] = []

        def nothing_missing() -> bool:
            missing[:] = unanswered(prometheus)
            return not missing

        with contextlib.suppress(AssertionError):
            wait_until(nothing_missing, "every panel has data", deadline_s=60)
        assert missing == []
        rules = RULES.read_text().replace(',status=~"429|5.."', "")  # of requests, those alone are counted that there were
        selected = {found[0] for found in SELECTED.finditer(rules)}
        assert len(selected) > 15
        assert [one for one in sorted(selected) if not prometheus.values(f"last_over_time({one}[30s])")] == []
        assert set(prometheus.alerts()) <= {"StreamerNoStandby", "StreamerDeadLetters"}
        assert not any("error" in text for texts in prometheus.annotations() for text in texts.values())
        named = "count by (kind) (streamer_exposure_ratio)"
        wait_until(lambda: prometheus.values(named) == [NAMED_MAX + 1] * 2, "providers and categories are named", deadline_s=60)
        (most,) = prometheus.values("max(scrape_samples_scraped)")
        assert most <= CARDINALITY_MAX, most


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return answer(f"http://127.0.0.1:{port}/readyz") == 200
    return False
