"""The benchmarks still run, and keep what they promise to keep."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_quick_run_measures_everything_and_keeps_one_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.iterdir()
    found = json.loads(path.read_text())
    assert path.name.startswith(found["date"])
    assert {"machine", "versions", "ratios", "medians", "quality"} <= found.keys()
    assert found["ratios"].keys() - {"log_poll_fast_client", "whole_line_fast_client"} == {
        "bare_poll_short_wait",
        "log_poll",
        "decode",
        "state_only",
        "fold",
        "whole_line",
        "whole_line_1m",
        "live",
        "latency_p99_ok_at_half_load",
    }
    assert found["ratios"]["latency_p99_ok_at_half_load"] in {0, 1}
    assert found["latency"].keys() == {"10%", "50%", "90%", "50% of catching up"}
    assert all(value > 0 for value in found["medians"].values())
    assert "whole_line" in done.stdout


def test_the_device_benchmark_compares_every_part_with_the_cpu() -> None:
    command = [sys.executable, "-m", "benchmarks.device", "--device", "cpu", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("learner", "catalogue", "texts", "pictures"))]
    assert len(rows) == 5
    for row in rows:
        cpu, device, ratio = (float(figure.replace(",", "")) for figure in row.split()[-3:])
        assert cpu > 0
        assert ratio == pytest.approx(device / cpu, rel=0.1, abs=0.02)


def test_a_device_that_is_not_there_ends_the_benchmark_with_what_is() -> None:
    command = [sys.executable, "-m", "benchmarks.device", "--device", "xpu:7", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'xpu:7'" in done.stderr
    assert "Found: cpu" in done.stderr


def test_a_quick_run_at_size_measures_every_stage_and_draws_its_curves(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.full", "--quick", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert path.name.startswith(f"full-{found['date']}-")
    assert list(found["stages"]) == ["cost", "partitions", "long", "encoders", "snapshot", "start", "memory"]
    assert found["medians"].keys() == found["ranges"].keys() == found["repetitions"].keys() == found["units"].keys()
    timed = {name for name in found["medians"] if not name.startswith(("tables_vectors", "snapshot_restore_turn"))}
    assert all(found["medians"][name] > 0 for name in timed)
    assert found["ratios"].keys() >= {"cost_1k_to_200_items", "cost_1k_to_200_users", "cost_last_to_first_million"}
    assert all(bound["ok"] == (bound["measured"] <= bound["bound"]) for bound in found["bounds"].values())
    drawn = {plot.name.removeprefix(f"{path.stem}-").removesuffix(".svg").replace("-", "_") for plot in tmp_path.glob("*.svg")}
    assert drawn == found["curves"].keys()
    assert "cost_1k_to_200_items" in done.stdout
