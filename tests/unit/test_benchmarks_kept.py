"""Results at size: stages measured one by one come together in one file, and curves become plots that stand by themselves."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks import measured
from benchmarks.drawn import drawn
from benchmarks.kept import Kept
from benchmarks.measured import Curve, Measured

ABOUT: dict[str, object] = {"cpu": "Some CPU", "cores": 2}
SVG = "{http://www.w3.org/2000/svg}"


def measured_of(*values: float, name: str = "fold") -> Measured:
    found = Measured()
    for value in values:
        found.figures.add(name, "us/event", value)
    return found


def test_examples() -> None:
    assert doctest.testmod(measured).failed == 0


def test_a_stage_measured_again_replaces_only_what_it_had_found(tmp_path: Path) -> None:
    kept = Kept(ABOUT, tmp_path)
    kept.put("cost", measured_of(1.0, 3.0, 2.0), {"wall_s": 1})
    kept.put("long", measured_of(7.0, name="long_run"), {})
    kept.write()
    again = Kept(ABOUT | {"load_before": 9.0}, tmp_path)
    again.put("cost", measured_of(5.0, name="fold_1k"), {"wall_s": 2})
    [path] = again.write()
    found = json.loads(path.read_text())
    assert found["medians"] == {"long_run": 7.0, "fold_1k": 5.0}
    assert found["ranges"].keys() == found["units"].keys() == found["repetitions"].keys() == found["medians"].keys()
    assert found["stages"]["cost"]["wall_s"] == 2
    assert found["machine"] == ABOUT | {"load_before": 9.0}
    assert path.name.startswith("full-")


def test_a_ratio_is_of_figures_of_the_same_round() -> None:
    found = Measured()
    for slow, fast in ((8.0, 2.0), (3.0, 1.0), (90.0, 30.0)):
        found.figures.add("slow", "us", slow)
        found.figures.add("fast", "us", fast)
    found.ratio("slow_to_fast", "slow", "fast")
    assert found.ratios == {"slow_to_fast": 3.0}


def test_a_bound_is_told_beside_what_was_measured(tmp_path: Path) -> None:
    found = measured_of(4.0, name="large")
    found.figures.add("small", "us/event", 1.0)
    found.ratio("cost", "large", "small", most=2.0)
    kept = Kept(ABOUT, tmp_path)
    kept.put("cost", found, {})
    assert kept.found["ratios"] == {"cost": 4.0}
    assert kept.found["bounds"] == {"cost": {"measured": 4.0, "bound": 2.0, "ok": False}}
    assert "OVER" in kept.in_words()


def test_a_curve_becomes_a_file_that_shows_every_value_and_name(tmp_path: Path) -> None:
    curve = Curve("Cost & size", "items", "us", ["1 k", "10 k", "100 k"], {"a < b": [1.0, 2.0, 3.0], "c": [2.0, 2.0, 1.0]})
    root = ET.fromstring(drawn(curve))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"Cost & size, us", "a < b", "c", "1 k", "10 k", "100 k"} <= set(texts)
    assert len(list(root.iter(f"{SVG}circle"))) == 6
    kept = Kept(ABOUT, tmp_path)
    kept.put("cost", Measured(curves={"cost_by_items": curve}), {})
    path, plot = kept.write()
    assert plot.name == f"{path.stem}-cost-by-items.svg"
