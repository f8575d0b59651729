"""What a store lost is found out by its status.

lists    a   b | c   d        portions; the status after each vouches for all before
failover        ^             the store is again what it was here: c and d are lost, and the status says since when
"""

import json

import pytest
from memory_store import MemoryStore

from consumers.reader import version_text
from consumers.store_watch import ALL, Status, StoreWatch

EPOCH = 7


def status(position=1, generation=3, epoch=EPOCH):
    return Status(version_text(epoch, position), "ns", epoch, generation, 0, None, 0, 0)


def written_ms(store):
    return json.loads(store.payloads[b"status"])["written_ms"]


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def watch(store):
    """One that has seen an empty store and mended it."""
    watch = StoreWatch(store, EPOCH, generation=3, trusted_from=3)
    watch.vouch(status(), 100)
    assert list(watch.lost) == [ALL]
    assert written_ms(store) == ALL  # nothing is vouched for yet
    watch.lost.clear()
    watch.mended()
    watch.vouch(status(), 110)
    assert written_ms(store) == 110
    return watch


def test_a_store_that_keeps_what_it_has_loses_nothing(watch, store):
    for now_ms in (120, 130):
        watch.vouch(status(), now_ms)
    assert not watch.lost
    assert written_ms(store) == 130


def test_an_emptied_store_and_one_of_another_epoch_want_all_lists(watch, store):
    store.payloads.clear()
    watch.vouch(status(), 120)
    assert list(watch.lost) == [ALL]
    watch.lost.clear()
    store.payloads[b"status"] = b'{"version":"' + version_text(1, 1).encode() + b'","epoch":1}'
    watch.vouch(status(), 130)
    assert list(watch.lost) == [ALL]


def test_a_store_that_fell_back_wants_the_lists_since_and_is_not_vouched_for_before_they_are_there(watch, store):
    before = dict(store.payloads)
    watch.vouch(status(), 120)
    store.payloads = before
    watch.vouch(status(), 130)
    assert list(watch.lost) == [110]
    assert written_ms(store) == 110
    watch.vouch(status(), 140)
    watch.mended()  # but what is lost was not even taken up
    watch.vouch(status(), 150)
    assert written_ms(store) == 110
    watch.lost.clear()
    watch.mended()
    watch.vouch(status(), 160)
    assert written_ms(store) == 160


def test_a_store_that_falls_back_while_it_is_mended_is_found_out_too(watch, store):
    store.payloads.clear()
    watch.vouch(status(), 120)
    before = dict(store.payloads)
    watch.vouch(status(), 130)
    watch.lost.clear()
    store.payloads = before
    watch.vouch(status(), 140)
    assert list(watch.lost) == [ALL]


def test_the_next_owner_trusts_a_status_as_far_as_its_writer_knew(watch, store):
    watch.vouch(status(generation=3), 120)
    for trusted_from, since_ms in ((3, 120), (4, ALL)):
        following = StoreWatch(store, EPOCH, generation=3, trusted_from=trusted_from)
        following.vouch(status(), 200)
        assert list(following.lost) == [since_ms]


def test_lists_written_while_a_newer_status_stands_are_written_again_once_it_is_passed(watch, store):
    watch.vouch(status(position=50), 120)
    behind = StoreWatch(store, EPOCH, generation=3, trusted_from=3)
    behind.vouch(status(position=40), 200)
    behind.lost.clear()
    behind.mended()
    behind.wrote_lists(210)
    behind.vouch(status(position=45), 210)
    assert not behind.lost
    behind.wrote_lists(220)
    behind.vouch(status(position=55), 220)
    assert list(behind.lost) == [209]


def test_what_is_no_status_of_ours_counts_as_none(watch, store):
    store.read_shared = lambda _: b"\xff not json"
    watch.vouch(status(), 120)
    assert list(watch.lost) == [ALL]


def test_a_later_epoch_of_an_owner_before_is_noted_and_one_of_an_owner_after_is_not(store):
    for generation, noted in ((2, EPOCH + 1), (3, EPOCH + 1), (4, None)):
        watch = StoreWatch(store, EPOCH, generation=3, trusted_from=3)
        store.payloads.clear()
        StoreWatch(store, EPOCH + 1, generation=generation, trusted_from=1).vouch(
            status(generation=generation, epoch=EPOCH + 1), 100
        )
        watch.vouch(status(), 110)
        assert watch.newer_epoch == noted
        assert list(watch.lost) == [ALL]
