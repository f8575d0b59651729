"""Runs that are followed: what reaches real event files and a real MLflow store, and what a worker tells when."""

from __future__ import annotations

import builtins
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.measurements import Measurements
from consumers.tracking import Tracking, tracked
from streamer.config import Config
from streamer.config.tree import Tracking as Settings
from streamer.ports import OwnerStatus
from streamer.tracking import KINDS, Place, RunTracker, TrackingUnavailable, open_tracker, parsed

T0_MS = 1_795_485_458_344


class Events:
    """What TensorBoard reads of a folder."""

    def __init__(self, folder: Path) -> None:
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        self.read = accumulator.EventAccumulator(str(folder))
        self.read.Reload()

    def scalars(self, tag: str) -> list[tuple[int, float, float]]:
        return [(one.step, one.wall_time, round(one.value, 6)) for one in self.read.Scalars(tag)]

    def text(self, tag: str) -> str:
        return self.read.Tensors(f"{tag}")[0].tensor_proto.string_val[0].decode()


@pytest.fixture
def mlflow_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in files: what the small package has, a server being the large one's."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


def filled(tracker: RunTracker, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>a report</p>")
    tracker.settings({"head.kind": "gated", "seed": 7})
    for step, value in ((100, 0.25), (200, 0.5)):
        tracker.figures({"over_time/ndcg@10": value, "seconds": 1.0}, step=step, at_ms=T0_MS + step)
    tracker.file(report)
    tracker.close()


def test_event_files_hold_settings_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    filled(open_tracker(Place("tensorboard", str(tmp_path / "runs")), "a-group", "streamer"), tmp_path)
    found = Events(tmp_path / "runs" / "a-group" / "streamer")
    assert found.scalars("over_time/ndcg@10") == [(100, (T0_MS + 100) / 1_000, 0.25), (200, (T0_MS + 200) / 1_000, 0.5)]
    assert "| head.kind | gated |" in found.text("settings")


def test_an_mlflow_run_holds_settings_figures_and_files(tmp_path: Path, mlflow_root: str) -> None:
    filled(open_tracker(Place("mlflow", mlflow_root), "a-group", "streamer"), tmp_path)
    client = importlib.import_module("mlflow").MlflowClient(tracking_uri=mlflow_root)
    experiment = client.get_experiment_by_name("a-group")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("streamer", "FINISHED")
    assert run.data.params == {"head.kind": "gated", "seed": "7"}
    history = client.get_metric_history(run.info.run_id, "over_time/ndcg_at_10")
    assert [(one.step, one.timestamp, one.value) for one in history] == [(100, T0_MS + 100, 0.25), (200, T0_MS + 200, 0.5)]
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_an_mlflow_server_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingUnavailable, match=r"no run can be begun at http://user:\*\*\*@127.0.0.1:9: "):
        open_tracker(Place("mlflow", "http://user:secret@127.0.0.1:9"), "a-group", "streamer")


@pytest.mark.parametrize("text", ["tensorboard", "tensorboard:", "wandb:x", ""])
def test_what_names_no_tracker_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected tensorboard:FOLDER or mlflow:URI"):
        parsed(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_that_is_missing_is_named_with_its_extra(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == kind:
            raise ImportError(f"No module named {name!r}")
        return imported(name, *arguments, **named)

    for module in [name for name in sys.modules if name.startswith(("streamer.tracking.", f"{kind}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", missing)
    config = msgspec.structs.replace(Config(), tracking=Settings(**{kind: "somewhere"}))
    with pytest.raises(TrackingUnavailable, match=rf"pip install 'streamer\[{kind}\]'"), tracked(config, reading, Now()):
        pass


class Now:
    def now_ms(self) -> int:
        return T0_MS

    def monotonic_s(self) -> float:
        return 0.0


def reading(role: str = "owner", generation: int = 3, clicks: int = 40) -> tuple[Measurements, OwnerStatus]:
    sums = {"judged": 8.0, "hits": 4.0, "ndcg": 2.0, "mrr": 1.0, "recent_ndcg": 0.3}
    measured = Measurements(quality={"live": sums}, head_steps=5)
    applied = {"click": clicks, "view": 2}
    counters = {"applied": applied} | dict.fromkeys(
        ("duplicate", "late", "rejected", "lost", "clamped", "capped", "forgotten"), 0
    )
    return measured, OwnerStatus(role, "shop", 1, generation, counters, {}, "a-snapshot")


class Trying:
    """A worker's tracking whose role and generation the test sets."""

    def __init__(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorboard")
        self.now = reading()
        self.root = tmp_path / "runs"
        self.tracking = Tracking(Config(namespace="shop"), [Place("tensorboard", str(self.root))], lambda: self.now, Now())

    def runs(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("shop/*"))


def test_an_owner_tells_how_it_learns_by_events_applied(tmp_path: Path) -> None:
    trying = Trying(tmp_path)
    trying.tracking.turn()
    trying.now = reading(clicks=50)
    trying.tracking.turn()
    trying.tracking.close()
    found = Events(trying.root / "shop" / "epoch-1-generation-3")
    assert [step for step, *_ in found.scalars("quality_recent_ndcg_ratio/live")] == [42, 52]
    assert found.scalars("quality_hit_ratio/live")[0][2] == 0.5
    assert found.scalars("head_steps_total")[0][2] == 5
    assert "| snapshot | a-snapshot |" in found.text("settings")


def test_a_standby_tells_nothing_and_each_generation_is_a_run(tmp_path: Path) -> None:
    trying = Trying(tmp_path)
    trying.now = reading("standby")
    trying.tracking.turn()
    assert trying.runs() == []
    for generation in (3, 5):
        trying.now = reading(generation=generation)
        trying.tracking.turn()
    trying.tracking.close()
    assert trying.runs() == ["epoch-1-generation-3", "epoch-1-generation-5"]


def test_a_tracker_that_fails_is_said_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trying = Trying(tmp_path)
    trying.root.write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            trying.tracking.turn()
    assert len(caplog.messages) == 1
    assert "learning goes on" in caplog.messages[0]
    trying.root.unlink()
    trying.tracking.turn()
    trying.tracking.close()
    assert trying.runs() == ["epoch-1-generation-3"]


def test_without_a_place_nothing_is_started() -> None:
    with tracked(Config(), reading, Now()):
        assert "tracking" not in {thread.name for thread in importlib.import_module("threading").enumerate()}
