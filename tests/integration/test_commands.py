"""The commands on real parts: an embedded log and a Valkey server, Apache Kafka, and the executable as people start it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from consumers.compose import committed_offsets, open_admin, open_log, open_snapshots, open_store
from consumers.health import HealthServer
from consumers.measurements import Measurements
from consumers.metrics import WorkerCollector
from consumers.reader import encode_list, version_text
from streamer.cli.main import main
from streamer.config import Config, load
from streamer.embedded.valkey import ValkeyProcess, running_url
from streamer.events.codec import decode_events
from streamer.events.model import EVENTS, INPUT_TOPICS
from streamer.ports import OwnerStatus, Reason, RecommendationList, Recommended, TopicPartition
from streamer.snapshots import Manifest, format_metadata, offsets_of, snapshot_name, write_snapshot

EXECUTABLE = Path(sys.executable).parent / "streamer"
DEADLINE_S = 120.0
T0 = 1_795_485_458_344


class Here:
    """The command with settings of one test: in this process, or as the executable."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.config: Config = load(None, settings)

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(main, [str(one) for one in arguments], env=self.settings)

    def json(self, *arguments: object) -> Any:
        """What --json says; the command must succeed."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.splitlines()[-1])

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
        return subprocess.Popen(
            [EXECUTABLE, *map(str, arguments)],
            env=environment | self.settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """An embedded log, and all folders in the test's own."""
    settings = {
        "STREAMER_NAMESPACE": "shop",
        "STREAMER_LOG__KIND": "embedded",
        "STREAMER_LOG__ROOT": str(tmp_path / "log"),
        "STREAMER_KAFKA__PARTITIONS": "2",
        "STREAMER_REDIS__ROOT": str(tmp_path / "valkey"),
        "STREAMER_SNAPSHOTS__ROOT": str(tmp_path / "snapshots"),
        "STREAMER_ENCODER__CACHE_ROOT": str(tmp_path / "vectors"),
        "STREAMER_HTTP__PORT": "0",
    }
    return Here(settings)


@pytest.fixture
def kafka_here(here: Here, kafka_config: Callable[..., Config]) -> Here:
    """The same on the session's broker."""
    config = kafka_config()
    return Here(
        here.settings
        | {
            "STREAMER_NAMESPACE": config.namespace,
            "STREAMER_LOG__KIND": "kafka",
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
            "STREAMER_KAFKA__TOPIC_PREFIX": config.kafka.topic_prefix,
        }
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Forty clicks of four users, a second apart, and one line that is no event."""
    events = [
        {"event_id": f"e{n}", "type": "click", "user_id": f"u{n % 4}", "item_id": f"i{n % 7}", "timestamp": T0 + 1_000 * n}
        for n in range(40)
    ]
    path = tmp_path / "clicks.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + "not an event\n")
    return path


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"item_id": f"i{n}", "title": f"Item number {n}"}) + "\n" for n in range(7)))
    return path


def ends(config: Config) -> dict[str, int]:
    """Records a topic."""
    with contextlib.closing(open_admin(config)) as admin:
        found: dict[str, int] = {}
        for (topic, _), (_, end) in admin.bounds().items():
            found[topic] = found.get(topic, 0) + end
    return found


def read_events(config: Config) -> list[bytes | None]:
    """All values of the topic of events, read by a group of this test."""
    deadline = time.monotonic() + DEADLINE_S
    with contextlib.closing(open_log(config, group="reading", topics=[EVENTS])) as log:
        while log.poll(100).generation is None:
            assert time.monotonic() < deadline
        log.seek({place: 0 for place, _ in bounds(config) if place.topic == EVENTS})
        wanted, values = ends(config)[EVENTS], []
        while len(values) < wanted:
            assert time.monotonic() < deadline
            values += [value for batch in log.poll(100).batches for value in batch.values]
    return values


def bounds(config: Config) -> list[tuple[TopicPartition, tuple[int, int]]]:
    with contextlib.closing(open_admin(config)) as admin:
        return list(admin.bounds().items())


@pytest.mark.parametrize("world", ["here", "kafka_here"])
def test_topics_are_checked_made_once_and_found(world: str, request: pytest.FixtureRequest) -> None:
    here: Here = request.getfixturevalue(world)
    before = here.run("topics", "check", "--json")
    assert before.exit_code == 1
    assert json.loads(before.stdout.splitlines()[-1])["missing"] == [*INPUT_TOPICS, "events.dead"]
    assert "streamer topics create" in before.stderr
    assert here.json("topics", "create") == {"created": [*INPUT_TOPICS, "events.dead"], "existing": []}
    assert here.json("topics", "create") == {"created": [], "existing": [*INPUT_TOPICS, "events.dead"]}
    found = here.json("topics", "check")
    assert found["missing"] == []
    assert found["topics"]["events"]["partitions"] == 2
    assert found["topics"]["control"]["partitions"] == 1


@pytest.mark.parametrize("world", ["here", "kafka_here"])
def test_a_recording_goes_onto_the_log_with_its_items(
    world: str, recording: Path, items: Path, request: pytest.FixtureRequest
) -> None:
    here: Here = request.getfixturevalue(world)
    missing = here.run("replay", recording)
    assert missing.exit_code == 1
    assert "--create-topics" in missing.stderr
    report = here.json("replay", recording, "--items", items, "--create-topics")
    assert (report["read"], report["sent"], report["refused"], report["malformed"]) == (41, 41, 0, 1)
    assert report["items"]["sent"] == 7
    assert (ends(here.config)["events"], ends(here.config)["items"]) == (41, 7)
    values = read_events(here.config)
    decoded = decode_events(values)
    assert sorted(decoded.event_ids) == sorted(f"e{n}" for n in range(40))
    assert [values[place] for place, _ in decoded.rejects] == [b"not an event"]


def test_a_replay_takes_the_events_of_an_interval(here: Here, recording: Path) -> None:
    report = here.json("replay", recording, "--create-topics", "--from", T0 + 10_000, "--to", "2026-11-24T01:57:58.344Z")
    assert (report["sent"], report["outside"]) == (10, 31)
    assert (report["first_ms"], report["last_ms"]) == (T0 + 10_000, T0 + 19_000)


def test_a_namespace_has_topics_of_its_own(here: Here, recording: Path) -> None:
    here.json("topics", "create")
    refused = here.run("replay", recording, "--namespace", "trial")
    assert refused.exit_code == 1
    assert "STREAMER_KAFKA__TOPIC_PREFIX='trial.' streamer topics create" in refused.stderr
    assert here.json("replay", recording, "--namespace", "trial", "--create-topics")["topic"] == "trial.events"
    assert ends(here.config)["events"] == 0
    trial = load(None, here.settings | {"STREAMER_NAMESPACE": "trial", "STREAMER_KAFKA__TOPIC_PREFIX": "trial."})
    assert ends(trial)["events"] == 41


def test_files_that_cannot_be_replayed_end_with_their_exit_status(here: Here, tmp_path: Path) -> None:
    here.json("topics", "create")
    empty, unknown = tmp_path / "empty.jsonl", tmp_path / "unknown.txt"
    empty.write_text("")
    unknown.write_text("a,b\n1,2\n")
    for path, status, words in (
        (empty, 1, "is empty"),
        (unknown, 1, "no known format"),
        (tmp_path / "nowhere.jsonl", 2, "cannot be read"),
    ):
        result = here.run("replay", path)
        assert (result.exit_code, words in result.stderr) == (status, True), result.stderr
        assert "Traceback" not in result.stderr
    assert ends(here.config)["events"] == 0


def test_a_recording_out_of_order_is_refused_and_goes_after_sort(here: Here, recording: Path, tmp_path: Path) -> None:
    lines = recording.read_text().splitlines()[:40]
    recording.write_text("\n".join(reversed(lines)) + "\n")
    refused = here.run("replay", recording, "--create-topics")
    assert refused.exit_code == 1
    assert f"streamer sort {recording}" in refused.stderr
    assert here.run("sort", recording, "-o", tmp_path / "sorted.jsonl").exit_code == 0
    assert here.json("replay", tmp_path / "sorted.jsonl")["sent"] == 40


def payload(user_id: str, *item_ids: str) -> bytes:
    why = (Reason("co_visit", 0.75, "i0"),)
    entries = tuple(Recommended(item_id, 2.0 - place, why) for place, item_id in enumerate(item_ids))
    return encode_list(RecommendationList(user_id, version_text(T0, 7), entries, True, 3, T0, T0 + 1))


def put_lists(config: Config, url: str) -> None:
    with contextlib.closing(open_store(config, url)) as store:
        store.write_lists([b"u1"], [payload("u1", "i3", "i4")])
        store.write_shared("popular", payload("", "i9"))


def test_a_list_is_shown_as_it_is_served_and_explained(here: Here) -> None:
    with contextlib.closing(ValkeyProcess(Path(here.config.redis.root))) as server:
        put_lists(here.config, server.url)
        own = here.json("recommend", "u1", "--explain")
        assert (own["user_id"], own["personal"], own["head_step"]) == ("u1", True, 3)
        assert own["version"] == version_text(T0, 7)
        assert [item["item_id"] for item in own["items"]] == ["i3", "i4"]
        assert own["items"][0]["why"] == [["co_visit", 0.75, "i0"]]
        assert own["items"][0]["because"] == "because people who chose i0 chose it later"
        shown = here.run("recommend", "u1", "--explain").stdout
        assert "  1. i3  2.000\n     because people who chose i0 chose it later" in shown
        stranger = here.json("recommend", "u2")
        assert (stranger["personal"], [item["item_id"] for item in stranger["items"]]) == (False, ["i9"])
        assert "popular list (u2 has none of his own)" in here.run("recommend", "u2").stdout


def test_lists_of_an_embedded_worker_that_ended_are_still_read(here: Here) -> None:
    nothing = here.run("recommend", "u1")
    assert nothing.exit_code == 1
    assert "no Valkey server runs" in nothing.stderr
    root = Path(here.config.redis.root)
    with contextlib.closing(ValkeyProcess(root)) as server:
        put_lists(here.config, server.url)
    assert here.json("recommend", "u1")["personal"] is True
    assert running_url(root) is None


def test_a_user_without_any_list_is_told_so(here: Here) -> None:
    with contextlib.closing(ValkeyProcess(Path(here.config.redis.root))):
        result = here.run("recommend", "nobody")
    assert result.exit_code == 1
    assert "neither a list of user 'nobody' nor a popular one" in result.stderr


def test_a_store_that_is_away_ends_with_1_and_what_to_check(here: Here) -> None:
    away = Here(here.settings | {"STREAMER_REDIS__URL": "redis://:secret@127.0.0.1:9/0"})
    result = away.run("recommend", "u1")
    assert result.exit_code == 1
    assert "redis.url" in result.stderr
    assert "secret" not in result.stderr


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
    assert "1795485458344-aaaaaaaa.json: expected a manifest, found no such file" in result.stderr


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
    assert set(found) == {"config", "versions", "log", "topics", "redis", "snapshots", "encoder", "kernels", "http"}


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
                "STREAMER_ENCODER__TEXT_MODEL": "no_such_model",
                "STREAMER_HTTP__PORT": str(taken.getsockname()[1]),
            }
        )
        result = broken.run("doctor", "--json")
    assert result.exit_code == 1
    failed = {name for name, levels in checks(result).items() if "fail" in levels}
    assert failed == {"log", "redis", "snapshots", "encoder", "http"}


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


def test_the_executable_prints_one_line_of_json_last_and_logs_on_stderr(here: Here, recording: Path) -> None:
    out, err = here.start("replay", recording, "--create-topics", "--json").communicate(timeout=DEADLINE_S)
    assert json.loads(out.splitlines()[-1])["sent"] == 41
    assert "line 41 is no event and was sent as it is" in err
    assert "producers.replay" in err
    assert "producers.replay" not in out


def test_help_of_the_executable_comes_at_once(here: Here) -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        out, _ = here.start("--help").communicate(timeout=DEADLINE_S)
        seconds.append(time.monotonic() - started)
        assert "worker" in out
    assert min(seconds) < 1.0  # 0.1 s on an idle machine; torch or numba would take more than 1 s on any


def test_the_encoder_writes_vectors_until_sigterm(here: Here, items: Path, recording: Path) -> None:
    here.json("replay", recording, "--items", items, "--create-topics")
    process = here.start("encoder")
    try:
        deadline = time.monotonic() + DEADLINE_S
        while ends(here.config)["items.vectors"] < 7:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "SIGTERM: stopping" in err
    assert "encoder worker stopped" in err
    committed = committed_offsets(here.config, here.config.encoder_group)
    assert sum(one.next_offset for one in committed.values()) == 7


def test_events_become_lists_and_a_snapshot_by_the_commands_alone(here: Here, items: Path, recording: Path) -> None:
    here.json("replay", recording, "--items", items, "--create-topics")
    process = here.start("worker", "--bounded")
    _, err = process.communicate(timeout=DEADLINE_S * 2)
    assert process.returncode == 0, err
    snapshot = here.json("snapshots", "show", "latest")
    assert snapshot["counters"]["applied"]["click"] == 40
    assert snapshot["counters"]["rejected"] == 1
    assert sum(snapshot["offsets"]["events"].values()) == 41
    own = here.json("recommend", "u1", "--explain")
    assert own["personal"] is True
    assert own["items"]
