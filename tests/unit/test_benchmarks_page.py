"""docs/benchmarks.md against the results that it names: every figure is the one that was measured, every plot is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.full import STAGES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"
THROUGHPUT, SIZE, SOAK = "Throughput, latency, quality", "At size", "Soak"


def section(title: str) -> str:
    """From a heading to the next one of its kind."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def results(title: str) -> dict[str, Any]:
    """The file that the section's figures are from."""
    named = re.search(r"\]\(\.\./benchmarks/results/(\S+\.json)\)", section(title))
    assert named, title
    found: dict[str, Any] = json.loads((RESULTS / named[1]).read_text(encoding="utf-8"))
    return found


def rows(title: str) -> dict[str, list[str]]:
    """Cells behind each name in the section's tables."""
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", section(title), flags=re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in lines}


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize("title", [THROUGHPUT, SIZE])
def test_every_median_and_range_is_the_one_that_was_measured(title: str) -> None:
    found, told = results(title), rows(title)
    assert found["medians"].keys() <= told.keys()
    for name, median in found["medians"].items():
        shown, extent, unit, times = told[name][:4]
        low, high = map(number, extent.split(" to "))
        assert number(shown) == pytest.approx(median, rel=1e-3), name
        assert (low, high) == pytest.approx(tuple(found["ranges"][name]), rel=1e-3), name
        assert (unit, int(times)) == (found["units"][name], found["repetitions"][name]), name


def test_every_bound_is_told_with_whether_it_holds() -> None:
    found = results(SIZE)
    told = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| (\S+) \|$", section(SIZE), flags=re.MULTILINE))
    assert told == {name: "within" if bound["ok"] else "**over**" for name, bound in found["bounds"].items()}


def test_every_stage_was_measured() -> None:
    assert results(SIZE)["stages"].keys() == STAGES.keys()


@pytest.mark.parametrize("title", [SIZE, SOAK])
def test_every_plot_is_shown(title: str) -> None:
    shown = re.findall(r"!\[[^\]]+\]\(\.\./benchmarks/results/(\S+\.svg)\)", section(title))
    assert all((RESULTS / plot).is_file() for plot in shown)
    assert len(shown) == len(results(title)["curves"])


def test_each_third_of_the_soak_is_told() -> None:
    lines = re.findall(r"^\| (?:first|second|last) \|(.*)\|$", section(SOAK), flags=re.MULTILINE)
    told = [[number(cell) for cell in line.split("|")] for line in lines]
    assert told == [list(third.values()) for third in results(SOAK)["stages"]["soak"]["thirds"]]
