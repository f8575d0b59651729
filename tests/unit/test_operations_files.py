"""What operators are handed: rules, dashboards and the runbook speak of the same things, and of nothing that there is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from consumers import dashboards, metrics
from consumers.gateway_metrics import ACKNOWLEDGED, GATEWAY
from consumers.metric_rows import ENCODER, HISTOGRAMS
from consumers.watch_rows import ENCODER_GAUGES

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
RULES = (PROMETHEUS / "rules.yml").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", RULES)
RECORDED = re.findall(r"- record: (\S+)", RULES)
NAME = re.compile(r"\bstreamer_[a-z_]+\b")


def known() -> set[str]:
    """Every sample name that code can write."""
    histograms = [row.name for row in HISTOGRAMS] + [ACKNOWLEDGED[0]]
    rows = [row.name for table in (metrics.ROWS, ENCODER, ENCODER_GAUGES, GATEWAY) for row in table]
    return {*rows, *(f"{name}{end}" for name in histograms for end in ("", "_bucket", "_count", "_sum"))}


def panels() -> list[tuple[str, dict[str, Any]]]:
    found = [(path.name, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(GRAFANA.glob("*.json"))]
    return [(name, panel) for name, page in found for panel in page["panels"]]


def test_every_metric_that_rules_dashboards_and_the_runbook_name_is_written_by_code() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (*PROMETHEUS.glob("*.yml"), *GRAFANA.glob("*.json"))}
    texts[ROOT / "docs" / "runbook.md"] = RUNBOOK
    wrong = [f"{path.name}: {name}" for path, text in texts.items() for name in NAME.findall(text) if name not in known()]
    assert wrong == []
    assert {name for text in texts.values() for name in re.findall(r"\bstreamer:[a-z_:0-9]+", text)} <= set(RECORDED)


def test_every_alert_has_a_section_of_its_name_and_a_link_to_it() -> None:
    headings = [line.removeprefix("## ") for line in RUNBOOK.splitlines() if line.startswith("## ")]
    assert headings == ALERTS
    links = re.findall(r"runbook: docs/runbook\.md#(\w+)", RULES)
    assert links == [name.lower() for name in ALERTS]
    for section in RUNBOOK.split("\n## ")[1:]:
        assert [part for part in ("**Means.**", "**Check.**", "**Fix.**") if part not in section] == [], section[:40]


def test_links_within_the_runbook_lead_somewhere() -> None:
    anchors = {name.lower() for name in ALERTS}
    assert set(re.findall(r"\]\(#(\w+)\)", RUNBOOK)) <= anchors
    pages = set(re.findall(r"\]\((\w[\w-]*\.md)\)", RUNBOOK))
    assert [name for name in pages if not (ROOT / "docs" / name).is_file()] == []


def test_the_rules_are_tried_alert_by_alert() -> None:
    tried = (PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8")
    fired = set(re.findall(r'labels: \'ALERTS\{alertname="(\w+)",alertstate="firing"', tried))
    assert fired == set(ALERTS)
    assert all(f'expr: \'ALERTS{{alertname="{name}"' in tried for name in ALERTS)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (on Debian: apt-get install --no-install-recommends prometheus)"
)
@pytest.mark.parametrize("command", [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")])
def test_promtool_accepts(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_are_as_their_panels_say() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in GRAFANA.glob("*.json")} == dashboards.files(), (
        "run: python -m consumers.dashboards"
    )


def test_panels_do_not_overlap_and_each_asks_about_the_namespaces_chosen() -> None:
    taken: set[tuple[str, int, int]] = set()
    for name, panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= dashboards.COLUMNS
        cells = {
            (name, x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel["targets"]:
            assert 'namespace=~"$namespace"' in target["expr"], panel["title"]
            assert "$N" not in target["expr"]
            assert target["legendFormat"], panel["title"]


def test_the_overview_answers_the_four_questions_and_each_drill_down_is_there() -> None:
    titles = {name: {panel["title"] for where, panel in panels() if where == name} for name, _ in panels()}
    assert set(titles) == {
        *("overview.json", "ingest.json", "engine.json", "learning.json"),
        *("redis.json", "snapshots.json", "encoders.json"),
    }
    assert titles["overview.json"] >= {"Alerts", "Freshness", "Learning", "Better than counting"}


LABELS = {
    "namespace",
    "outcome",
    "part",
    "partition",
    "reason",
    "role",
    "route",
    "stage",
    "kind",
    "name",
    "status",
    "stream",
    "table",
    "topic",
    "type",
    "version",
    "method",
}
"""Every label that a metric of ours may have: none of them grows with users, items or what is sent (``route`` is one of eight, ``name`` is
given to the ten providers and the ten categories that are shown most)."""


def test_no_metric_has_a_label_that_grows_with_what_is_sent() -> None:
    labels = {label for table in (metrics.ROWS, ENCODER_GAUGES, GATEWAY) for row in table for label in row.labels}
    assert labels <= LABELS
