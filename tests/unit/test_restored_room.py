"""A restored state has room for some more before its tables must be copied into larger ones."""

from __future__ import annotations

import numpy as np
from streams import START_MS

from streamer.config.tree import Config
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.codec import decode_events
from streamer.tables.arrays import with_headroom

KNOWN = 20_000
"""Users, and as many items."""


def apply(engine: Engine, first: int, count: int) -> None:
    """A click of each of so many users on an item of his own."""
    values = [
        f'{{"type":"click","user_id":"user-{n:06d}","item_id":"item-{n:06d}","timestamp":{START_MS + n}}}'.encode()
        for n in range(first, first + count)
    ]
    engine.apply(columns_of(decode_events(values), [START_MS + n for n in range(first, first + count)], 0))


def arrays_of(engine: Engine) -> list[object]:
    state = engine.state
    return [*state.users[1:], *state.head, *state.forward[1:], *state.reverse[1:], state.users.ids.text_B]


def test_the_first_new_users_and_items_after_a_restart_copy_no_table():
    first = Engine(Config())
    apply(first, 0, KNOWN)
    restored = Engine(Config(), first.fold_tables(), first.publisher_tables())
    before = arrays_of(restored)
    apply(restored, KNOWN, KNOWN // 10)
    assert restored.sizes()["users"] == restored.sizes()["items"] == KNOWN + KNOWN // 10
    assert all(now is then for now, then in zip(arrays_of(restored), before, strict=True))


def test_headroom_is_an_eighth():
    assert [with_headroom(live) for live in (0, 7, 8, 800)] == [0, 7, 9, 900]


def test_without_content_what_is_fused_is_the_free_vector_and_is_in_no_snapshot():
    engine = Engine(Config())
    apply(engine, 0, 50)
    assert engine.state.head.fused_ID is engine.state.head.free_ID
    tables = engine.fold_tables()
    assert len(tables["head.fused_ID"]) == 0
    restored = Engine(Config(), tables, engine.publisher_tables())
    assert restored.state.head.fused_ID is restored.state.head.free_ID
    free_ID = restored.state.head.free_ID[:50].copy()
    restored.apply_vectors("item-000001", np.ones(16, np.float16))
    fused_ID = restored.state.head.fused_ID
    assert fused_ID is not restored.state.head.free_ID
    assert np.array_equal(np.delete(fused_ID[:50], 1, axis=0), np.delete(free_ID, 1, axis=0))
    assert not np.array_equal(fused_ID[1], free_ID[1])
