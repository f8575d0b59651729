"""A user who asked to be forgotten gets no list from events that are read before his request.

log at the start   events  u v |        forget  u
this life          u v ............... u             no list of anyone is written here; then v's, and an empty one of u's
"""

import json

from faulty_ports import Clock
from memory_store import MemoryStore
from streams import START_MS
from test_lists_of_a_life_before import EPOCH, EVENTS_0, click, wait_for

from consumers.loops import Threads
from consumers.measurements import Measurements
from consumers.reader import version_text
from consumers.tenure import Birth, Tenure
from consumers.work import Work
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.events.model import Forget
from streamer.ports import TopicPartition
from streamer.snapshots import Start, StartKind

FORGET_0 = TopicPartition("forget", 0)


def test_no_list_is_written_before_every_request_to_forget_that_stood_on_the_log_is_applied():
    store = MemoryStore()
    old = json.dumps({"version": version_text(EPOCH - 1, 5), "items": ["from a life before"]}, separators=(",", ":")).encode()
    store.write_lists([b"u"], [old])
    start = Start(kind=StartKind.FIRST, snapshot=None, positions={EVENTS_0: 0, FORGET_0: 0})
    birth = Birth(1, Engine(Config()), start, EPOCH, None, {EVENTS_0: 2, FORGET_0: 1})
    tenure = Tenure(birth, Config(), store, Clock(START_MS), Measurements(), Threads())
    for offset, user in enumerate(["u", "v"]):
        tenure.put(click(user, offset))
    wait_for(lambda: tenure.positions[EVENTS_0] == 2 and b"popular" in store.payloads)
    assert {key: one for key, one in store.payloads.items() if key.startswith(b"rec:")} == {b"rec:u": old}

    tenure.put(Work(operations=[Forget(user_id="u", timestamp_ms=START_MS + 60_000)], runs=[(FORGET_0, 1, 1)]))
    wait_for(lambda: b"rec:v" in store.payloads and store.payloads[b"rec:u"] != old)
    assert json.loads(store.payloads[b"rec:u"])["items"] == []
    tenure.end()
    wait_for(lambda: tenure.ended)
