"""From a sample of every format that recordings come in, through validate, replay and Kafka, to lists in Valkey."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from line import Line, Lists, users_of

from benchmarks.deskdrop import FOLDERS
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


RECORDED = {"rees46": "rees46_user_behavior_sample.csv", "retailrocket": "retailrocket_events_sample.parquet"}
"""Real samples, beside the other recordings where these are."""


def test_samples_of_every_format_go_through_kafka_and_end_as_lists(kafka_line: Callable[..., Line], tmp_path: Path) -> None:
    assert formats_that_end_as_lists(kafka_line, SAMPLES, tmp_path) == {known.name for known in FORMATS}


def test_samples_of_real_shops_go_through_kafka_and_end_as_lists(kafka_line: Callable[..., Line], tmp_path: Path) -> None:
    places = [[root / "samples" / name for name in RECORDED.values()] for root in FOLDERS]
    found = next((paths for paths in places if all(path.is_file() for path in paths)), None)
    if found is None:
        pytest.skip(f"samples of real shops were looked for in {', '.join(str(root / 'samples') for root in FOLDERS)}")
    assert formats_that_end_as_lists(kafka_line, found, tmp_path) == set(RECORDED)


def formats_that_end_as_lists(kafka_line: Callable[..., Line], samples: Iterable[Path], folder: Path) -> set[str]:
    """Plays every sample; the formats that they are told to be in."""
    line = kafka_line(STREAMER_KAFKA__PARTITIONS="2", STREAMER_WINDOWS__LATENESS_MS_MAX=str(AGES_MS)).create_topics()
    formats, sent = set(), 0
    users = set[str]()  # who did something; to those who were only shown something readers give the popular list
    for path in samples:
        valid = line.here.json("validate", path)
        formats.add(valid["files"][0]["format"])
        played = folder / f"sorted-{path.stem}.jsonl"
        assert line.here.run("sort", path, "-o", played).exit_code == 0
        report = line.here.json("replay", played, "--configured")
        assert report["sent"] == report["read"] > 0
        assert report["refused"] == report["malformed"] == 0
        sent += report["sent"]
        users |= users_of(record for record in open_events(path) if b'"type":"impression"' not in record.value)
    assert line.start("worker", "--bounded").end() == 0
    counters = line.snapshot()["counters"]
    assert sum(counters["applied"].values()) == sent
    assert [counters[name] for name in ("rejected", "late", "duplicate", "lost")] == [0, 0, 0, 0]
    with contextlib.closing(Lists(redis_url(line.config), line.config.namespace)) as lists:
        assert lists.users() == users
        assert all(payload["items"] for payload in lists.read(users).values())
    return formats
