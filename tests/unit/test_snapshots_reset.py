"""The manifest of a reset: what it takes from its target, and which ranges of records can be left out."""

from __future__ import annotations

import doctest

import pytest
from test_snapshots_manifest import MANIFEST

from streamer.ports import TopicInfo, TopicPartition
from streamer.snapshots import offsets_of
from streamer.snapshots import reset as reset_module
from streamer.snapshots.reset import parse_range, read_again, require_readable, rewound

TOPICS = {"events": TopicInfo("id-1", 2), "control": TopicInfo("id-2", 1)}
BOUNDS = {TopicPartition("events", 0): (2, 50), TopicPartition("events", 1): (10, 20), TopicPartition("control", 0): (0, 3)}


def reset_of(*left_out):
    return rewound(
        MANIFEST,
        name="1795485458399-aaaa",
        created_ms=1795485458399,
        epoch=9,
        topics=TOPICS,
        bounds=BOUNDS,
        left_out=left_out,
    )


def test_the_examples_in_the_documentation_hold():
    results = doctest.testmod(reset_module)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_reset_has_the_tables_of_its_target_and_a_name_epoch_and_order_of_its_own():
    manifest = reset_of(("events", 0, 5, 9))
    assert (manifest.name, manifest.epoch, manifest.parent, manifest.order) == ("1795485458399-aaaa", 9, None, ())
    assert (manifest.tables, manifest.structural, manifest.counters) == (
        MANIFEST.tables,
        MANIFEST.structural,
        MANIFEST.counters,
    )
    assert manifest.left_out == (("events", 0, 5, 9),)


def test_partitions_that_the_target_did_not_know_are_read_from_their_beginning():
    manifest = reset_of()
    assert manifest.offsets == {"control": {"0": 0}, "events": {"0": 5, "1": 7}}
    assert manifest.topic_ids == {"events": "id-1", "control": "id-2"}
    assert offsets_of(read_again(manifest, BOUNDS)) == {"control": {"0": 3}, "events": {"0": 45, "1": 10}}


@pytest.mark.parametrize("text", ["events", "events[0]", "events[x]:1-2", "events[0]:1-", "events[0]:-2", "events[0]:9-3", ""])
def test_what_is_no_range_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"as in events\[0\]:100-199"):
        parse_range(text)


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (("events", 4, 5, 9), r"no such partition; those that a worker reads are .*events\[1\]"),
        (("orders", 0, 5, 9), "no such partition"),
        (("events", 0, 3, 9), "before offset 5 is part of the state already"),
        (("events", 0, 5, 51), "the log ends at offset 50"),
    ],
)
def test_ranges_of_records_that_are_not_to_come_are_refused(left_out, said):
    with pytest.raises(ValueError, match=said):
        require_readable(left_out, reset_of(), BOUNDS, TOPICS)


def test_a_range_of_records_to_come_may_be_left_out():
    require_readable(("events", 0, 5, 50), reset_of(), BOUNDS, TOPICS)
