"""From a sample of every format that recordings come in, through validate, replay and Kafka, to lists in Valkey."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from line import Line, Lists, users_of

from consumers.compose import redis_url
from producers.formats import FORMATS, open_events

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "formats"
SAMPLES = sorted(
    path
    for path in FOLDER.iterdir()
    if not path.name.endswith(".expected.json") and not any(part in path.name for part in ("-broken", "-items"))
)
AGES_MS = 40 * 365 * 86_400_000
"""The samples are decades apart; none may make another late."""


def test_samples_of_every_format_go_through_kafka_and_end_as_lists(kafka_line: Callable[..., Line], tmp_path: Path) -> None:
    line = kafka_line(STREAMER_KAFKA__PARTITIONS="2", STREAMER_WINDOWS__LATENESS_MS_MAX=str(AGES_MS)).create_topics()
    formats, sent = set(), 0
    users = set[str]()  # who did something; to those who were only shown something readers give the popular list
    for path in SAMPLES:
        valid = line.here.json("validate", path)
        formats.add(valid["files"][0]["format"])
        played = tmp_path / f"sorted-{path.stem}.jsonl"
        assert line.here.run("sort", path, "-o", played).exit_code == 0
        report = line.here.json("replay", played, "--configured")
        assert report["sent"] == report["read"] > 0
        assert report["refused"] == report["malformed"] == 0
        sent += report["sent"]
        users |= users_of(record for record in open_events(path) if b'"type":"impression"' not in record.value)
    assert formats == {known.name for known in FORMATS}
    assert line.start("worker", "--bounded").end() == 0
    counters = line.snapshot()["counters"]
    assert sum(counters["applied"].values()) == sent
    assert [counters[name] for name in ("rejected", "late", "duplicate", "lost")] == [0, 0, 0, 0]
    with contextlib.closing(Lists(redis_url(line.config), line.config.namespace)) as lists:
        assert lists.users() == users
        assert all(payload["items"] for payload in lists.read(users).values())
