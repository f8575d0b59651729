"""Lists that are on their way while their users are evicted.

users_max = 32: u0 … u31 fill the table, u32 makes the two go who were active longest ago, u0 and u1, and gets the row of u0
the lists of u0 and u1 were handed to a store that hangs; then it fails: nobody of theirs is there to be tried again
"""

import json
import threading

import numpy as np
from faulty_ports import Clock
from memory_store import MemoryStore
from streams import START_MS, Record, works_of
from test_lists_of_a_life_before import wait_for

from consumers.loops import Threads
from consumers.measurements import Measurements
from consumers.tenure import Birth, Tenure
from streamer.config.tree import Config, Ranking, Windows
from streamer.engine.engine import Engine
from streamer.ports import StoreError, TopicPartition
from streamer.snapshots import Start, StartKind

EVENTS_0, USERS_MAX = TopicPartition("events", 0), 32
CONFIG = Config(windows=Windows(users_max=USERS_MAX), ranking=Ranking(publish_ms=1))


class HangingStore(MemoryStore):
    """Its first write hangs until it is let go, and then fails."""

    def __init__(self):
        super().__init__()
        self.first, self.asked, self.let_go = True, threading.Event(), threading.Event()

    def write_lists(self, user_ids, payloads, unseen_s=(), *, erases=False):
        if self.first:
            self.first = False
            self.asked.set()
            self.let_go.wait(30)
            raise StoreError("the store is away")
        return super().write_lists(user_ids, payloads, unseen_s, erases=erases)


def clicks(users, first):
    events = [{"type": "click", "user_id": u, "item_id": "i", "timestamp": START_MS + n} for n, u in enumerate(users, first)]
    records = [Record("events", 0, e["user_id"].encode(), json.dumps(e).encode(), e["timestamp"]) for e in events]
    (work,) = works_of(records)
    work.runs = [(EVENTS_0, len(users), first + len(users))]
    return work


def test_nothing_is_written_for_a_row_that_was_freed_or_given_to_another():
    store = HangingStore()
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0})
    tenure = Tenure(Birth(1, Engine(CONFIG), start, 7, None), CONFIG, store, Clock(START_MS), Measurements(), Threads())
    tenure.put(clicks(["u0", "u1"], 0))
    wait_for(store.asked.is_set)
    tenure.put(clicks([f"u{n}" for n in range(2, USERS_MAX + 1)], 2))
    wait_for(lambda: tenure.positions[EVENTS_0] == USERS_MAX + 1)
    store.let_go.set()
    wait_for(lambda: b"rec:u32" in store.payloads)
    tenure.end()
    wait_for(lambda: tenure.ended)
    lists = {key for key in store.payloads if key.startswith(b"rec:")}
    assert lists == {f"rec:u{n}".encode() for n in range(2, USERS_MAX + 1)}
    assert np.count_nonzero(tenure.finish().publisher["published.mark"]) == 0
