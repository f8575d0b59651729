"""Laws of re-ranking and of exposure: what was shown never reaches the fold, off means untouched, terms add up, a restart goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import differing, fold, pieces, random_choices, records_of, restored, tiny_config

from streamer.catalog.belonging import NONE
from streamer.engine.engine import BESIDE_MIN, Engine
from streamer.ranking.exposure import places
from streamer.ranking.lists import NOBODY, PARTS
from streamer.ranking.rerank import DIVERSE, FAIR
from streamer.ranking.scratch import CANDIDATES, DIVERSITY, FAIRNESS, NEW
from streamer.tables.ids import text_of_row

SEEDS = st.integers(0, 2**32)
FLOOR = {"provider_exposure_min": 0.9}
MIXED = {"diversity": 0.6}
SETTINGS = st.sampled_from([FLOOR, MIXED, FLOOR | MIXED])
ENTRIES = 8


def records_with_providers(seed):
    return records_of(random_choices(seed, 300, users=7, items=40))


def rank_all(engine):
    known = np.arange(int(engine.state.users.ids.used[0]))
    return engine.rank(np.append(known, NOBODY), entries=ENTRIES)


def shown(engine, records, cuts):
    """Folds records and shows everybody's list after every piece; the lists of all of them."""
    found = []
    for part in pieces(records, cuts):
        fold(engine, part)
        found.append(rank_all(engine))
        engine.note_shown(found[-1])
    return found


def same(a, b):
    return all(one.tobytes() == other.tobytes() for one, other in zip(a, b, strict=True))


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS, ranking=SETTINGS, cuts=st.lists(st.integers(1, 300), max_size=6))
def test_whatever_is_shown_and_however_lists_are_reranked_the_fold_is_the_same(seed, ranking, cuts):
    records = records_with_providers(seed)
    plain = fold(Engine(tiny_config()), records)
    engine = Engine(tiny_config(**ranking))
    shown(engine, records, cuts)
    assert differing(plain.fold_tables(), engine.fold_tables()) == []


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS)
def test_where_it_is_off_what_was_shown_changes_no_bit_of_a_list(seed):
    records = records_with_providers(seed)
    told, untold = Engine(tiny_config()), Engine(tiny_config())
    lists = shown(told, records, range(0, 300, 40))
    for part, one in zip(pieces(records, range(0, 300, 40)), lists, strict=True):
        fold(untold, part)
        assert same(rank_all(untold), one)


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS)
def test_where_no_item_has_a_provider_a_floor_changes_no_bit_of_a_list(seed):
    choices = [choice._replace(user=0) if choice.kind == "document" else choice for choice in random_choices(seed, 300)]
    records = records_of(choices)
    plain, fair = fold(Engine(tiny_config()), records), Engine(tiny_config(**FLOOR))
    shown(fair, records, [100, 200])
    assert same(rank_all(plain), rank_all(fair))


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, ranking=SETTINGS)
def test_with_what_reranking_adds_the_terms_are_the_score_and_scores_fall(seed, ranking):
    engine = Engine(tiny_config(**ranking, explore=False))
    shown(engine, records_with_providers(seed), [150, 250])
    for user in (NOBODY, *range(int(engine.state.users.ids.used[0]))):
        lists = engine.rank(np.array([user]), entries=ENTRIES)  # its candidates stay in the engine's scratch
        scratch, count = engine.scratch, int(lists.count_U[0])
        place_of = {int(item): n for n, item in enumerate(scratch.item_C[: scratch.found[0]])}
        place_K = [place_of[int(item)] for item in lists.item_UK[0, :count]]
        term_K = scratch.weight_F.astype(np.float64) @ scratch.feature_FC[:, place_K].astype(np.float64)
        added_K = scratch.rerank_2C[:, place_K].sum(axis=0)
        assert lists.score_UK[0, :count] == pytest.approx(term_K + added_K, abs=1e-4)
        assert np.all(np.diff(lists.score_UK[0, :count]) <= 0)
        assert float(lists.part_UP[0, PARTS.index("rerank")]) == pytest.approx(np.abs(added_K).sum(), abs=1e-4)
        for reason, row in ((FAIRNESS, FAIR), (DIVERSITY, DIVERSE)):
            told_K, _ = np.nonzero(lists.term_UKR[0, :count] == reason)
            value_K = lists.value_UKR[0, :count][lists.term_UKR[0, :count] == reason]
            assert value_K.tolist() == scratch.rerank_2C[row, place_K][told_K].tolist()


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, floor=st.floats(0.05, 1.0), diversity=st.floats(0.05, 0.9))
def test_with_a_floor_and_diversity_at_once_a_list_is_as_long_of_the_same_candidates_and_explores_as_without(
    seed, floor, diversity
):
    both = {"provider_exposure_min": floor, "diversity": diversity}
    engine = Engine(tiny_config(**both))
    shown(engine, records_with_providers(seed), [100, 200])
    plain, unexplored = restored(engine, tiny_config()), restored(engine, tiny_config(**both, explore=False))
    candidates = restored(engine, tiny_config(explore=False))
    withdrawn, item_ids = set(engine.withdrawn(1_000)), engine.state.items.ids
    for user in (NOBODY, *range(engine.user_rows)):
        user_U = np.array([user])
        found, was, merit = (items_and_new(one.rank(user_U, entries=ENTRIES)) for one in (engine, plain, unexplored))
        allowed, _ = items_and_new(candidates.rank(user_U, entries=CANDIDATES))
        assert len(merit[0]) == min(len(allowed), ENTRIES)
        assert set(merit[0]) <= set(allowed)
        assert withdrawn.isdisjoint(text_of_row(item_ids, item) for item in found[0])
        assert len(set(found[0])) == len(found[0])
        kept = found[0] if found[1] is None else found[0][:-1]
        assert kept == merit[0][: len(kept)]
        assert len(kept) == len(merit[0]) or (found[1] is not None and len(found[0]) == ENTRIES)
        # the draws are the same, so what the plain list explores is explored, or something else is, or it is listed on its merits
        assert was[1] is None or found[1] is not None or was[1] in merit[0]


def items_and_new(lists):
    """The items of a single list, and the one that explores, which stands last."""
    items = lists.item_UK[0, : lists.count_U[0]].tolist()
    new_K = np.flatnonzero(lists.term_UKR[0, : len(items), 0] == NEW)
    assert new_K.tolist() in ([], [len(items) - 1])
    return items, items[-1] if len(new_K) else None


class Never(Executor):
    """Takes jobs and has no time for any."""

    def submit(self, _job: Callable[..., Any], /, *_args: Any, **_named: Any) -> Future[Any]:
        return Future()


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS, ranking=SETTINGS | st.just({}), asked=st.integers(BESIDE_MIN, 3 * BESIDE_MIN))
def test_lists_of_which_some_are_ranked_beside_are_those_of_one_thread(seed, ranking, asked):
    engine = Engine(tiny_config(**ranking))
    shown(engine, records_with_providers(seed), [100, 200])
    user_U = np.resize(np.arange(-1, engine.user_rows), asked)  # NOBODY among them
    alone = engine.rank(user_U, entries=ENTRIES)
    with ThreadPoolExecutor(1) as executor:
        for _ in range(20):  # who ranks which is another matter each time
            assert same(engine.rank(user_U, entries=ENTRIES, beside=executor), alone)
    assert same(engine.rank(user_U, entries=ENTRIES, beside=Never()), alone)


def test_the_streams_of_these_laws_withdraw_lift_mix_and_explore():
    engine = Engine(tiny_config(**FLOOR, **MIXED))
    lists = shown(engine, records_with_providers(5), range(0, 300, 50))[-1]
    assert engine.withdrawn(1_000) != []
    assert {NEW, FAIRNESS, DIVERSITY} <= set(lists.term_UKR[lists.term_UKR >= 0].tolist())


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_what_is_kept_of_providers_categories_content_and_exposure_is_the_same_whoever_the_users_are(seed):
    records = records_with_providers(seed)
    others = [
        record._replace(
            key=record.key if record.topic == "items" or record.key is None else record.key.replace(b"u", b"someone-else-"),
            value=record.value and record.value.replace(b'"user_id": "u', b'"user_id": "someone-else-'),
        )
        for record in records
    ]
    ours, theirs = Engine(tiny_config(**FLOOR, **MIXED)), Engine(tiny_config(**FLOOR, **MIXED))
    shown(ours, records, [100, 200]), shown(theirs, others, [100, 200])
    assert theirs.user_rows == ours.user_rows > 0
    tables, same_tables = ({**engine.fold_tables(), **engine.publisher_tables()} for engine in (ours, theirs))
    kept = [name for name in tables if name.split(".")[0] in {"belonging", "providers", "categories", "likeness", "exposed"}]
    assert len(kept) > 10
    assert [name for name in kept if tables[name].tobytes() != same_tables[name].tobytes()] == []
    assert tables["users.ids.text"].tobytes() != same_tables["users.ids.text"].tobytes()


def test_what_reranking_adds_is_told_as_a_reason():
    engine = Engine(tiny_config(**FLOOR, **MIXED))
    lists = shown(engine, records_with_providers(5), range(0, 300, 50))[-1]
    payloads = engine.render(lists, version="1-1", written_ms=7)
    told = [reason for payload in payloads for entry in json.loads(payload)["items"] for reason in entry["why"]]
    values = {name: [value for term, value, _ in told if term == name] for name in ("fairness", "diversity")}
    assert min(values["fairness"]) > 0
    assert max(values["diversity"]) < 0


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_an_engine_restored_gives_the_lists_of_the_one_that_never_stopped(seed):
    records, config = records_with_providers(seed), tiny_config(**FLOOR)
    engine = Engine(config)
    shown(engine, records[:200], [100])
    again = restored(engine, config)
    assert all(same(a, b) for a, b in zip(shown(engine, records[200:], [50]), shown(again, records[200:], [50]), strict=True))
    assert differing(engine.publisher_tables(), again.publisher_tables()) == []


def test_a_snapshot_of_before_there_were_providers_is_loaded_and_items_get_theirs_with_their_next_document():
    records = records_with_providers(2)
    old = fold(Engine(tiny_config()), records)
    new_tables = set(old.belonging.tables(0)) | {"exposed.provider", "exposed.category", "exposed.at_ms"}
    tables = {name: table.copy() for name, table in old.fold_tables().items() if name not in new_tables}
    engine = Engine(tiny_config(**FLOOR), tables, {})
    assert engine.exposed.shares(engine.belonging) == {}
    documents = [record for record in records if record.topic == "items"]
    fold(engine, documents), fold(old, documents)
    assert engine.belonging.providers.rows > 0
    for ours, theirs in ((engine.belonging.providers, old.belonging.providers),):
        assert {ours.name(row): ours.items_R[row] for row in ours.known} == {
            theirs.name(row): theirs.items_R[row] for row in theirs.known
        }


def test_exposure_is_that_of_the_places_and_halves_in_its_time():
    engine = Engine(tiny_config(exposure_half_life_ms=1_000))
    fold(engine, records_with_providers(9))
    lists = rank_all(engine)
    engine.note_shown(lists)
    expected: dict[int, float] = {}
    for row_K, count in zip(lists.item_UK, lists.count_U, strict=True):
        for item, place in zip(row_K[:count], places(ENTRIES), strict=False):
            provider = int(engine.belonging.provider_I[item])
            expected[provider] = expected.get(provider, 0.0) + place
    expected.pop(NONE, None)
    assert len(expected) > 2
    assert {row: engine.exposed.provider_P[row] for row in expected} == pytest.approx(expected)
    once = engine.exposed.provider_P.copy()
    engine.exposed.note(lists._replace(count_U=np.zeros_like(lists.count_U)), engine.belonging, engine.event_ms + 2_000)
    assert engine.exposed.provider_P == pytest.approx(once / 4)


def test_an_exploring_entry_is_shown_like_any_other():
    engine = fold(Engine(tiny_config()), records_with_providers(4))
    lists = rank_all(engine)
    assert np.any(lists.term_UKR[:, :, 0] == NEW)
    used_UK = np.arange(ENTRIES) < lists.count_U[:, None]
    engine.note_shown(lists)
    has_UK = engine.belonging.categories_of(lists.item_UK)[:, :, 0] != NONE
    weight_UK = np.broadcast_to(places(ENTRIES), used_UK.shape)
    assert engine.exposed.category_C.sum() == pytest.approx(weight_UK[used_UK & has_UK].sum())
