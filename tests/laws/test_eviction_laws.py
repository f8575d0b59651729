"""Laws of bounded tables: whoever is evicted leaves nothing behind, at the same record however the log is cut."""

import json
import random

import numpy as np
import pytest
from streams import START_MS, Record, copies, differing, fold, pieces, restored

from streamer.config.tree import Catalog, Config, Head, Signals, Windows
from streamer.engine.bounds import bound_bytes
from streamer.engine.engine import Engine
from streamer.head.bilinear import BLOCK_EXAMPLES, RECENT_TARGETS
from streamer.ranking.lists import NOBODY
from streamer.tables.ids import row_of_text, text_of_row
from streamer.windows.group import COUNT, LENGTH, USER
from streamer.windows.users import GONE, WINDOW

USERS_MAX, ITEMS_MAX = 40, 10_000
CONFIG = Config(
    windows=Windows(users_max=USERS_MAX, history_items_max=50, dedup_ids_min=100),
    catalog=Catalog(items_max=ITEMS_MAX),
    signals=Signals(neighbours_max=8),
    head=Head(block_records=16, negatives=16),
)


def stream(seed, events=350, users=120, items=25_000):
    """Baskets of up to 150 items, of many more users and items than there may be."""
    rng, now_ms, records = random.Random(seed), START_MS, []
    for n in range(events):
        now_ms += rng.choice([0, 1_000, 60_000])
        user = f"u{int(users * rng.random() ** 1.5)}"
        basket = [f"i{int(items * rng.random() ** 1.5)}" for _ in range(rng.choice([1, 1, 150]))]
        event = {"event_id": f"e{n}", "type": "purchase", "user_id": user, "item_ids": basket, "timestamp": now_ms}
        records.append(Record("events", 0, user.encode(), json.dumps(event).encode(), now_ms))
        if rng.random() < 0.1:
            item = f"i{rng.randrange(items)}"
            document = {
                "item_id": item,
                "title": "t",
                "available": rng.random() < 0.5,
                "provider": f"p{n}",
                "categories": ["c"],
            }
            records.append(Record("items", 0, item.encode(), json.dumps(document).encode(), now_ms))
    return records


@pytest.fixture(scope="module", params=[1, 2])
def records(request):
    return stream(request.param)


@pytest.fixture(scope="module")
def evicted(records):
    """An engine whose tables have been full for long; every now and then lists are rendered and confirmed."""
    engine = Engine(CONFIG)
    for part in pieces(records, range(0, len(records), 25)):
        fold(engine, part)
        user_T = engine.published.take(30)
        engine.published.confirm(user_T, engine.rank(user_T, entries=10).item_UK, 1)
    return engine


def test_evictions_come_at_the_same_records_however_a_log_is_cut_and_restored(records, evicted):
    rng, engine = random.Random(3), Engine(CONFIG)
    for part in pieces(records, rng.sample(range(len(records)), 30)):
        engine = restored(fold(engine, part), CONFIG)
    assert differing(evicted.fold_tables(), engine.fold_tables()) == []


def test_tables_stay_within_their_bounds_and_rows_are_used_again(evicted):
    state = evicted.state
    for ids, most, live in ((state.users.ids, USERS_MAX, "users"), (state.items.ids, ITEMS_MAX, "items")):
        rows, text, free = (int(n) for n in ids.used)
        assert most * 15 // 16 - 200 <= evicted.sizes()[live] <= most
        assert rows <= most + 200
        named = [text_of_row(ids, row) for row in range(rows)]
        assert sorted(np.flatnonzero(ids.size_R[:rows] == 0)) == sorted(ids.free_R[:free])
        assert all(row_of_text(ids, name) == row for row, name in enumerate(named) if name)
        assert text <= ids.size_R[:rows].sum() + len(ids.text_B) // 2


def test_every_table_stays_within_its_bound_in_bytes(evicted):
    tables = evicted.fold_tables()
    bounds = bound_bytes(tables, CONFIG)
    assert {name for name in tables if name not in bounds} == {"forgotten.hash", "forgotten.until_ms"}
    assert [
        f"{name}: {table.nbytes} of {bounds[name]}" for name, table in tables.items() if table.nbytes > bounds.get(name, 0)
    ] == []
    full = {name for name, bound in bounds.items() if bound and tables[name].nbytes > bound * 0.9}
    assert {"users.last_ms_U", "items.flags", "head.free_ID"} <= full  # the bounds of what was filled are no dreams


def freed(ids):
    return set(ids.free_R[: int(ids.used[2])].tolist())


def entries(rows, values_P, count):
    return {
        int(item)
        for row in range(count)
        for item in values_P[int(rows.start_R[row]) : int(rows.start_R[row]) + int(rows.length_R[row])]
    }


def test_nothing_refers_to_a_freed_item(evicted):
    state = evicted.state
    users, items = int(state.users.ids.used[0]), int(state.items.ids.used[0])
    pushed_U = np.minimum(state.users.pushed_U[:users], WINDOW)
    examples, recent = int(state.block.state[BLOCK_EXAMPLES]), min(int(state.head.recent[0]), RECENT_TARGETS)
    held = {
        "windows": {int(n) for row in range(users) for n in state.users.item_UW[row, : pushed_U[row]]} - {GONE},
        "histories": entries(state.history.rows, state.history.item_P, users),
        "forward": entries(state.forward.rows, state.forward.item_P, items),
        "reverse": entries(state.reverse.rows, state.reverse.item_P, items),
        "trends": {int(n) for row, k in zip(state.trends.top_HT, state.trends.length_H, strict=True) for n in row[:k]},
        "group": set(state.group.target_G[: int(state.group.state[COUNT])].tolist())
        | set(state.group.context_W[: int(state.group.state[LENGTH])].tolist()),
        "block": set(state.block.target_B[:examples].tolist())
        | {int(n) for row, k in zip(state.block.context_BN, state.block.length_B[:examples], strict=False) for n in row[:k]},
        "recent": set(state.head.recent_T[:recent].tolist()),
        "published": set(evicted.published.item_UL.ravel().tolist()) - {NOBODY},
    }
    gone = freed(state.items.ids)
    assert len(gone) > 0
    assert {name for name, found in held.items() if found & gone} == set()


def test_nothing_of_a_freed_row_is_left(evicted):
    state = evicted.state
    item_T, user_T = (np.array(sorted(freed(table.ids)), np.int64) for table in (state.items, state.users))
    for column in (state.items.flags_I, state.forward.near_total_I, state.reverse.wide_total_I, state.trends.value_IH):
        assert not column[item_T].any()
    for column in (state.head.recent_count_I, state.forward.rows.length_R, state.reverse.rows.length_R):
        assert not column[item_T].any()
    assert (state.items.vector_I[item_T] == -1).all()
    for column in (*state.users[1:], state.history.rows.length_R, evicted.published.mark_U, evicted.published.append_ms_U):
        assert not column[user_T].any()
    assert state.group.state[USER] not in user_T


def test_ranking_after_evictions_lists_items_that_there_are_and_writes_nothing(evicted):
    before = copies(evicted.fold_tables())
    known = np.flatnonzero(evicted.state.users.ids.size_R[: int(evicted.state.users.ids.used[0])] > 0)
    lists = evicted.rank(np.append(known, NOBODY), entries=20)
    for payload in evicted.render(lists, version="v", written_ms=0):
        served = [entry["item_id"] for entry in json.loads(payload)["items"]]
        assert len(set(served)) == len(served)
        assert all(row_of_text(evicted.state.items.ids, item) >= 0 for item in served)
    assert differing(before, evicted.fold_tables()) == []
