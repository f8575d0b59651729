"""Runs followed by TensorBoard and MLflow, from the command and from a worker as people start them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import T0, Here
from line import WITHOUT_ENCODER, Line, wait_until

from producers.formats import Recorded

pytest.importorskip("tensorboard")
accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")


def event(number: int) -> dict[str, Any]:
    user, item = f"u{number % 7}", f"i{number * 3 % 11}"
    return {"event_id": f"e{number}", "type": "click", "user_id": user, "item_id": item, "timestamp": T0 + 1_000 * number}


def read(folder: Path) -> Any:
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def test_a_backtest_tells_its_run(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    recording, out, uri = tmp_path / "events.jsonl", tmp_path / "a-report", (tmp_path / "mlruns").as_uri()
    recording.write_text("".join(json.dumps(event(number)) + "\n" for number in range(300)))
    tracks = ("--track", f"tensorboard:{tmp_path / 'runs'}", "--track", f"mlflow:{uri}")
    done = here.run("backtest", recording, "--out", out, "--methods", "streamer", *tracks)
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text())
    [group] = (tmp_path / "runs").iterdir()
    assert group.name.startswith("a-report-")
    assert [path.name for path in group.iterdir()] == ["streamer"]
    curve = read(group / "streamer").Scalars("over_time/ndcg@10")
    expected = [value for value in report["methods"]["streamer"]["over_time"]["ndcg@10"] if value is not None]
    assert [one.value for one in curve] == pytest.approx(expected)
    assert curve[-1].step == 300
    assert curve[-1].wall_time == report["ran_on"]["last_ms"] / 1_000
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name(group.name).experiment_id])
    [ours] = runs
    assert ours.info.run_name == "streamer"
    assert ours.data.metrics["window_10-100/hr_at_10"] == report["methods"]["streamer"]["windows"]["10-100"]["hr@10"]
    assert ours.data.params["events_sha256"] == report["ran_on"]["events_file"]["sha256"]
    assert {one.path for one in client.list_artifacts(ours.info.run_id)} == {"report.html", "report.json"}


def test_a_tracker_that_is_none_ends_a_backtest_before_it_reads(here: Here, tmp_path: Path) -> None:
    done = here.run("backtest", tmp_path / "nothing", "--out", tmp_path / "out", "--track", "wandb:somewhere")
    assert done.exit_code == 2
    assert "expected tensorboard:FOLDER or mlflow:URI" in done.output


def test_a_worker_tells_its_run(embedded_line: Callable[..., Line], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    settings = {"STREAMER_TRACKING__TENSORBOARD": str(runs), "STREAMER_TRACKING__INTERVAL_MS": "100"}
    line = embedded_line(**WITHOUT_ENCODER, **settings).create_topics()
    events = [event(number) for number in range(200)]
    line.send(
        [Recorded(n, one["user_id"].encode(), json.dumps(one).encode(), one["timestamp"]) for n, one in enumerate(events, 1)]
    )
    worker = line.start("worker")
    worker.wait_applied(200)
    wait_until(lambda: list(runs.glob("*/*/events*")), "event files")
    worker.stop()
    [folder] = runs.glob(f"{line.config.namespace}/epoch-*-generation-*")
    found = read(folder)
    assert found.Scalars("events_applied_total/click")[-1].step == 200
    assert {"quality_recent_ndcg_ratio/live", "head_steps_total"} <= set(found.Tags()["scalars"])
