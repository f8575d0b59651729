"""Commands that look at a running system, and at what it left: snapshots, doctor, status."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from command import DEADLINE_S, T0, Here, bounds

from consumers import audit
from consumers.compose import committed_offsets, open_admin, open_log, open_snapshots
from consumers.health import HealthServer
from consumers.measurements import Measurements
from consumers.metrics import WorkerCollector
from streamer.config import Config
from streamer.embedded.valkey import ValkeyProcess
from streamer.events.model import INPUT_TOPICS
from streamer.ports import OwnerStatus, TopicPartition
from streamer.snapshots import Manifest, format_metadata, offsets_of, snapshot_name, write_snapshot
from streamer.snapshots.manifest import chunk_file, manifest_file


def draft(config: Config, created_ms: int, parent: str | None, positions: dict[TopicPartition, int]) -> Manifest:
    with contextlib.closing(open_admin(config)) as admin:
        topic_ids = {topic: info.topic_id for topic, info in admin.topics().items() if topic in INPUT_TOPICS}
    return Manifest(
        name=snapshot_name(created_ms, "9f3c02aa"),
        epoch=T0,
        created_ms=created_ms,
        parent=parent,
        topic_ids=topic_ids,
        offsets=offsets_of(positions),
        structural={"head.kind": "bilinear"},
        encoder_fingerprint=None,
        versions={"python": "3.11"},
        head_step=5,
        event_ms=T0,
        position=sum(positions.values()),
        counters={"applied": {"view": 1, "click": 2}, "duplicate": 3},
        order=(("events", 0, 1),),
        chunk_bytes=64,
    )


def commit(config: Config, positions: dict[TopicPartition, int], metadata: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    with contextlib.closing(open_log(config, group=config.group)) as log:
        while log.poll(100, paused=True).generation is None:
            assert time.monotonic() < deadline
        log.seek(positions)
        log.commit(positions, metadata)


@pytest.mark.parametrize("world", ["here", "kafka_here"])
def test_the_latest_snapshot_is_the_one_that_the_committed_offsets_name(world: str, request: pytest.FixtureRequest) -> None:
    here: Here = request.getfixturevalue(world)
    here.json("topics", "create")
    config, store = here.config, open_snapshots(here.config)
    none = here.run("snapshots", "show")
    assert (none.exit_code, "no complete snapshot" in none.stderr) == (1, True)
    positions = {place: 0 for place, _ in bounds(config)}
    fold = {"users": np.arange(100), "items": np.zeros(3, np.float32)}
    older = write_snapshot(store, draft(config, T0, None, positions), fold, {"unpublished": np.ones(4)})
    newer = write_snapshot(store, draft(config, T0 + 10_000, older.name, positions), fold, {})
    guessed = here.run("snapshots", "show", "latest", "--json")
    assert f"warning: group {config.group} has committed no offsets" in guessed.stderr
    assert json.loads(guessed.stdout.splitlines()[-1])["name"] == newer.name
    commit(config, positions, format_metadata(older.name))
    assert {committed.metadata for committed in committed_offsets(config, config.group).values()} == {
        f"streamer/1 {older.name}"
    }
    shown = here.json("snapshots", "show", "latest")
    assert shown["name"] == older.name
    assert (shown["epoch"], shown["head_step"], shown["event_ms"]) == (T0, 5, T0)
    assert shown["counters"] == {"applied": {"view": 1, "click": 2}, "duplicate": 3}
    assert shown["offsets"]["events"] == {"0": 0, "1": 0}
    assert shown["tables"] == {entry.name: entry.sha256 for entry in older.tables if entry.kind == "fold"}
    assert here.json("snapshots", "show", newer.name)["parent"] == older.name
    listed = here.json("snapshots", "list")["snapshots"]
    assert [(one["name"], one["committed"], one["applied"]) for one in listed] == [
        (newer.name, False, 3),
        (older.name, True, 3),
    ]
    assert f"* {older.name}" in here.run("snapshots", "list").stdout


def test_a_snapshot_that_is_not_there_is_named(here: Here) -> None:
    result = here.run("snapshots", "show", "1795485458344-aaaaaaaa")
    assert result.exit_code == 1
    assert "there is no snapshot '1795485458344-aaaaaaaa'" in result.stderr


def test_with_the_log_away_the_newest_snapshot_is_shown_with_a_warning(here: Here) -> None:
    here.json("topics", "create")
    positions = {place: 0 for place, _ in bounds(here.config)}
    written = write_snapshot(open_snapshots(here.config), draft(here.config, T0, None, positions), {}, {})
    away = Here(
        here.settings
        | {
            "STREAMER_LOG__KIND": "kafka",
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
            "STREAMER_KAFKA__REQUEST_TIMEOUT_MS": "500",
        }
    )
    result = away.run("snapshots", "show", "--json")
    assert result.exit_code == 0
    assert "warning: the committed offsets" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["name"] == written.name


def test_a_committed_snapshot_that_is_damaged_or_gone_is_told_by_the_list_and_by_doctor(here: Here) -> None:
    here.json("topics", "create")
    config, store = here.config, open_snapshots(here.config)
    positions = {place: 0 for place, _ in bounds(config)}
    older = write_snapshot(store, draft(config, T0, None, positions), {"users": np.arange(100)}, {})
    newer = write_snapshot(store, draft(config, T0 + 10_000, older.name, positions), {"users": np.arange(200)}, {})
    commit(config, positions, format_metadata(newer.name))
    assert checks(here.run("doctor", "--json"))["committed"] == ["ok"]
    assert here.json("snapshots", "list")["committed_fault"] is None
    last = chunk_file(newer.tables[0].chunks[-1])
    whole = store.get(last)
    store.put(last, bytes([whole[0] ^ 1]) + whole[1:])
    listed = here.run("snapshots", "list")
    assert f"the committed offsets name snapshot {newer.name}, and no worker can start from it" in listed.stderr
    assert last in listed.stderr
    doctor = here.run("doctor", "--json")
    assert (doctor.exit_code, checks(doctor)["committed"]) == (1, ["fail"])
    store.delete(last)
    store.delete(chunk_file(older.tables[0].chunks[0]))
    found = here.json("snapshots", "list")
    assert (found["snapshots"], [one["name"] for one in found["incomplete"]]) == ([], [newer.name, older.name])
    assert checks(here.run("doctor", "--json"))["committed"] == ["fail", "warn"]
    store.delete(manifest_file(newer.name))
    assert "there is no snapshot" in here.json("snapshots", "list")["committed_fault"]


def checks(result: Result) -> dict[str, list[str]]:
    """Levels by check."""
    found: dict[str, list[str]] = {}
    for one in json.loads(result.stdout.splitlines()[-1])["checks"]:
        found.setdefault(one["check"], []).append(one["level"])
    return found


def test_doctor_names_what_is_missing_and_is_content_when_all_is_there(here: Here) -> None:
    before = here.run("doctor", "--json")
    assert before.exit_code == 1
    assert checks(before)["topics"] == ["fail"]
    assert "streamer topics create" in before.stdout
    here.json("topics", "create")
    after = here.run("doctor", "--json")
    found = checks(after)
    assert after.exit_code == 0, after.stdout
    assert {name for name, levels in found.items() if "fail" in levels} == set()
    assert set(found) == {
        "config",
        "versions",
        "log",
        "topics",
        "redis",
        "snapshots",
        "committed",
        "head",
        "encoder",
        "kernels",
        "http",
    }


def test_doctor_looks_at_kafka_and_warns_of_a_server_that_may_drop_lists(kafka_here: Here, tmp_path: Path) -> None:
    kafka_here.json("topics", "create")
    options = {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}
    with contextlib.closing(ValkeyProcess(tmp_path / "evicting", options=options)) as server:
        there = Here(kafka_here.settings | {"STREAMER_REDIS__URL": server.url})
        result = there.run("doctor", "--json")
    assert result.exit_code == 0, result.stdout
    assert checks(result)["redis"] == ["ok", "warn"]
    assert checks(result)["topics"] == ["ok"]
    assert "Valkey 9" in result.stdout
    assert "allkeys-lru" in result.stdout


def test_doctor_fails_where_nothing_answers_and_nothing_can_be_written(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broken = Here(
            here.settings
            | {
                "STREAMER_LOG__KIND": "kafka",
                "STREAMER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
                "STREAMER_KAFKA__REQUEST_TIMEOUT_MS": "500",
                "STREAMER_REDIS__URL": "redis://127.0.0.1:9/0",
                "STREAMER_SNAPSHOTS__ROOT": str(tmp_path / "file"),
                "STREAMER_HEAD__DEVICE": "xpu:7",
                "STREAMER_ENCODER__TEXT_MODEL": "no_such_model",
                "STREAMER_HTTP__PORT": str(taken.getsockname()[1]),
            }
        )
        result = broken.run("doctor", "--json")
    assert result.exit_code == 1
    failed = {name for name, levels in checks(result).items() if "fail" in levels}
    assert failed == {"log", "redis", "snapshots", "head", "encoder", "http"}


def test_a_worker_whose_device_is_not_there_says_so_and_does_not_start(here: Here) -> None:
    here.json("topics", "create")
    ended = Here(here.settings | {"STREAMER_HEAD__DEVICE": "xpu:7"}).run("worker", "--bounded")
    assert ended.exit_code == 1
    assert "head.device is 'xpu:7'" in ended.stderr
    assert "Found: cpu" in ended.stderr
    assert here.json("snapshots", "list")["snapshots"] == []


def test_status_is_asked_of_a_running_worker(here: Here) -> None:
    status = OwnerStatus(
        role="owner",
        namespace="shop",
        epoch=T0,
        generation=1,
        counters={"applied": {"click": 4, "view": 1}, "late": 2},
        offsets={"events": {"0": 5}},
        snapshot=None,
        lag={"events": {"0": 3, "1": 1}},
    )
    collector = WorkerCollector(lambda: (Measurements(), status))
    with contextlib.closing(HealthServer("127.0.0.1", 0, status=lambda: status, collector=collector)) as server:
        asked = Here(here.settings | {"STREAMER_HTTP__PORT": str(server.port)})
        assert asked.json("status")["lag"] == {"events": {"0": 3, "1": 1}}
        assert asked.json("status")["role"] == "owner"
        text = asked.run("status").stdout
        assert "applied: 5 (click 4, view 1)" in text
        assert "lag: 4 records" in text
        assert here.run("status", "--url", f"127.0.0.1:{server.port}").exit_code == 0
        assert checks(asked.run("doctor", "--json"))["http"] == ["ok"]
    unknown = here.run("status")
    assert unknown.exit_code == 1
    assert "http.port is 0" in unknown.stderr


def test_status_says_who_froze_learning_and_that_lists_are_not_written(here: Here) -> None:
    status = OwnerStatus(
        role="owner",
        namespace="shop",
        epoch=T0,
        generation=1,
        counters={},
        offsets={},
        snapshot=None,
        learning={"frozen": {"by": "operator", "name": "ada", "reason": "drift", "since_ms": T0}},
        lists={"unpublished": 7, "written_ms": T0, "errors": 3, "fault": "no route", "fault_ms": T0 + 1},
    )
    standby = OwnerStatus("standby", "shop", None, None, None, {}, None)
    for one, wanted in (
        (
            status,
            ["FROZEN by an operator since 2026-11-24T01:57:38.344Z: drift (ada)", "lists: 7 wait", "NOT WRITTEN", "no route"],
        ),
        (replace(status, learning={"frozen": {"by": "operator"}}), ["FROZEN by an operator, before this worker started"]),
        (replace(status, learning={"frozen": {"by": "skipped blocks"}}), ["FROZEN by itself"]),
        (replace(status, learning={"frozen": None}), ["learning: goes on"]),
        (standby, ["role: standby", "another worker owns the partitions"]),
    ):
        collector = WorkerCollector(lambda: (Measurements(), status))
        with contextlib.closing(HealthServer("127.0.0.1", 0, status=lambda one=one: one, collector=collector)) as server:
            text = here.run("status", "--url", f"127.0.0.1:{server.port}").stdout
        assert [part for part in wanted if part not in text] == [], text
        assert "None" not in text


def test_what_a_verification_folds_again_is_not_said_as_if_it_happened_now(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    class Folding:
        line, warnings = ("a", "b"), ()

        def __init__(self, *_: object) -> None:
            pass

        def run(self, _: object) -> audit.Verdict:
            logging.getLogger("consumers.work").warning("learning is frozen by an operator: %s", "drift")
            return audit.Verdict(records=1, tables=1, differing=(), warnings=())

    monkeypatch.setattr(audit, "Audit", Folding)
    here.json("topics", "create")
    result = here.run("snapshots", "verify", "1795485458344-aaaaaaaa", "1795485458345-aaaaaaaa")
    assert result.exit_code == 0, result.output
    assert "while verifying: learning is frozen by an operator: drift" in result.stderr
    assert [line for line in result.stderr.splitlines() if "frozen" in line and "while verifying" not in line] == []
