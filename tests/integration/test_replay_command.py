"""Replay as people run it: killed and gone on with, refused where it was before, where others write, and where it still runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import DEADLINE_S, T0, Here, ends

from consumers.compose import open_admin, open_reader, open_writer
from producers import registration
from producers.checks import check
from streamer.config import Config, load
from streamer.embedded import EmbeddedAdmin
from streamer.embedded.batches import partition_of
from streamer.events.model import EVENTS
from streamer.ports import OutRecord, TopicPartition

EVENTS_COUNT = 8_000
HASTY = "BEAT_S, PATIENCE_S, STILL_S = 0.2, 1.0, 0.5"
"""Signs of life and patience of these tests; a person would wait longer."""
PROCESS = f"from producers import registration; registration.{HASTY.replace(', ', ', registration.', 2)}; from streamer.cli.main import main; main()"

Record = tuple[bytes | None, bytes | None]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BEAT_S", 0.2), ("PATIENCE_S", 1.0), ("STILL_S", 0.5)):
        monkeypatch.setattr(registration, name, value)


@pytest.fixture(params=["kafka_here", "here"])
def world(request: pytest.FixtureRequest) -> Here:
    """A log of either kind."""
    found: Here = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """Eight thousand clicks of fifty users, the same click twice in a row now and then, and some lines that are no events."""
    path = tmp_path / "long.jsonl"
    path.write_text("".join(line + "\n" for line in lines()))
    return path


def lines() -> Iterator[str]:
    for n in range(EVENTS_COUNT):
        at = n - n % 2 if n % 500 < 10 else n
        if n % 997 == 5:
            yield f"no event {n}"
        else:
            yield json.dumps(
                {"type": "click", "user_id": f"u{at * 7 % 50}", "item_id": f"i{at % 70}", "timestamp": T0 + 1_000 * at}
            )


@contextlib.contextmanager
def started(here: Here, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """``streamer replay`` as a process that has little patience, killed at the end if it still runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, "replay", *map(str, arguments)],
        env=environment | here.settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_events(config: Config, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    with contextlib.closing(open_admin(config)) as admin:
        while sum(end for where, (_, end) in admin.bounds().items() if where.topic == EVENTS) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline


def on_the_log(config: Config) -> dict[int, list[Record]]:
    """Every record of the topic of events, a partition."""
    found: dict[int, list[Record]] = {}
    with contextlib.closing(open_admin(config)) as admin, contextlib.closing(open_reader(config)) as reader:
        for where, (offset, end) in admin.bounds().items():
            while where.topic == EVENTS and offset < end:
                batch = reader.read(where, offset, 10_000)
                found.setdefault(where.partition, []).extend(zip(batch.keys, batch.values, strict=True))
                offset = batch.next_offset  # noqa: PLW2901
    return found


def keyed(records: list[Record]) -> list[Record]:
    return [(key, value) for key, value in records if key is not None and key != b"other"]


def put_by_others(config: Config, count: int) -> None:
    with contextlib.closing(open_writer(config)) as writer:
        for n in range(count):
            writer.send(OutRecord(EVENTS, b"other", b"%d" % n, partition=n % 2))


def trial_of(here: Here, name: str = "trial") -> Config:
    return load(None, here.settings | {"STREAMER_NAMESPACE": name, "STREAMER_KAFKA__TOPIC_PREFIX": f"{name}."})


@pytest.mark.parametrize(
    ("world", "kills"), [("kafka_here", (1, EVENTS_COUNT // 2)), ("here", (EVENTS_COUNT // 2,))], indirect=["world"]
)
def test_a_replay_that_is_killed_puts_each_event_onto_the_log_once_in_order(
    world: Here, kills: tuple[int, ...], long_recording: Path
) -> None:
    arguments = (long_recording, "--configured", "--create-topics")
    for reached in kills:
        with started(world, *arguments) as process:
            wait_for_events(world.config, reached, process)
            process.kill()
        put_by_others(world.config, 5)
    report = world.json("replay", *arguments)
    assert report["resumed"] is True
    assert report["landed"] >= EVENTS_COUNT // 2 - 10
    assert (report["landed"] + report["sent"], report["refused"]) == (EVENTS_COUNT, 0)
    recorded = [line.encode() for line in lines()]
    found = on_the_log(world.config)
    for partition in (0, 1):
        wanted = [
            line
            for line in recorded
            if line[:2] != b"no" and partition_of(json.loads(line)["user_id"].encode(), 2) == partition
        ]
        assert [value for _, value in keyed(found[partition])] == wanted
    keyless = [value for records in found.values() for key, value in records if key is None]
    assert sorted(keyless) == sorted(line for line in recorded if line[:2] == b"no")  # type: ignore[type-var]
    refused = world.run("replay", *arguments)
    assert refused.exit_code == 1
    assert f"long.jsonl was played onto {world.config.kafka.topic_prefix}events before (8,000 events, done 20" in refused.stderr


def test_a_recording_goes_into_a_namespace_of_its_own_and_only_once(here: Here, recording: Path) -> None:
    report = here.json("replay", recording)
    own = report["namespace"]
    assert own.startswith("clicks-")
    assert (report["topic"], report["topic_prefix"], report["sent"]) == (f"{own}.events", f"{own}.", 41)
    assert ends(trial_of(here, own))["events"] == 41
    again = here.run("replay", recording, "--json")
    told = json.loads(again.stdout.splitlines()[-1])
    assert (again.exit_code, told["status"]) == (1, 1)
    command = f"STREAMER_NAMESPACE={own} STREAMER_KAFKA__TOPIC_PREFIX={own}. streamer worker --bounded"
    assert command in told["error"]
    assert command in here.run("replay", recording, "--again").stdout
    assert ends(trial_of(here, own))["events"] == 82
    assert here.run("replay", recording).exit_code == 1
    assert here.json("replay", recording, "--from", T0 + 1_000)["namespace"] != own


def test_documents_are_sent_alone_where_the_events_were_played_before(here: Here, recording: Path, items: Path) -> None:
    own = here.json("replay", recording)["namespace"]
    report = here.json("replay", recording, "--items", items)
    assert (report["sent"], report["landed"], report["items"]["sent"]) == (0, 41, 7)
    assert [ends(trial_of(here, own))[topic] for topic in ("events", "items")] == [41, 7]


def test_the_summary_says_what_stream_time_was_covered_and_how_fast(here: Here, recording: Path) -> None:
    shown = here.run("replay", recording).stdout
    assert "stream time 2026-11-24T01:57:38.344Z to 2026-11-24T01:58:17.344Z, " in shown
    assert "times as fast as it happened" in shown


def test_a_live_namespace_is_refused_unless_it_is_named_twice(world: Here, recording: Path) -> None:
    world.json("topics", "create")
    put_by_others(world.config, 3)
    refused = world.run("replay", recording, "--configured")
    assert refused.exit_code == 1
    assert f"{world.config.kafka.topic_prefix}events is live: it holds 3 records that no replay is known to" in refused.stderr
    assert f"--configured --live {world.config.namespace}" in refused.stderr
    assert ends(world.config)["events"] == 3
    assert world.json("replay", recording, "--configured", "--live", world.config.namespace)["sent"] == 41
    assert ends(world.config)["events"] == 44


def test_a_named_namespace_that_others_write_to_is_refused_too_and_one_of_replays_is_not(here: Here, recording: Path) -> None:
    assert here.json("replay", recording, "--namespace", "trial", "--create-topics", "--to", T0 + 10_000)["sent"] == 10
    assert here.json("replay", recording, "--namespace", "trial", "--from", T0 + 10_000)["sent"] == 31
    put_by_others(trial_of(here), 2)
    refused = here.run("replay", recording, "--namespace", "trial")
    assert refused.exit_code == 1
    assert "trial.events is live: it holds 2 records" in refused.stderr
    assert here.json("replay", recording, "--namespace", "trial", "--live", "trial")["sent"] == 41


def test_nothing_is_sent_not_even_items_before_every_file_was_read_to_its_end(here: Here, recording: Path, items: Path) -> None:
    here.json("topics", "create")
    good, whole = recording.read_text(), items.read_text()
    recording.write_text("\n".join(reversed(good.splitlines())) + "\n")
    assert here.run("replay", recording, "--configured", "--items", items).exit_code == 1
    recording.write_text(good)
    items.write_text("")
    assert here.run("replay", recording, "--configured", "--items", items).exit_code == 1
    assert set(ends(here.config).values()) == {0}
    items.write_text(whole)
    assert here.json("replay", recording, "--configured", "--items", items)["items"]["sent"] == 7


def test_a_recording_is_not_played_by_two_processes_at_once_and_goes_on_after_ctrl_c(kafka_here: Here, recording: Path) -> None:
    kafka_here.json("topics", "create")
    with started(kafka_here, recording, "--configured", "--speed", "4", "--json") as process:
        wait_for_events(kafka_here.config, 2, process)
        refused = kafka_here.run("replay", recording, "--configured")
        assert refused.exit_code == 1
        assert "clicks.jsonl is being played onto this topic by another process" in refused.stderr
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, "run the same command again" in err) == (1, True), err
    assert "run the same command again" in json.loads(out.splitlines()[-1])["error"]
    report = kafka_here.json("replay", recording, "--configured")
    assert report["landed"] + report["sent"] == 41
    assert report["landed"] >= 2
    assert ends(kafka_here.config)["events"] == 41


def test_an_interrupted_replay_of_which_the_log_has_lost_records_is_not_gone_on_with(here: Here, recording: Path) -> None:
    here.json("topics", "create")
    with contextlib.closing(EmbeddedAdmin(here.config)) as admin:
        runs = registration.Runs(admin, here.config.group, now_ms=lambda: T0)
        runs.stop(runs.begin(check([recording]), 1))
        put_by_others(here.config, 2)
        admin.trim(TopicPartition(EVENTS, 0), 1)
    refused = here.run("replay", recording, "--configured")
    assert refused.exit_code == 1
    assert "the log has removed records since the replay of clicks.jsonl was interrupted" in refused.stderr
