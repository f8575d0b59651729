"""``streamer traffic`` on real parts: what it says it made is what the log holds and what a worker counts."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import DEADLINE_S, Here, ends, read_events
from line import WITHOUT_ENCODER, Line

from producers.synthetic.broken import REASONS
from streamer.config import load
from streamer.embedded.batches import unpack_headers
from streamer.events.model import DEAD

DEFECTS = ("--late", 0.05, "--duplicate", 0.05, "--broken", 0.05, "--disorder", 0.1, "--bots", 0.1)


def reasons(line: Line) -> Counter[str]:
    """Why each record of ``events.dead`` is there."""
    found: Counter[str] = Counter()
    with contextlib.closing(sqlite3.connect(Path(line.config.log.root) / "log.sqlite")) as database:
        rows = database.execute(
            "SELECT headers, count FROM batches JOIN partitions ON partitions.id = partition_id WHERE topic = ?",
            (line.config.kafka.topic_prefix + DEAD,),
        )
        for packed, count in rows:
            found.update(dict(one)["reason"].decode() for one in unpack_headers(packed, count))
    return found


def counted(line: Line) -> dict[str, Any]:
    """What a worker counts of all that the log holds."""
    assert line.start("worker", "--bounded").end() == 0
    counters: dict[str, Any] = line.snapshot()["counters"]
    return counters


def test_a_worker_counts_what_the_summaries_say(embedded_line: Callable[..., Line]) -> None:
    settings = WITHOUT_ENCODER | {"STREAMER_WINDOWS__LATENESS_MS_MAX": "60000"}
    line = embedded_line(STREAMER_KAFKA__PARTITIONS="3", **settings).create_topics()
    options = ("--configured", "--rate", 2_000, "--users", 300, *DEFECTS, "--without-items")
    past = line.here.json("traffic", *options, "--events", 3_000, "--speed", "max", "--start", "2026-03-29T00:30:00Z")
    live = line.here.json("traffic", *options, "--seconds", 2, "--future", 0.05)
    assert (past["future"], live["future"] > 30, past["refused"], live["refused"]) == (0, True, 0, 0)
    assert min(past["late"], past["duplicate"], live["late"], live["duplicate"]) > 30
    both = {name: past[name] + live[name] for name in ("late", "duplicate", "future")}
    applied, rejected = (Counter(past[name]) + Counter(live[name]) for name in ("applied", "rejected"))
    assert len(rejected) == len(REASONS)
    counters = counted(line)
    assert counters["applied"] == applied
    assert {name: counters[name] for name in ("rejected", "late", "duplicate", "clamped", "lost", "forgotten")} == {
        "rejected": rejected.total(),
        "late": both["late"],
        "duplicate": both["duplicate"],
        "clamped": both["future"],
        "lost": 0,
        "forgotten": 0,
    }
    assert reasons(line) == rejected


@pytest.mark.parametrize("world", ["here", "kafka_here"])
def test_it_goes_onto_the_topics_of_a_namespace(world: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    here: Here = request.getfixturevalue(world)
    options = ("--events", 2_000, "--items", 300, "--start", "2026-11-01T00:00:00Z", "--rate", 50)
    assert "--create-topics" in here.run("traffic", *options, "--namespace", "trial").stderr
    made = here.json("traffic", *options, "--speed", "max", "--namespace", "trial", "--create-topics")
    prefix = {"STREAMER_NAMESPACE": "trial", "STREAMER_KAFKA__TOPIC_PREFIX": "trial."}
    trial = load(None, here.settings | prefix)
    assert (made["target"], made["records"], made["items"]) == ("trial.events", 2_000, 300)
    assert (ends(trial)["events"], ends(trial)["items"]) == (2_000, 300)
    out = tmp_path / "same.jsonl"
    assert here.json("traffic", *options, "--out", out)["target"] == str(out)
    assert sorted(read_events(trial)) == sorted(out.read_bytes().splitlines())  # type: ignore[type-var]


def test_the_command_of_the_summary_makes_the_same_bytes(here: Here, tmp_path: Path) -> None:
    first, again = tmp_path / "first.jsonl.gz", tmp_path / "again.jsonl.gz"
    made = here.json("traffic", "--seconds", 30, "--seed", 2**64 - 1, "--users", 77, "--late", 0.3, "--out", first)
    command = shlex.split(made["command"])
    assert command[:2] == ["streamer", "traffic"]
    assert "--seconds" not in command
    repeated = here.json(*[str(again) if word == str(first) else word for word in command[1:]])
    assert first.read_bytes() == again.read_bytes()
    assert repeated["records"] == made["records"]
    assert made["caution"].startswith("synthetic traffic is for load tests and demonstrations")


def test_a_signal_ends_it_with_its_summary(here: Here) -> None:
    here.json("topics", "create")
    process = here.start("traffic", "--configured", "--rate", 2_000, "--items", 50, "--json")
    deadline = time.monotonic() + DEADLINE_S
    while ends(here.config)["events"] < 500:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, stderr
    made = json.loads(stdout.splitlines()[-1])
    assert made["records"] == ends(here.config)["events"]
    assert made["items"] == ends(here.config)["items"] == 50
    assert abs(made["first_ms"] - time.time() * 1_000) < 60_000
    assert "the same again: streamer traffic --users 10000" in stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "x.jsonl"), "--out to a file needs --events or --seconds"),
        (("--out", "-", "--json", "--events", 5), "both write to stdout"),
        (("--events", 5), "where to? Give --namespace NAMESPACE, --configured"),
        (("--out", "x.jsonl", "--events", 5, "--create-topics"), "with --out there is none"),
        (("--configured", "--speed", "fast"), "speed is 'fast', expected max or a number above 0"),
        (("--configured", "--late", 2), "late is 2.0, expected 0 to 0.5"),
    ],
)
def test_what_cannot_be_made_is_refused(here: Here, options: tuple[object, ...], words: str) -> None:
    refused = here.run("traffic", *options)
    assert refused.exit_code == 2
    assert words in refused.stderr
