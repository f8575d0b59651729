"""Records at which the fold fails: found one by one, left out, and no others with them."""

import dataclasses
import json

import pytest
from streams import START_MS, differing, tiny_config

from consumers.apart import Apart, Fate, OffsetRange
from consumers.fold import CONVICTED_IN_A_ROW_MAX, Fold, PieceFailed
from consumers.work import decode
from streamer.engine.engine import CapacityError, Engine
from streamer.events.model import EVENTS, RejectReason
from streamer.ports import RecordBatch, TopicPartition

PLACE = TopicPartition(EVENTS, 0)
POISON = "poison"


class Fragile(Engine):
    """Fails at some items, when it has half done what it should."""

    error: Exception = ZeroDivisionError("by a test")

    def apply(self, columns):
        super().apply(columns)
        if POISON.encode() in columns.item_text.tobytes():
            raise self.error


@pytest.fixture(autouse=True)
def _fragile(monkeypatch):
    monkeypatch.setattr("consumers.fold.Engine", Fragile)


def batch_of(items, first=0):
    values = [
        json.dumps({"type": "click", "user_id": f"u{n % 3}", "item_id": item, "timestamp": START_MS + n}).encode()
        for n, item in enumerate(items)
    ]
    count = len(items)
    offsets = list(range(first, first + count))
    return RecordBatch(EVENTS, 0, first + count, offsets, [START_MS] * count, [None] * count, values)


def new_fold():
    return Fold(Fragile(tiny_config()), tiny_config(), {PLACE: 0})


def folded(items, suspects=()):
    fold = new_fold()
    for work in decode([batch_of(items)], {EVENTS: "id"}, Apart(suspects=suspects)):
        fold.apply(work)
    return fold


def test_a_batch_is_cut_at_what_is_set_apart():
    batch = dataclasses.replace(batch_of(["a"] * 6, first=10), offsets=[10, 11, 13, 14, 15, 17], next_offset=19)
    apart = Apart(left_out=[OffsetRange(EVENTS, 0, 14, 16)], suspects=[OffsetRange(EVENTS, 0, 11, 15)])
    cut = [(piece.offsets, piece.next_offset, fate) for piece, fate in apart.cut(batch)]
    assert cut == [
        ([10], 11, Fate.TOGETHER),
        ([11], 13, Fate.ALONE),
        ([13], 14, Fate.ALONE),
        ([14, 15], 17, Fate.LEFT_OUT),
        ([17], 19, Fate.TOGETHER),
    ]
    assert [(piece, fate) for piece, fate in Apart(left_out=[OffsetRange(EVENTS, 1, 0, 99)]).cut(batch)] == [
        (batch, Fate.TOGETHER)
    ]


def test_a_piece_that_fails_names_its_offsets():
    with pytest.raises(PieceFailed, match=r"events\[0\] 0 to 2: ZeroDivisionError") as failed:
        folded(["a", POISON, "b"])
    assert failed.value.ranges == (OffsetRange(EVENTS, 0, 0, 3),)


def test_applied_alone_the_guilty_records_are_left_out_and_the_state_is_that_of_the_others():
    items = ["a", POISON, "b", "c", POISON, "a"]
    fold = folded(items, suspects=[OffsetRange(EVENTS, 0, 0, 5)])
    assert [(letter.offset, letter.reject.reason) for letter in fold.letters] == [
        (1, RejectReason.ENGINE_ERROR),
        (4, RejectReason.ENGINE_ERROR),
    ]
    assert "ZeroDivisionError: by a test" in fold.letters[0].reject.error
    assert fold.left_out == [OffsetRange(EVENTS, 0, 1, 2), OffsetRange(EVENTS, 0, 4, 5)]
    assert fold.positions == {PLACE: 6}

    without = new_fold()
    left_out = Apart(left_out=fold.left_out)
    for work in decode([batch_of(items)], {}, left_out):
        without.apply(work)
    assert differing(fold.engine.fold_tables(), without.engine.fold_tables()) == []
    counters = fold.engine.counters()
    assert (counters["applied"]["click"], counters["rejected"]) == (4, 2)


def test_what_no_record_is_to_blame_for_is_raised(monkeypatch):
    for error in (MemoryError(), CapacityError("too small")):
        monkeypatch.setattr(Fragile, "error", error)
        for suspects in ((), [OffsetRange(EVENTS, 0, 0, 1)]):
            with pytest.raises(type(error)):
                folded([POISON], suspects)


def test_where_every_record_fails_it_is_no_records_fault():
    count = CONVICTED_IN_A_ROW_MAX + 1
    with pytest.raises(ZeroDivisionError):
        folded([POISON] * count, [OffsetRange(EVENTS, 0, 0, count)])
    fold = folded([POISON] * (count - 1) + ["a", POISON], [OffsetRange(EVENTS, 0, 0, count + 1)])
    assert len(fold.left_out) == count
