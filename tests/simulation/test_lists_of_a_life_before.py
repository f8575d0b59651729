"""Lists that a life before wrote at positions that this one has still to reach.

life before   a b c d | e f g        crash; its list of u, at position 7, knows nothing of x on the other partition
this life     a b x                  its list of u, at position 3, is refused as older
              ... e f g h            at position 8 it must be written, though u did nothing more
"""

import json
import threading

import numpy as np
from faulty_ports import Clock
from memory_store import MemoryStore
from streams import START_MS, Record, works_of

from consumers.loops import Threads
from consumers.measurements import Measurements
from consumers.reader import version_text
from consumers.tenure import Birth, Tenure
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.ports import TopicPartition
from streamer.snapshots import Start, StartKind

EPOCH, DEADLINE_S = 7, 30.0
EVENTS_0 = TopicPartition("events", 0)


def click(user, offset):
    event = {"type": "click", "user_id": user, "item_id": f"i{offset % 3}", "timestamp": START_MS + offset}
    (work,) = works_of([Record("events", 0, user.encode(), json.dumps(event).encode(), START_MS + offset)])
    work.runs = [(EVENTS_0, 1, offset + 1)]
    return work


def tenure_over(store):
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    return Tenure(Birth(1, Engine(Config()), start, EPOCH, None), Config(), store, Clock(START_MS), Measurements(), Threads())


def measurements_of(tenure):
    return tenure._measurements


def wait_for(condition):
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("the condition never came true")


def store_with(user, position):
    """A store of this epoch that holds one list, from a position of a life before."""
    store, version = MemoryStore(), version_text(EPOCH, position)
    store.payloads[b"status"] = compact({"version": version_text(EPOCH, 0), "epoch": EPOCH})
    store.payloads[b"rec:" + user.encode()] = compact({"version": version, "user_id": user, "items": [], "old": True})
    return store


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def test_a_list_refused_as_older_is_written_once_the_log_has_been_read_as_far():
    store = store_with("u", 7)
    tenure = tenure_over(store)
    tenure.put(click("u", 0))
    wait_for(lambda: measurements_of(tenure).lists_refused > 0)
    for offset in range(1, 8):
        wait_for(lambda: not tenure.full)
        tenure.put(click("another", offset))
    wait_for(lambda: b'"old"' not in store.payloads[b"rec:u"])
    assert json.loads(store.payloads[b"rec:u"])["version"] == version_text(EPOCH, 8)
    tenure.end()
    wait_for(lambda: tenure.ended)


def test_the_end_writes_what_was_refused_before():
    store = store_with("u", 3)
    tenure = tenure_over(store)
    for offset, user in enumerate(["u", "another", "another"]):
        wait_for(lambda: not tenure.full)
        tenure.put(click(user, offset))
    tenure.end()
    wait_for(lambda: tenure.ended)
    assert b'"old"' not in store.payloads[b"rec:u"]
    assert np.count_nonzero(tenure.finish().publisher["published.mark"]) == 0


def test_lists_of_a_later_epoch_that_an_owner_before_never_committed_are_replaced_under_an_epoch_after_it():
    later = EPOCH + 10**9
    store, status = MemoryStore(), {"version": version_text(later, 5), "epoch": later, "generation": 1}
    store.payloads[b"status"] = compact(status)
    store.payloads[b"rec:u"] = compact({"version": version_text(later, 5), "user_id": "u", "items": [], "old": True})
    tenure = tenure_over(store)
    tenure.put(click("u", 0))
    wait_for(lambda: b'"old"' not in store.payloads[b"rec:u"])
    tenure.end()
    wait_for(lambda: tenure.ended)
    assert json.loads(store.payloads[b"rec:u"])["version"] > version_text(later, 5)
    assert tenure.finish().epoch > later  # it goes into the snapshot
