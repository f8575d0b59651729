"""``streamer snapshots verify``: snapshots of real workers, and all that keeps them from being verified."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import Result
from command import Here
from line import Line, movielens_events, movielens_items

from consumers.compose import open_snapshots, open_writer
from consumers.runtime import run_worker
from producers.replay import replay_records
from streamer.embedded import EmbeddedAdmin
from streamer.events.model import EVENTS, ITEMS
from streamer.ports import TopicPartition
from streamer.snapshots import FORMAT, Manifest, lineage, list_snapshots, read_manifest, read_snapshot, write_snapshot
from streamer.snapshots.manifest import chunk_file, encode_manifest, manifest_file

LIVE_EVENTS = 12_000
PART = 300
SINCE_5 = {"belonging", "providers", "categories", "exposed"}
"""Groups of tables that format 4 lacks."""


def send(here: Here, first: int, count: int) -> None:
    """Events of a real recording; one is none, and there is an item document in each part."""
    with contextlib.closing(open_writer(here.config)) as writer:
        report = replay_records(movielens_events()[first : first + count], writer, topic=EVENTS)
        replay_records([movielens_items()[first]], writer, topic=ITEMS)
        replay_records([movielens_events()[first]._replace(value=b"{")], writer, topic=EVENTS)
    assert report.sent == count


def grown(here: Here, parts: int = 3) -> list[str]:
    """Snapshots of so many bounded runs, each after another part of the log; oldest first."""
    here.json("topics", "create")
    for part in range(parts):
        send(here, part * PART, PART)
        run_worker(here.config, threading.Event(), bounded=True)
    return [manifest.name for manifest in reversed(list_snapshots(open_snapshots(here.config)))]


def verified(here: Here, *names: str) -> tuple[Result, dict[str, Any]]:
    result = here.run("snapshots", "verify", *names, "--json")
    return result, json.loads(result.stdout.splitlines()[-1]) if result.stdout else {}


def rewritten(here: Here, name: str, **fields: object) -> Manifest:
    """A manifest with other fields, in the place of the former one."""
    store = open_snapshots(here.config)
    manifest = msgspec.structs.replace(read_manifest(store, name), **fields)
    store.put(manifest_file(name), encode_manifest(manifest))
    return manifest


def tampered(here: Here, name: str, table: str) -> None:
    """One bit of one table is another, and all hashes are those of that."""
    store = open_snapshots(here.config)
    manifest, fold, publisher = read_snapshot(store, name)
    fold[table].reshape(-1).view("u1")[0] ^= 1
    write_snapshot(store, manifest, fold, publisher)


@pytest.fixture
def line_of(here: Here) -> list[str]:
    return grown(here)


def test_what_the_log_makes_of_a_snapshot_is_equal_and_what_was_changed_is_named(here: Here, line_of: list[str]) -> None:
    first, second, third = line_of
    result, said = verified(here, first, third)
    assert result.exit_code == 0, result.output
    assert (said["equal"], said["differing"], said["records"]) == (True, [], 2 * (PART + 2))
    assert "equal bit for bit" in result.stdout
    assert verified(here, second)[1]["records"] == PART + 2  # to the latest
    assert verified(here, first, first)[1]["records"] == 0

    tampered(here, third, "head.bias_I")
    result, said = verified(here, second, third)
    assert (result.exit_code, said["equal"], said["differing"]) == (1, False, ["head.bias_I"])
    assert "head.bias_I differs" in result.stdout
    assert "is NOT what the log makes of it: 1 of " in result.stdout
    assert verified(here, third, third)[1]["equal"]  # nothing lies between


def test_a_snapshot_that_lies_about_its_parent_differs(here: Here, line_of: list[str]) -> None:
    tampered(here, line_of[1], "counters")
    assert verified(here, line_of[1], line_of[2])[1]["differing"] == ["counters"]


def made_old(here: Here, name: str, number: int) -> None:
    """The snapshot as an earlier release wrote it: a journal with links, and in format 4 no providers."""
    store = open_snapshots(here.config)
    manifest, fold, publisher = read_snapshot(store, name)
    what_J = fold.pop("journal.what")
    items = len(fold.pop("journal.postings"))
    fold["journal.entry"] = np.column_stack([what_J, *np.ones((3, len(what_J)), np.int64)])
    fold |= {"journal.newest_U": np.zeros(len(fold["users.pushed_U"]), np.int64), "journal.newest_I": np.zeros(items, np.int64)}
    if number == 4:
        fold, publisher = ({n: t for n, t in part.items() if n.partition(".")[0] not in SINCE_5} for part in (fold, publisher))
    write_snapshot(store, msgspec.structs.replace(manifest, format=number), fold, publisher)


@pytest.mark.parametrize("number", [4, 5])
def test_snapshots_of_the_format_before_are_loaded_and_verified(here: Here, number: int) -> None:
    first, second = grown(here, 2)
    made_old(here, first, number)
    made_old(here, second, number)
    result, said = verified(here, first, second)
    assert (result.exit_code, said["equal"], said["records"]) == (0, True, PART + 2), result.output
    assert f"format {number} of a snapshot, {FORMAT} now" in result.output
    send(here, 2 * PART, PART)
    run_worker(here.config, threading.Event(), bounded=True)  # goes on from the old one
    newest = list_snapshots(open_snapshots(here.config))[0]
    assert (newest.parent, newest.format) == (second, FORMAT)
    assert {one.name.partition(".")[0] for one in newest.tables} >= SINCE_5
    assert verified(here, second, newest.name)[1]["equal"]
    tampered(here, newest.name, "belonging.category")
    assert verified(here, second, newest.name)[1]["differing"] == ["belonging.category"]


def refused(here: Here, *names: str) -> str:
    """Why it cannot be verified, in a sentence."""
    result = here.run("snapshots", "verify", *names)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    return result.stderr


def test_the_older_snapshot_comes_first(here: Here, line_of: list[str]) -> None:
    assert f"{line_of[0]} did not grow out of {line_of[2]}" in refused(here, line_of[2], line_of[0])
    assert "cannot be read" not in refused(here, line_of[1], line_of[0])
    rewritten(here, line_of[2], parent=line_of[0])
    assert f"goes from {line_of[2]} to the older {line_of[0]}" in refused(here, line_of[1], line_of[2])


def test_a_missing_parent_is_named(here: Here, line_of: list[str]) -> None:
    open_snapshots(here.config).delete(manifest_file(line_of[1]))
    said = refused(here, line_of[0], line_of[2])
    assert f"the line to {line_of[0]} breaks at {line_of[2]}: its parent {line_of[1]} cannot be read" in said


def test_a_snapshot_that_is_not_there_or_damaged_is_named(here: Here, line_of: list[str]) -> None:
    assert "there is no snapshot '1795485458344-aaaaaaaa'" in refused(here, "1795485458344-aaaaaaaa", line_of[2])
    store = open_snapshots(here.config)
    chunk = chunk_file(next(table for table in read_manifest(store, line_of[0]).tables if table.chunks).chunks[0])
    store.put(chunk, store.get(chunk)[:-1] + b"x")
    assert f"snapshot file {chunk}: expected" in refused(here, line_of[0], line_of[2])


def test_records_that_retention_took_since_are_missed(here: Here, line_of: list[str]) -> None:
    with contextlib.closing(EmbeddedAdmin(here.config)) as admin:
        first = int(read_manifest(open_snapshots(here.config), line_of[0]).offsets[EVENTS]["1"])
        admin.trim(TopicPartition(EVENTS, 1), first)
        assert verified(here, line_of[0], line_of[2])[1]["equal"]
        admin.trim(TopicPartition(EVENTS, 1), first + 1)
    said = refused(here, line_of[0], line_of[2])
    assert "events[1]: the snapshots say that 1 more records were applied than the log holds before offset" in said
    assert "retention or compaction" in said


def test_records_that_retention_took_before_they_were_read_are_no_fault(here: Here) -> None:
    grown(here, 1)
    send(here, PART, PART)
    with contextlib.closing(EmbeddedAdmin(here.config)) as admin:
        beginning = read_manifest(open_snapshots(here.config), list_snapshots(open_snapshots(here.config))[0].name)
        admin.trim(TopicPartition(EVENTS, 0), int(beginning.offsets[EVENTS]["0"]) + 7)
    run_worker(here.config, threading.Event(), bounded=True)
    last, first = list_snapshots(open_snapshots(here.config))
    assert last.counters["lost"] == 7
    assert verified(here, first.name, last.name)[1]["equal"]
    rewritten(here, last.name, counters=last.counters | {"lost": 8})
    assert "counts 8 events lost" in refused(here, first.name, last.name)


def test_a_topic_that_was_made_again_is_not_read(here: Here, line_of: list[str]) -> None:
    ids = read_manifest(open_snapshots(here.config), line_of[0]).topic_ids
    shutil.rmtree(here.settings["STREAMER_LOG__ROOT"])
    here.json("topics", "create")
    said = refused(here, line_of[0], line_of[2])
    first = min(ids)  # every topic is another: the first is named
    assert f"topic {first} is not the one that {line_of[0]} read: id {ids[first]} there, the log has it as id" in said
    rewritten(here, line_of[1], topic_ids=ids | {first: "another"})
    assert f"{line_of[1]} has it as id another" in refused(here, line_of[0], line_of[2])


def test_an_order_that_leaves_records_out_does_not_fit(here: Here, line_of: list[str]) -> None:
    order = read_manifest(open_snapshots(here.config), line_of[2]).order
    last = max(n for n, run in enumerate(order) if run[0] == EVENTS)
    topic, partition, count = order[last]
    rewritten(here, line_of[2], order=(*order[:last], (topic, partition, count - 1), *order[last + 1 :]))
    assert "that the snapshots passed over without applying them" in refused(here, line_of[0], line_of[2])


def test_other_configuration_is_refused_and_other_versions_are_warned_of(here: Here, line_of: list[str]) -> None:
    other = Here(here.settings | {"STREAMER_HEAD__KIND": "bilinear"})
    assert "head.kind = 'gated', the configuration says 'bilinear'" in refused(other, line_of[0], line_of[2])
    versions = read_manifest(open_snapshots(here.config), line_of[1]).versions
    rewritten(here, line_of[1], versions=versions | {"numpy": "1.0"})
    result, said = verified(here, line_of[0], line_of[2])
    assert said["equal"]
    assert "written with numpy 1.0, here runs" in result.stderr
    assert len(said["warnings"]) == 1


@pytest.mark.parametrize("world", ["kafka", "embedded"])
def test_a_live_run_over_four_partitions_is_what_its_recorded_order_makes(world: str, request: pytest.FixtureRequest) -> None:
    make: Callable[..., Line] = request.getfixturevalue(f"{world}_line")
    line = make(
        STREAMER_KAFKA__PARTITIONS="4", STREAMER_SNAPSHOTS__KEEP="1000", STREAMER_ENCODER__TEXT_MODEL="none_installed"
    ).create_topics()
    line.send(movielens_items()[:200], ITEMS)
    worker = line.start("worker")
    for first in range(0, LIVE_EVENTS, LIVE_EVENTS // 4):
        before = worker.get("/status")[1].get("snapshot")
        line.send(movielens_events()[first : first + LIVE_EVENTS // 4])
        worker.wait_position(first + 1)
        worker.wait(lambda before=before: worker.get("/status")[1].get("snapshot") not in {before, None}, "another snapshot")
    worker.wait_position(LIVE_EVENTS)
    worker.stop()
    made = [manifest.name for manifest in reversed(list_snapshots(open_snapshots(line.config)))]
    way = lineage(open_snapshots(line.config), made[0], made[-1])  # without those that were never committed
    assert len(way) >= 3
    order = [run for manifest in way[1:] for run in manifest.order]
    assert len({partition for topic, partition, _ in order if topic == EVENTS}) == 4
    result, said = verified(line.here, made[0], made[-1])
    assert said.get("equal"), result.output
    assert said["records"] == sum(count for _, _, count in order)
    assert said["records"] > LIVE_EVENTS // 2
