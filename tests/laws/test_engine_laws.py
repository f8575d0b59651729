"""Laws of the engine: what holds of every stream, bit for bit."""

import json
import random

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reference import ReferenceFold
from streams import (
    CHOICE,
    EVENT_KINDS,
    ITEMS_,
    START_MS,
    STREAM,
    USERS,
    Choice,
    Record,
    copies,
    differing,
    fold,
    item_id,
    pieces,
    random_choices,
    records_of,
    restored,
    tiny_config,
    user_id,
    works_of,
)

from producers.formats import read_events
from producers.recordings import movielens_100k
from streamer.config.tree import Config
from streamer.engine import state as engine_state
from streamer.engine.engine import Engine
from streamer.ranking.lists import NOBODY
from streamer.tables.ids import row_of_text, text_of_row
from streamer.tables.rings import LENGTH, NEXT, place_of_number
from streamer.windows.journal import users_and_items
from streamer.windows.users import WINDOW

LONG = st.builds(random_choices, st.integers(0, 2**32), st.just(400), users=st.sampled_from([6, 60]))
CUTS = st.lists(st.integers(1, 60), max_size=8)
SEEN = st.sampled_from(["auto", "true", "false"])


def lists_of(engine, entries=6):
    """Every user's list, and a stranger's, parsed."""
    known = np.arange(int(engine.state.users.ids.used[0]))
    ranked = engine.rank(np.append(known, NOBODY), entries=entries)
    return [json.loads(payload) for payload in engine.render(ranked, version="1-1", written_ms=7)]


@pytest.fixture(params=[1, 1_024], ids=["no_room_at_start", "room_at_start"])
def room(request, monkeypatch):
    monkeypatch.setattr(engine_state, "ROWS_AT_START", request.param)


@pytest.mark.usefixtures("room")
class TestOfEveryStream:
    settings_ = settings(deadline=None, max_examples=60)

    @settings_
    @given(choices=STREAM, cuts=CUTS)
    def test_however_a_log_is_cut_into_micro_batches_the_tables_are_the_same(self, choices, cuts):
        records = records_of(choices)
        whole, cut = fold(Engine(tiny_config()), records), fold(Engine(tiny_config()), records, cuts)
        assert differing(whole.fold_tables(), cut.fold_tables()) == []

    @settings_
    @given(choices=STREAM, cut=st.integers(0, 60))
    def test_an_engine_restored_at_any_record_goes_on_as_the_one_that_never_stopped(self, choices, cut):
        records = records_of(choices)
        whole = fold(Engine(tiny_config()), records)
        first = fold(Engine(tiny_config()), records[:cut])
        again = restored(first, tiny_config())
        assert differing(first.fold_tables(), again.fold_tables()) == []
        assert differing(first.publisher_tables(), again.publisher_tables()) == []
        assert differing(whole.fold_tables(), fold(again, records[cut:]).fold_tables()) == []


@pytest.mark.usefixtures("room")
@settings(deadline=None, max_examples=15, phases=[Phase.explicit, Phase.generate])  # to shrink long streams takes minutes
@given(choices=LONG, cuts=st.lists(st.integers(1, 400), max_size=30), restore=st.sets(st.integers(0, 30)))
def test_a_long_stream_cut_and_restored_anywhere_gives_the_tables_of_one_run(choices, cuts, restore):
    records = records_of(choices)
    whole, engine = fold(Engine(tiny_config()), records), Engine(tiny_config())
    for n, part in enumerate(pieces(records, cuts)):
        engine = restored(engine, tiny_config()) if n in restore else engine
        fold(engine, part)
        lists_of(engine)
    assert differing(whole.fold_tables(), engine.fold_tables()) == []
    assert engine.head_step > 10


@settings(deadline=None, max_examples=40)
@given(choices=STREAM, exclude_seen=SEEN)
def test_ranking_writes_nothing(choices, exclude_seen):
    engine = fold(Engine(tiny_config(exclude_seen=exclude_seen)), records_of(choices))
    fold_before, publisher_before = copies(engine.fold_tables()), copies(engine.publisher_tables())
    first = lists_of(engine)
    assert lists_of(engine) == first
    assert differing(fold_before, engine.fold_tables()) == []
    assert differing(publisher_before, engine.publisher_tables()) == []


@settings(deadline=None, max_examples=40)
@given(choices=STREAM)
def test_what_is_handed_in_is_left_as_it_was(choices):
    engine = Engine(tiny_config())
    for work in works_of(records_of(choices)):
        before = [column.copy() for column in work.columns or ()]
        work.apply(engine)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(before, work.columns or (), strict=True))


def test_another_seed_gives_other_tables():
    records = records_of(random_choices(1, 100))
    other = type(tiny_config())(seed=2, head=tiny_config().head, windows=tiny_config().windows, signals=tiny_config().signals)
    ours, theirs = fold(Engine(tiny_config()), records).fold_tables(), fold(Engine(other), records).fold_tables()
    assert "head.free_ID" in differing(ours, theirs)


@settings(deadline=None, max_examples=40)
@given(choices=st.lists(CHOICE.map(lambda choice: choice._replace(event_id=-1)), max_size=40))
def test_duplicates_change_nothing_but_their_counter(choices):
    records = [record for record in records_of(choices) if record.topic == "events" and record.value != b"{"]
    config = type(tiny_config())(head=tiny_config().head, signals=tiny_config().signals)  # one generation holds all ids
    once, twice = fold(Engine(config), records), fold(Engine(config), [record for record in records for _ in range(2)])
    counters = once.counters()
    dropped = counters["late"]
    assert twice.counters() == counters | {"duplicate": len(records) - dropped, "late": 2 * dropped}
    assert set(differing(once.fold_tables(), twice.fold_tables())) <= {"counters"}


@settings(deadline=None, max_examples=80)
@given(choices=STREAM, exclude_seen=SEEN)
def test_lists_are_distinct_sorted_and_without_withdrawn_items(choices, exclude_seen):
    records = records_of(choices)
    engine = fold(Engine(tiny_config(exclude_seen=exclude_seen)), records)
    withdrawn = set(engine.withdrawn(100))
    assert withdrawn == withdrawn_by(records)
    for served in lists_of(engine):
        items = [entry["item_id"] for entry in served["items"]]
        scores = [entry["score"] for entry in served["items"]]
        assert len(set(items)) == len(items)
        assert not withdrawn & set(items)
        assert scores == sorted(scores, reverse=True)
        assert len(items) <= 6


def withdrawn_by(records):
    gone = {}
    for record in records:
        if record.topic == "items":
            gone[record.key.decode()] = record.value is None or not json.loads(record.value)["available"]
    return {item for item, is_gone in gone.items() if is_gone}


@settings(deadline=None, max_examples=60)
@given(choices=STREAM, user=st.integers(0, USERS - 1), more=STREAM)
def test_a_forgotten_user_leaves_no_window_no_history_and_no_list_and_older_events_of_his_are_dropped(choices, user, more):
    engine = fold(Engine(tiny_config()), records_of(choices))
    until_ms = 2_000_000_000_000
    engine.apply_forget(user_id(user), until_ms)
    before = engine.counters()
    assert traces_of(engine, user_id(user)) == []
    assert user_id(user).encode() in engine.publisher_tables()["published.erasing"].tobytes()
    own = [choice._replace(user=user) for choice in more if choice.kind in EVENT_KINDS and choice.kind != "broken"]
    fold(engine, records_of(own))
    assert engine.counters() == before | {"forgotten": before["forgotten"] + len(own)}
    erased = engine.published.take_erasures(engine.state.users.ids, 100)
    assert user_id(user).encode() in erased
    engine.published.confirm_erased(erased)
    assert traces_of(engine, user_id(user)) == []
    assert traces_of(restored(engine, tiny_config()), user_id(user)) == []
    assert user_id(user).encode() not in engine.publisher_tables()["published.erasing"].tobytes()


def traces_of(engine, user):
    """Tables that hold the id's bytes, or anything in a row that is no living user's: what is left of whoever had it."""
    state, used = engine.state, int(engine.state.users.ids.used[0])
    dead = np.flatnonzero(state.users.ids.size_R[:used] == 0)
    tables = engine.fold_tables() | engine.publisher_tables()
    found = [name for name, table in tables.items() if user.encode() in table.tobytes() and name != "published.erasing"]
    columns = {name: table for name, table in tables.items() if name.startswith("users.") and not name.startswith("users.ids.")}
    columns |= {name: tables[name] for name in ("published.mark", "published.append_ms", "published.written_ms")}
    columns |= {name: tables[name] for name in ("users.ids.hash", "users.ids.size", "history.length")}
    columns["sequences"] = state.journal.sequences.row_RF[:used]
    found += [name for name, table in columns.items() if table[dead].any()]
    rows, pool = state.history.rows, np.ones(int(state.history.rows.top[0]), np.bool_)
    for row in np.flatnonzero(rows.length_R[:used]):
        pool[rows.start_R[row] : rows.start_R[row] + rows.length_R[row]] = False
    found += [name for name in ("item", "count", "turn", "tick", "kind") if tables[f"history.{name}"][pool].any()]
    found += [
        name
        for name, user_T in {
            "journal": users_and_items(tables["journal.what"])[0],
            "postings": postings_of(state.journal),
            "impressions": tables["impressions.user_M"],
        }.items()
        if np.isin(dead, user_T).any()
    ]
    return found + ["group"] * (int(state.group.state[0]) in dead)


def postings_of(journal):
    """The users whom items are found with."""
    rings, rows = journal.postings, range(len(journal.postings.row_RF))
    numbers = [
        (row, int(rings.row_RF[row, NEXT]) - back) for row in rows for back in range(1, int(rings.row_RF[row, LENGTH]) + 1)
    ]
    return [int(rings.first_P[place_of_number(rings, row, number)]) for row, number in numbers]


@settings(deadline=None, max_examples=60)
@given(choices=STREAM, gone=st.lists(st.integers(0, USERS - 1), min_size=1, max_size=3), more=STREAM)
def test_whoever_is_forgotten_amid_a_stream_leaves_nothing_and_the_rest_goes_on(choices, gone, more):
    engine = fold(Engine(tiny_config()), records_of(choices))
    users = engine.state.users
    others = {u: window_of(engine, row) for u in map(user_id, range(USERS)) if (row := row_of_text(users.ids, u)) >= 0}
    for user in gone:
        engine.apply_forget(user_id(user), 0)  # all that he does from now on counts
        others.pop(user_id(user), None)
        assert traces_of(engine, user_id(user)) == []
    assert {u: window_of(engine, row_of_text(engine.state.users.ids, u)) for u in others} == others
    fold(engine, records_of(more))
    assert len(lists_of(engine)) > 0


def test_the_open_group_of_a_forgotten_user_keeps_nothing_of_his_window():
    click = Choice(kind="click", user=1, item=2, gap=2, offset=0, event_id=0, partition=0)
    engine = fold(Engine(tiny_config()), records_of([click._replace(event_id=n, item=n) for n in range(4)]))
    assert len(engine.fold_tables()["group.context"]) > 0
    engine.apply_forget(user_id(1), 2_000_000_000_000)
    assert {name: len(engine.fold_tables()[f"group.{name}"]) for name in ("context", "target")} == {"context": 0, "target": 0}


@settings(deadline=None, max_examples=80, phases=[Phase.explicit, Phase.generate])
@given(choices=st.one_of(STREAM, LONG))
def test_counters_windows_and_blocks_are_those_of_the_readable_fold(choices):
    records, config = records_of(choices), tiny_config()
    engine, reference = fold(Engine(config), records), ReferenceFold(config)
    for record in records:
        reference.take(*record)
    assert engine.counters() == reference.counters()
    assert engine.head_step == reference.blocks
    users = engine.state.users
    rows = np.flatnonzero(users.ids.size_R[: int(users.ids.used[0])]).tolist()
    known = {text_of_row(users.ids, row): window_of(engine, row) for row in rows}
    assert known == {user: list(state.window) for user, state in reference.users.items()}


def test_the_streams_of_these_laws_hold_every_outcome():
    counters = fold(Engine(tiny_config()), records_of(random_choices(1, 400))).counters()
    assert min(counters["applied"].values()) > 0
    assert {name for name, count in counters.items() if count == 0} == {"lost"}


def window_of(engine, row):
    users = engine.state.users
    pushed = int(users.pushed_U[row])
    places = [n % WINDOW for n in range(max(0, pushed - WINDOW), pushed)]
    items = [text_of_row(engine.state.items.ids, int(users.item_UW[row, place])) for place in places]
    return list(zip(items, users.type_UW[row, places].tolist(), users.time_UW[row, places].tolist(), strict=True))


@pytest.mark.usefixtures("room")
def test_a_recorded_stream_cut_and_restored_anywhere_gives_the_tables_of_one_run():
    recorded = read_events(movielens_100k().events)
    events = sorted((event for event in recorded if event.timestamp_ms), key=lambda event: event.timestamp_ms)
    records = [Record("events", 0, event.key or b"", event.value, event.timestamp_ms or 0) for event in events[:3_000]]
    config, rng = Config(), random.Random(1)
    whole, engine = fold(Engine(config), records), Engine(config)
    for part in pieces(records, rng.sample(range(3_000), 20)):
        fold(engine, part)
        engine.rank(engine.published.take(100), entries=20)
        engine = restored(engine, config)
    assert differing(whole.fold_tables(), engine.fold_tables()) == []
    assert engine.quality()["live"]["hits"] > 0


def test_a_basket_larger_than_a_group_is_folded_whole():
    #   two purchases of 200 items by one user at one time: groups of 256 and 144 targets
    items = [f"b{n}" for n in range(400)]
    purchases = [
        {"type": "purchase", "user_id": "u", "timestamp": 1_700_000_000_000, "item_ids": items[first : first + 200]}
        for first in (0, 200)
    ]
    records = [Record("events", 0, b"u", json.dumps(purchase).encode(), 1_700_000_000_000) for purchase in purchases]
    last = {"type": "click", "user_id": "u", "timestamp": 1_700_000_000_001, "item_id": item_id(ITEMS_)}
    records.append(Record("events", 0, b"u", json.dumps(last).encode(), 1_700_000_000_001))
    engine = fold(Engine(type(tiny_config())()), records)
    assert engine.state.stream.tolist() == [400, 0, 2, 1_700_000_000_000]
    assert engine.state.trends.tick[0] == 400
    assert engine.state.history.rows.length_R[0] == 400


def test_the_list_of_a_user_of_whom_nothing_is_known_is_erased_too():
    engine = Engine(tiny_config())
    engine.apply_forget("stranger", 1_795_485_458_344)
    assert engine.published.take_erasures(engine.state.users.ids, 10) == [b"stranger"]
    assert engine.user_rows == 0


def test_who_came_back_keeps_his_new_list_and_his_old_one_is_erased_where_he_left_again_before_it_was_written():
    click = Choice(kind="click", user=1, item=2, gap=2, offset=0, event_id=-2, partition=0)
    engine = fold(Engine(tiny_config()), records_of([click]))
    user = user_id(1).encode()
    engine.apply_forget(user_id(1), 0)
    fold(engine, records_of([click]))  # back: his list is to be written
    assert engine.published.take_erasures(engine.state.users.ids, 10) == []
    engine.published.drop_users(np.array([0]))  # as an eviction does
    row = row_of_text(engine.state.users.ids, user_id(1))
    engine.state.users.ids.size_R[row], engine.state.users.ids.slot_S[:] = 0, -1
    assert engine.published.take_erasures(engine.state.users.ids, 10) == [user]
    engine.published.confirm_erased([user])
    assert (engine.published.erase_again(), engine.published.unpublished) == (1, 1)


@pytest.mark.parametrize("kinds", [("click",), ("click", "purchase"), ("view", "cart", "purchase", "click")])
def test_a_list_sees_what_others_have_just_chosen_though_no_record_has_closed_their_group(kinds):
    times = [START_MS + 1_000 * n for n in range(40)]
    events = [{"type": "click", "user_id": f"u{n % 5}", "item_id": f"i{n}", "timestamp": t} for n, t in enumerate(times)]
    last = {"user_id": "u0", "item_id": "new", "timestamp": times[-1] + 1_000}
    events += [last | {"type": kind} for kind in kinds]  # stages of one choice: each counts what it adds
    records = [Record("events", 0, e["user_id"].encode(), json.dumps(e).encode(), e["timestamp"]) for e in events]
    engine = fold(Engine(Config()), records)
    popular = engine.rank(np.array([NOBODY]), entries=20).item_UK[0].tolist()
    assert row_of_text(engine.state.items.ids, "new") in popular[:19]  # the last place explores
    engine.settle(times[-1] + 1_000)
    assert engine.rank(np.array([NOBODY]), entries=20).item_UK[0].tolist() == popular
