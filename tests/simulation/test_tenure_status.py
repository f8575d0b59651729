"""What a tenure knows for the status page: who froze learning, and whether lists reach the store."""

from __future__ import annotations

from memory_store import MemoryStore
from streams import START_MS, Record, works_of
from test_lists_of_a_life_before import click, tenure_over, wait_for

from streamer.events.control import Control, Freeze, Unfreeze, encode_control
from streamer.ports import StoreError


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
