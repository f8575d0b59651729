"""Grafana's dashboards as files, made from the panels of ``dashboard_flow`` and ``dashboard_state``. ``python -m consumers.dashboards`` writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from consumers.dashboard_flow import ENGINE, INGEST, OVERVIEW
from consumers.dashboard_parts import Dashboard, Panel
from consumers.dashboard_state import ENCODERS, LEARNING, LISTS, SNAPSHOTS

DASHBOARDS = (OVERVIEW, INGEST, ENGINE, LEARNING, LISTS, SNAPSHOTS, ENCODERS)
FOLDER = Path(__file__).parents[1] / "deploy" / "grafana"
COLUMNS = 24
"""Of Grafana's grid."""
STAT_HEIGHT, SERIES_HEIGHT = 4, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard_json(dashboard: Dashboard) -> dict[str, object]:
    """What Grafana imports."""
    return {
        "uid": f"streamer-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.note,
        "tags": ["streamer"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {
                "type": "dashboards",
                "title": "Streamer",
                "tags": ["streamer"],
                "asDropdown": True,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "templating": {"list": _variables()},
        "annotations": {"list": [_alerts(), _drift()]},
        "panels": list(_laid_out(dashboard.panels)),
    }


def _variables() -> list[dict[str, object]]:
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": "label_values(streamer_build_info, namespace)", "refId": "namespace"},
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _alerts() -> dict[str, object]:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Streamer.*",alertstate="firing",namespace=~"$namespace"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{namespace}}",
    }


def _drift() -> dict[str, object]:
    return {
        "name": "Drift",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "orange",
        "expr": 'increase(streamer_drift_alarms_total{namespace=~"$namespace"}[1m]) > 0',
        "titleFormat": "drift: {{stream}}",
        "textFormat": "{{namespace}}",
    }


def _laid_out(panels: tuple[Panel, ...]) -> Iterator[dict[str, object]]:
    """From left to right, a new row where one is full or panels of another height begin."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        wanted = STAT_HEIGHT if panel.kind == "stat" else SERIES_HEIGHT
        if x + panel.width > COLUMNS or (x and wanted != height):
            x, y = 0, y + height
        height = wanted
        yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": height})
        x += panel.width


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, object]:
    defaults: dict[str, object] = {"unit": panel.unit, "noValue": "no data"}
    if panel.steps:
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"value": value, "color": color} for value, color in panel.steps],
        }
        defaults["color"] = {"mode": "thresholds"}
    if panel.words:
        words = {str(value): {"text": text, "index": index} for index, (value, text) in enumerate(panel.words.items())}
        defaults["mappings"] = [{"type": "value", "options": words}]
    if panel.kind == "timeseries":
        defaults |= {"min": 0} if panel.from_zero else {}
        defaults["custom"] = {
            "fillOpacity": 8,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }
        options: dict[str, object] = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "background" if panel.steps else "none",
            "graphMode": "none",
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for n, (legend, expression) in enumerate(panel.queries)
        ],
    }


def files() -> dict[str, str]:
    """Each dashboard by file name."""
    return {f"{one.name}.json": json.dumps(dashboard_json(one), indent=1) + "\n" for one in DASHBOARDS}


def write(folder: Path) -> None:
    """Writes them all to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
