"""What a tenure knows for the status page: who froze learning, and whether lists reach the store."""

from __future__ import annotations

from faulty_ports import Clock
from memory_store import MemoryStore
from streams import START_MS, Record, works_of
from test_lists_of_a_life_before import EPOCH, EVENTS_0, click, tenure_over, wait_for

from consumers.fold import Fold
from consumers.loops import Threads
from consumers.measurements import Measurements
from consumers.tenure import Birth, Tenure
from streamer.config.tree import Config, Head
from streamer.engine.engine import Engine
from streamer.events.control import Control, Freeze, Unfreeze, encode_control
from streamer.ports import StoreError
from streamer.snapshots import Start, StartKind


def word(control: Control, offset: int):
    (work,) = works_of([Record("control", 0, None, encode_control(control), START_MS + offset)])
    return work


class Silent(MemoryStore):
    """Answers nothing while ``away``, and says so."""

    def _get(self, key):
        if self.away:
            raise StoreError("no route to the store")
        return super()._get(key)


def test_who_froze_learning_is_known_until_it_goes_on():
    tenure = tenure_over(MemoryStore())
    tenure.put(word(Freeze("drift", "ada", START_MS), 0))
    wait_for(lambda: tenure._measurements.frozen is not None)
    assert tenure._measurements.frozen == {"by": "operator", "name": "ada", "reason": "drift", "since_ms": START_MS}
    tenure.put(word(Unfreeze(), 1))
    wait_for(lambda: tenure._measurements.frozen is None)
    tenure.drop()


def test_what_the_store_says_is_told_until_it_takes_lists_again():
    store = Silent()
    store.away = True
    tenure = tenure_over(store)
    measured = tenure._measurements
    tenure.put(click("u", 0))
    wait_for(lambda: measured.lists()["fault"] == "no route to the store")
    assert measured.lists()["fault_ms"]
    store.away = False
    tenure._lists._publisher._retry_at_s = 0.0
    tenure.put(click("u", 1))
    wait_for(lambda: measured.lists()["fault"] is None)
    tenure.drop()


def test_events_are_counted_as_they_are_read_and_what_was_lost_is_dated():
    start = Start(kind=StartKind.RESUMED, snapshot=None, positions={EVENTS_0: 3}, lost={EVENTS_0: 3})
    measured, clock = Measurements(), Clock(START_MS)
    tenure = Tenure(Birth(1, Engine(Config()), start, EPOCH, None), Config(), MemoryStore(), clock, measured, Threads())
    assert START_MS <= measured.lost_ms < START_MS + 60_000  # the clock of the test goes on as it is asked
    assert START_MS <= measured.append_ms < START_MS + 60_000
    for offset in range(3, 8):
        wait_for(lambda: not tenure.full)
        tenure.put(click("u", offset))
    wait_for(lambda: measured.events_read == 5)
    assert tenure.counters["lost"] == 3
    assert measured.append_ms == START_MS + 7
    tenure.drop()


def test_seconds_of_learning_are_those_of_blocks_and_no_part_of_the_fold():
    class Ticking:
        """A second later whenever it is asked."""

        def __init__(self):
            self.now_s = 0.0

        def __call__(self):
            self.now_s += 1.0
            return self.now_s

    config = Config(head=Head(block_records=4))
    fold = Fold(Engine(config), config, {EVENTS_0: 0}, clock_s=Ticking())
    for offset in range(9):
        fold.apply(click(f"u{offset % 2}", offset))
    assert fold.engine.head_step == 2
    assert fold.engine.learn_s == 2.0
