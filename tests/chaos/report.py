"""The report of a campaign: figures as JSON, and the same for people."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

RESTORED = re.compile(r": snapshot (\S+), epoch \d+, after ([0-9.]+) s")


def spread(values: list[float]) -> dict[str, float]:
    """Count, median and largest, in seconds."""
    if not values:
        return {"count": 0}
    return {"count": len(values), "p50": round(statistics.median(values), 2), "max": round(max(values), 2)}


def restores_in(logs: list[str]) -> list[float]:
    """Seconds of each restore that a worker's log tells of."""
    return [float(match[2]) for text in logs for match in RESTORED.finditer(text)]


def write(out: Path, figures: dict[str, Any]) -> None:
    """``chaos.json`` and ``chaos.md`` in the folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "chaos.json").write_text(json.dumps(figures, indent=2) + "\n")
    lines = [f"# Chaos campaign, seed {figures['seed']}: {'passed' if not figures['violations'] else 'FAILED'}", ""]
    for name, value in figures.items():
        if name == "plan":
            continue
        if isinstance(value, dict):
            lines += [f"- **{name}**: " + ", ".join(f"{key} {found}" for key, found in value.items())]
        elif isinstance(value, list):
            lines += [f"- **{name}**: {len(value)}", *(f"  - {one}" for one in value[:50])]
        else:
            lines += [f"- **{name}**: {value}"]
    lines += ["", "| at (s) | fault | took (s) |", "|---:|---|---:|"]
    lines += [f"| {one['at_s']} | {one['kind']} | {one['took_s']} |" for one in figures["plan"]]
    (out / "chaos.md").write_text("\n".join(lines) + "\n")
