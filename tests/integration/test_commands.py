"""The commands on real parts: an embedded log and a Valkey server, Apache Kafka, and the executable as people start it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import DEADLINE_S, T0, Here, ends, read_events

from consumers.compose import committed_offsets, open_store
from consumers.reader import encode_list, version_text
from streamer.config import Config, load
from streamer.embedded.valkey import ValkeyProcess, running_url
from streamer.events.codec import decode_events
from streamer.events.model import INPUT_TOPICS
from streamer.ports import Reason, RecommendationList, Recommended


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
    missing = here.run("replay", recording, "--configured")
    assert missing.exit_code == 1
    assert "--create-topics" in missing.stderr
    report = here.json("replay", recording, "--items", items, "--configured", "--create-topics")
    assert (report["read"], report["sent"], report["refused"], report["malformed"]) == (41, 41, 0, 1)
    assert report["items"]["sent"] == 7
    assert (ends(here.config)["events"], ends(here.config)["items"]) == (41, 7)
    values = read_events(here.config)
    decoded = decode_events(values)
    assert sorted(decoded.event_ids) == sorted(f"e{n}" for n in range(40))
    assert [values[place] for place, _ in decoded.rejects] == [b"not an event"]


def test_a_replay_takes_the_events_of_an_interval(here: Here, recording: Path) -> None:
    report = here.json("replay", recording, "--from", T0 + 10_000, "--to", "2026-11-24T01:57:58.344Z")
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
    refused = here.run("replay", recording)
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


def test_an_entry_that_explores_bears_its_places_score_and_claims_no_part_of_it(here: Here) -> None:
    new = (Recommended("i8", 1.4, (Reason("new", 0.0, None),)),)
    with contextlib.closing(ValkeyProcess(Path(here.config.redis.root))) as server:
        with contextlib.closing(open_store(here.config, server.url)) as store:
            store.write_lists([b"u1"], [encode_list(RecommendationList("u1", version_text(T0, 7), new, True, 3, T0, T0 + 1))])
        shown = here.run("recommend", "u1", "--explain").stdout.splitlines()
    assert shown[1] == "  1. i8  1.400"
    assert shown[2].split() == [
        "0.00",
        "because",
        "it",
        "is",
        "new",
        "or",
        "rarely",
        "shown,",
        "and",
        "shown",
        "to",
        "learn",
        "about",
        "it",
    ]
    assert len(shown) == 3


def test_a_list_is_shown_as_it_is_served_and_explained(here: Here) -> None:
    with contextlib.closing(ValkeyProcess(Path(here.config.redis.root))) as server:
        put_lists(here.config, server.url)
        own = here.json("recommend", "u1", "--explain")
        assert (own["user_id"], own["personal"], own["head_step"]) == ("u1", True, 3)
        assert own["version"] == version_text(T0, 7)
        assert [item["item_id"] for item in own["items"]] == ["i3", "i4"]
        assert own["items"][0]["why"] == [["co_visit", 0.75, "i0"]]
        assert own["items"][0]["because"] == "because people who had i0 often had it soon after"
        shown = here.run("recommend", "u1", "--explain").stdout.splitlines()
        assert shown[1:5] == [
            "     ++++++++++   1.25 of a score, the largest part on this list",
            "  1. i3  2.000",
            "     ++++++       0.75 because people who had i0 often had it soon after",
            "     ++++++++++   1.25 by all other terms together",
        ]
        stranger = here.json("recommend", "u2")
        assert (stranger["personal"], [item["item_id"] for item in stranger["items"]]) == (False, ["i9"])
        assert "popular list (u2 has none of his own)" in here.run("recommend", "u2").stdout


def test_titles_are_shown_where_item_documents_are_given(here: Here, tmp_path: Path) -> None:
    documents = tmp_path / "titles.jsonl"
    documents.write_text('{"item_id": "i0", "title": "Heat"}\n{"item_id": "i3", "title": "Ronin"}\n{"item_id": "i4"}\n')
    with contextlib.closing(ValkeyProcess(Path(here.config.redis.root))) as server:
        put_lists(here.config, server.url)
        shown = here.run("recommend", "u1", "--explain", "--items", documents).stdout
        assert '  1. i3 "Ronin"  2.000' in shown
        assert 'because people who had "Heat" often had it soon after' in shown
        assert "  2. i4  1.000" in shown
        own = here.json("recommend", "u1", "--items", documents)
        assert [item.get("title") for item in own["items"]] == ["Ronin", None]
        missing = here.run("recommend", "u1", "--items", tmp_path / "nowhere.jsonl")
        assert (missing.exit_code, "cannot be read" in missing.stderr) == (2, True)


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


def test_the_executable_prints_one_line_of_json_last_and_logs_on_stderr(here: Here, recording: Path) -> None:
    out, err = here.start("replay", recording, "--json").communicate(timeout=DEADLINE_S)
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
    here.json("replay", recording, "--items", items, "--configured", "--create-topics")
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
    here.json("replay", recording, "--items", items, "--configured", "--create-topics")
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
