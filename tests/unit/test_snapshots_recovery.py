"""The recovery table, row by row; ``docs/recovery.md`` has the same rows in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from streamer.ports import Committed, TopicInfo, TopicPartition
from streamer.snapshots import (
    Manifest,
    Override,
    RecoveryRefused,
    Row,
    StartKind,
    choose_start,
    format_metadata,
    parse_metadata,
)
from streamer.snapshots.manifest import positions_of
from streamer.snapshots.undone import ResetNote, undone_by

E0, E1, I0 = TopicPartition("events", 0), TopicPartition("events", 1), TopicPartition("items", 0)
TOPICS = {"events": TopicInfo("id-events", 2), "items": TopicInfo("id-items", 1)}
BOUNDS = {E0: (0, 100), E1: (0, 100), I0: (0, 50)}
NONE = Override()
LOG = Override(accept_log=True)
BEGINNING = Override(from_beginning=True)
S1, S2, S3, S4 = "1795485458001-aaaa", "1795485458002-bbbb", "1795485458003-cccc", "1795485458004-dddd"


def snapshot(name: str = S1, e0: int = 10, e1: int = 20, i0: int = 5) -> Manifest:
    return Manifest(
        name=name,
        epoch=1,
        created_ms=int(name[:13]),
        parent=None,
        topic_ids={"events": "id-events", "items": "id-items"},
        offsets={"events": {"0": e0, "1": e1}, "items": {"0": i0}},
        structural={},
        encoder_fingerprint=None,
        versions={},
        head_step=0,
        event_ms=0,
        position=e0 + e1 + i0,
        counters={},
        order=(),
        chunk_bytes=1024,
    )


def commit(name: str = S1, e0: int = 10, e1: int = 20, i0: int = 5) -> dict[TopicPartition, Committed]:
    return {place: Committed(offset, format_metadata(name)) for place, offset in ((E0, e0), (E1, e1), (I0, i0))}


def refused(row: Row, *args, match: str) -> RecoveryRefused:
    with pytest.raises(RecoveryRefused, match=match) as caught:
        choose_start(*args)
    assert caught.value.row is row
    assert "Nothing was changed. To start all the same, choose: " in str(caught.value)
    assert any(flag.startswith("--from-beginning") for flag in caught.value.flags)
    return caught.value


def begins_anew(*args) -> None:
    start = choose_start(*args, BEGINNING)
    assert (start.kind, start.snapshot, start.new_epoch, start.lost) == (StartKind.FIRST, None, True, {})
    assert start.positions == {place: beginning for place, (beginning, _) in args[3].items()}
    assert "--from-beginning" in start.notes[0]


# 1. pointer and snapshot


def test_the_snapshot_that_the_offsets_name_is_resumed_at_its_offsets():
    start = choose_start(commit(), [snapshot()], TOPICS, BOUNDS, NONE)
    assert (start.kind, start.snapshot) == (StartKind.RESUMED, S1)
    assert start.positions == {E0: 10, E1: 20, I0: 5}
    assert (start.lost, start.notes, start.new_epoch) == ({}, (), False)


def test_an_expired_commit_of_one_partition_changes_nothing():
    some = commit()
    del some[I0]
    assert choose_start(some, [snapshot()], TOPICS, BOUNDS, NONE).positions == {E0: 10, E1: 20, I0: 5}


# 2. orphan


def test_snapshots_newer_than_the_pointer_are_ignored_and_said_so():
    start = choose_start(commit(S1), [snapshot(S3, 40), snapshot(S2, 30), snapshot(S1)], TOPICS, BOUNDS, NONE)
    assert (start.kind, start.snapshot, start.positions[E0]) == (StartKind.RESUMED, S1, 10)
    assert start.notes == (f"newer snapshots were never committed and are ignored: {S3}, {S2}",)


# 3. pointer without snapshot


def test_a_pointer_without_snapshot_is_refused_and_names_what_could_be_accepted():
    args = commit(S3), [snapshot(S2), snapshot(S1)], TOPICS, BOUNDS
    refusal = refused(Row.POINTER_WITHOUT_SNAPSHOT, *args, NONE, match=f"name snapshot {S3}, and the store has no complete")
    assert refusal.flags[0] == f"--accept-snapshot NAME (complete ones are {S2}, {S1})"
    begins_anew(*args)


def test_a_pointer_is_overridden_by_the_snapshot_that_the_operator_names():
    override = Override(accept_snapshot=S1)
    start = choose_start(commit(S3, 60), [snapshot(S2), snapshot(S1)], TOPICS, BOUNDS, override)
    assert (start.kind, start.snapshot, start.new_epoch) == (StartKind.ACCEPTED, S1, True)
    assert start.positions == {E0: 10, E1: 20, I0: 5}
    assert start.notes[0].startswith("--accept-snapshot: pointer_without_snapshot")


def test_accepting_a_snapshot_that_is_not_there_is_refused():
    refused(
        Row.POINTER_WITHOUT_SNAPSHOT,
        commit(S3),
        [],
        TOPICS,
        BOUNDS,
        Override(accept_snapshot=S2),
        match=f"--accept-snapshot {S2}: the",
    )


# 12. from before a reset

RESET = ResetNote(name=S2, target=S1, left_out=(("events", 0, 12, 15),), topic_ids={"events": "id-events"})


def test_a_snapshot_from_before_a_reset_is_refused_with_what_it_would_bring_back():
    args = commit(S3), [snapshot(S1)], TOPICS, BOUNDS
    with pytest.raises(
        RecoveryRefused, match=rf"wrote {S2} is undone: this applies records that it left out: events\[0\]:12-14"
    ) as r:
        choose_start(*args, Override(accept_snapshot=S1), [RESET])
    assert r.value.row is Row.RESET_UNDONE
    assert "streamer reset --to" in str(r.value)
    assert f"--accept-snapshot {S1} --undo-reset" in str(r.value)
    start = choose_start(*args, Override(accept_snapshot=S1, undo_reset=True), [RESET])
    assert (start.kind, start.snapshot, start.new_epoch) == (StartKind.ACCEPTED, S1, True)
    assert start.notes[-1].startswith(f"--undo-reset: the reset that wrote {S2} is undone")


def test_a_reset_that_a_later_one_went_back_behind_refuses_nothing_more():
    former, chosen = ResetNote(name=S3, target="", left_out=(), topic_ids={}), snapshot(S1)
    later = ResetNote(name=S4, target=S1, left_out=(), topic_ids={})
    assert undone_by(chosen, positions_of(chosen), [former], TOPICS)
    assert not undone_by(chosen, positions_of(chosen), [former, later], TOPICS)


def test_a_state_that_a_reset_left_behind_is_refused_whoever_chooses_it():
    left_behind = "1795485458001-bbbb"
    reset = msgspec.structs.replace(RESET, left_out=())
    with pytest.raises(RecoveryRefused, match="takes up a state that it left behind"):
        choose_start({}, [snapshot(left_behind)], TOPICS, BOUNDS, NONE, [reset])
    adopted = choose_start({}, [snapshot(left_behind)], TOPICS, BOUNDS, Override(undo_reset=True), [reset])
    assert (adopted.kind, adopted.new_epoch) == (StartKind.ADOPTED, True)
    assert choose_start({}, [snapshot(S1)], TOPICS, BOUNDS, NONE, [reset]).snapshot == S1, "the reset went back to it itself"


def test_an_empty_state_brings_back_what_a_reset_left_out_unless_the_log_is_another():
    args = commit(S3), [snapshot(S1)]
    with pytest.raises(RecoveryRefused, match=r"events\[0\]:12-14.*--from-beginning --undo-reset"):
        choose_start(*args, TOPICS, BOUNDS, BEGINNING, [RESET])
    another = {**TOPICS, "events": TopicInfo("another", 2)}
    assert choose_start(*args, another, BOUNDS, BEGINNING, [RESET]).kind is StartKind.FIRST


@pytest.mark.parametrize("chosen", [snapshot(S3), snapshot(S2), snapshot(S1, e0=15)])
def test_what_grew_out_of_a_reset_or_is_behind_what_it_left_out_is_not_refused(chosen):
    assert choose_start(commit("1795485458009-dddd"), [chosen], TOPICS, BOUNDS, Override(chosen.name), [RESET]).snapshot


def test_the_committed_snapshot_is_resumed_whatever_was_reset():
    assert choose_start(commit(), [snapshot()], TOPICS, BOUNDS, NONE, [RESET]).kind is StartKind.RESUMED


# 4. offsets without our metadata


@pytest.mark.parametrize("metadata", ["", "checkpoint 12", "streamer/1 ", "streamer/1 ../../x", "streamer/2 " + S1])
def test_a_commit_without_our_metadata_is_refused(metadata):
    args = commit() | {E1: Committed(20, metadata)}, [snapshot()], TOPICS, BOUNDS
    refused(Row.FOREIGN_COMMIT, *args, NONE, match=r"the committed offset 20 of events\[1\] names no snapshot")
    start = choose_start(*args, Override(accept_snapshot=S1))
    assert (start.kind, start.positions[E1], start.new_epoch) == (StartKind.ACCEPTED, 20, True)
    begins_anew(*args)


def test_an_offset_other_than_that_of_the_snapshot_it_names_is_refused():
    args = commit(e1=21), [snapshot()], TOPICS, BOUNDS
    refused(Row.FOREIGN_COMMIT, *args, NONE, match=rf"events\[1\] is committed at 21, snapshot {S1}, which it names, has 20")
    begins_anew(*args)


def test_a_commit_of_a_partition_that_the_snapshot_does_not_have_is_refused():
    extra = TopicPartition("events", 2)
    args = commit() | {extra: Committed(1, format_metadata(S1))}, [snapshot()], TOPICS, BOUNDS | {extra: (0, 9)}
    refused(Row.FOREIGN_COMMIT, *args, NONE, match="has None")


# 5. metadata that differs between partitions


def test_commits_that_name_two_snapshots_are_refused():
    args = commit(S2) | {I0: Committed(5, format_metadata(S1))}, [snapshot(S2), snapshot(S1)], TOPICS, BOUNDS
    refused(Row.COMMITS_DISAGREE, *args, NONE, match=rf"name 2 snapshots: events\[0\] names {S2}.*items\[0\] names {S1}")
    assert choose_start(*args, Override(accept_snapshot=S2)).snapshot == S2
    begins_anew(*args)


# 6. no offsets, a snapshot


def test_without_offsets_the_newest_snapshot_of_these_topics_is_adopted():
    foreign = msgspec.structs.replace(snapshot(S3), topic_ids={"events": "another", "items": "id-items"})
    start = choose_start({}, [foreign, snapshot(S2, 30), snapshot(S1)], TOPICS, BOUNDS, NONE)
    assert (start.kind, start.snapshot, start.positions[E0], start.new_epoch) == (StartKind.ADOPTED, S2, 30, False)
    assert start.notes == (
        f"the group has no committed offsets; starting from snapshot {S2}, the newest complete one that fits",
    )


# 7. nothing


def test_without_offsets_and_snapshots_the_first_start_is_from_the_beginning():
    bounds = BOUNDS | {E1: (7, 100)}
    start = choose_start({}, [], TOPICS, bounds, NONE)
    assert (start.kind, start.snapshot, start.new_epoch, start.lost) == (StartKind.FIRST, None, True, {})
    assert start.positions == {E0: 0, E1: 7, I0: 0}
    assert start.notes[1] == "the log no longer has the oldest records of events[1]"


# 8. topics made again


def test_a_recreated_topic_is_refused_and_accepted_from_its_beginning():
    topics = TOPICS | {"events": TopicInfo("id-new", 2)}
    args = {I0: commit()[I0]}, [snapshot()], topics, BOUNDS
    refused(Row.TOPIC_RECREATED, *args, NONE, match="events has id id-new, the snapshot read id id-events")
    start = choose_start(*args, LOG)
    assert (start.kind, start.snapshot, start.new_epoch) == (StartKind.RESUMED, S1, True)
    assert start.positions == {E0: 0, E1: 0, I0: 5}
    assert start.notes[0].startswith("--accept-log: the topics are not those")
    begins_anew(*args)


def test_all_topics_recreated_leaves_no_offsets_and_is_refused_all_the_same():
    topics = {"events": TopicInfo("x", 2), "items": TopicInfo("y", 1)}
    args = {}, [snapshot()], topics, BOUNDS
    refused(Row.TOPIC_RECREATED, *args, NONE, match="items has id y")
    assert choose_start(*args, LOG).positions == {E0: 0, E1: 0, I0: 0}
    begins_anew(*args)


def test_a_topic_or_partition_that_is_gone_is_refused():
    bounds = {E0: (0, 100), E1: (0, 100)}
    args = commit(), [snapshot()], {"events": TOPICS["events"]}, bounds
    refused(Row.TOPIC_RECREATED, *args, NONE, match="items is gone")
    assert choose_start(*args, LOG).positions == {E0: 10, E1: 20}
    refused(
        Row.TOPIC_RECREATED, commit(), [snapshot()], TOPICS, {E0: (0, 100), I0: (0, 50)}, NONE, match=r"events\[1\] is gone"
    )


# 9. an offset beyond the log's end


def test_an_offset_beyond_the_end_is_refused_and_accepted_at_the_end():
    args = commit(), [snapshot()], TOPICS, BOUNDS | {E1: (0, 15)}
    refused(Row.LOG_TRUNCATED, *args, NONE, match=r"events\[1\] 20 where the log ends at 15")
    start = choose_start(*args, LOG)
    assert (start.positions, start.new_epoch, start.lost) == ({E0: 10, E1: 15, I0: 5}, True, {})
    begins_anew(*args)


def test_an_offset_at_the_end_is_no_truncation():
    assert choose_start(commit(), [snapshot()], TOPICS, BOUNDS | {E1: (0, 20)}, NONE).positions[E1] == 20


# 10. partitions added


def test_partitions_added_since_the_snapshot_start_at_their_beginning():
    new = TopicPartition("events", 2)
    start = choose_start(commit(), [snapshot()], TOPICS, BOUNDS | {new: (0, 9)}, NONE)
    assert start.positions == {E0: 10, E1: 20, I0: 5, new: 0}
    assert start.notes == (f"events[2] is new since snapshot {S1} and is read from its beginning",)
    assert not start.new_epoch


# 11. retention went past


def test_what_retention_removed_is_counted_by_partition():
    new = TopicPartition("events", 2)
    start = choose_start(commit(), [snapshot()], TOPICS, BOUNDS | {E0: (25, 100), E1: (20, 100), new: (3, 9)}, NONE)
    assert start.positions == {E0: 25, E1: 20, I0: 5, new: 3}
    assert start.lost == {E0: 15, new: 3}
    assert "events[0]: retention removed 15 offsets before they were read" in start.notes


# overrides


@pytest.mark.parametrize("override", [LOG, BEGINNING, Override(accept_snapshot=S1)])
def test_an_override_left_on_the_command_line_changes_no_start_that_is_explained(override):
    args = commit(S2, 30), [snapshot(S2, 30), snapshot(S1)], TOPICS, BOUNDS
    plain, with_flag = choose_start(*args, NONE), choose_start(*args, override)
    assert (with_flag.kind, with_flag.snapshot, with_flag.positions) == (plain.kind, S2, plain.positions)
    assert with_flag.notes[-1].endswith("had no use: nothing stood in the way of this start")


def test_two_reasons_to_refuse_need_both_flags():
    args = commit(S3), [snapshot()], TOPICS, BOUNDS | {E0: (0, 3)}
    refused(Row.LOG_TRUNCATED, *args, Override(accept_snapshot=S1), match="beyond the log's end")
    start = choose_start(*args, Override(accept_snapshot=S1, accept_log=True))
    assert (start.kind, start.positions[E0]) == (StartKind.ACCEPTED, 3)


def test_metadata_is_parsed_as_it_was_formatted():
    assert parse_metadata(format_metadata(S1)) == S1


def test_the_documentation_names_every_row_that_refuses_and_every_flag():
    text = Path(__file__).parents[2].joinpath("docs", "recovery.md").read_text("utf-8")
    for row in Row:
        assert f"`{row}`" in text
    assert set(re.findall(r"--(?:accept|from)-\w+", text)) == {"--accept-snapshot", "--accept-log", "--from-beginning"}
