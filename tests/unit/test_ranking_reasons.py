"""The reasons of a list's entries as a reader gets them: with the terms that are not told, they add up to the score."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import EVENT_KINDS, KINDS, fold, random_choices, records_of, tiny_config

from streamer.catalog.likeness import TEXT_AXES
from streamer.engine.engine import Engine
from streamer.engine.learn import model_of
from streamer.ranking import render as rendering
from streamer.ranking.explore import Explore
from streamer.ranking.lists import NOBODY, REASON_MIN, REASONS, Ranking, empty_lists, rank_users
from streamer.ranking.render import REASON_BYTES
from streamer.ranking.rerank import new_rerank
from streamer.ranking.scratch import LIKENESS, NEURAL, TERMS, TREND, UNTRIED, YOUNG, YOUNG_CONTENT, YOUNG_LIKENESS
from streamer.tables.ids import live_rows

SEEDS = st.integers(0, 2**32)
ENTRIES = 12
EXPLORES = [["new", 0.0, None]]
WRITTEN = 0.5001e-4
"""How far a number may be from the one that is written, with four decimals."""


def engine_of(seed):
    kinds = KINDS if seed % 2 else EVENT_KINDS
    choices = random_choices(seed, 300, users=9, items=40, kinds=kinds)
    return fold(Engine(tiny_config()), records_of(choices))


def everybody(engine):
    """Every user's row, and the one of somebody unknown."""
    return [NOBODY, *range(int(engine.state.users.ids.used[0]))]


def ranked(engine, user, *, fixed, exclude_seen):
    """The list of one user, whose candidates stay in the engine's scratch."""
    lists = empty_lists(np.array([user], np.int64), ENTRIES)
    off = Explore(engine.state.items, 0, False)
    scratch, rerank = engine.scratch, new_rerank(0.0, 0.0)
    ranking = Ranking(model_of(engine.state), engine.state.users, engine.event_ms, exclude_seen, fixed, off)
    rank_users(ranking, rerank, scratch, lists, np.zeros(1, np.int64))
    return lists


def terms_of(engine):
    """The terms of each candidate's logit in float64, weight times feature, by item id."""
    scratch, ids = engine.scratch, engine.state.items.ids
    term_FC = scratch.weight_F[:, None].astype(np.float64) * scratch.feature_FC[:, : scratch.found[0]]
    assert len(term_FC) == len(TERMS)
    return {
        text_of(ids, int(item)): apart(engine, n, term_F)
        for n, (item, term_F) in enumerate(zip(scratch.item_C, term_FC.T, strict=False))
    }


def apart(engine, place, term_F):
    """The terms with how well a candidate fits in three: the rest where the content's was, text and image at the end."""
    scratch, head = engine.scratch, engine.state.head
    weight = scratch.weight_F[NEURAL] + scratch.weight_F[YOUNG_CONTENT] * scratch.feature_FC[YOUNG, place]
    item_C = scratch.item_C[: scratch.found[0]]
    part_PC = np.array(
        [
            part_ID[item_C] @ scratch.query_D if len(part_ID) else np.zeros(len(item_C))
            for part_ID in (head.text_ID, head.image_ID)
        ]
    )
    fits = bool(scratch.feature_FC[NEURAL, place])
    text, image = weight * fits * (part_PC[:, place] - part_PC.mean(axis=1)).astype(np.float64)
    rest = term_F[NEURAL] + term_F[YOUNG_CONTENT] - text - image
    alike_in_text, alike = likeness_in_text(engine, place, term_F), term_F[LIKENESS] + term_F[YOUNG_LIKENESS]
    text, image = text + alike_in_text, image + alike - alike_in_text
    return np.concatenate([term_F[:NEURAL], [rest, 0.0, term_F[YOUNG], 0.0, 0.0, term_F[UNTRIED]], [text, image]])


def likeness_in_text(engine, place, term_F):
    """What text gives to the terms of likeness, by the coordinates of the candidates."""
    scratch, count = engine.scratch, int(engine.scratch.found[0])
    alike = float(scratch.feature_FC[LIKENESS, place])
    if alike == 0.0:
        return 0.0
    in_text_C = engine.state.likeness.place_IL[scratch.item_C[:count], :TEXT_AXES] @ scratch.liked_L[:TEXT_AXES]
    return (term_F[LIKENESS] + term_F[YOUNG_LIKENESS]) / alike * float(in_text_C[place] - in_text_C.mean())


def text_of(ids, row):
    start = int(ids.start_R[row])
    return ids.text_B[start : start + int(ids.size_R[row])].tobytes().decode()


NEVER_TOLD = (YOUNG_CONTENT, LIKENESS, YOUNG_LIKENESS)
"""They are told as text, image and the rest."""


def reasons_of(term_F):
    """(name, value) of the terms as reasons, in the order of features: the trends are one, named by the strongest of its sign."""
    trend_H = term_F[TREND:NEURAL]
    strongest = TERMS[TREND + int((trend_H if trend_H.sum() >= 0 else -trend_H).argmax())]
    names = (*TERMS, "text", "image")
    single = [(names[f], float(term_F[f])) for f in range(len(names)) if not TREND <= f < NEURAL and f not in NEVER_TOLD]
    return [*single, (strongest, float(trend_H.sum()))]


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, fixed=st.booleans(), exclude_seen=st.booleans())
def test_the_terms_of_every_entry_add_up_to_its_score(seed, fixed, exclude_seen):
    engine = engine_of(seed)
    for user in everybody(engine):
        lists = ranked(engine, user, fixed=fixed, exclude_seen=exclude_seen)
        terms = terms_of(engine)
        for k in range(int(lists.count_U[0])):
            term_F = terms[text_of(engine.state.items.ids, int(lists.item_UK[0, k]))]
            assert float(lists.score_UK[0, k]) == pytest.approx(float(term_F.sum()), abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, fixed=st.booleans(), exclude_seen=st.booleans())
def test_the_reasons_that_are_written_are_the_largest_terms_of_the_score(seed, fixed, exclude_seen):
    engine = engine_of(seed)
    for user in everybody(engine):
        lists = ranked(engine, user, fixed=fixed, exclude_seen=exclude_seen)
        terms = terms_of(engine)
        (payload,) = engine.render(lists, version="0000000000001-00000000000000000001", written_ms=0)
        for entry in json.loads(payload)["items"]:
            assert_told(entry, reasons_of(terms[entry["item_id"]]))


def assert_told(entry, reasons):
    """What is told has the value of its term, and nothing worth saying that is not told is larger."""
    told, values = [term for term, _, _ in entry["why"]], [value for _, value, _ in entry["why"]]
    assert len(set(told)) == len(told) <= REASONS
    assert [abs(value) for value in values] == pytest.approx(sorted((abs(value) for value in values), reverse=True))
    by_name = dict(reasons)
    assert values == pytest.approx([by_name[term] for term in told], abs=2 * WRITTEN)
    untold = [value for term, value in reasons if term not in told]
    assert entry["score"] == pytest.approx(sum(values) + sum(untold), abs=1e-4 + (1 + len(values)) * WRITTEN)
    worth_saying = [abs(value) for value in untold if abs(value) > 2 * REASON_MIN]
    assert not worth_saying or (len(told) == REASONS and max(worth_saying) <= abs(values[-1]) + 2 * WRITTEN)


def test_the_lists_that_are_tested_have_reasons_of_many_kinds():
    told = set()
    for seed in range(8):
        engine = engine_of(seed)
        for user in everybody(engine):
            lists = ranked(engine, user, fixed=False, exclude_seen=False)
            told |= set(lists.term_UKR[0, : int(lists.count_U[0])].ravel().tolist())
    assert len(told - {NOBODY}) >= 8


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS)
def test_the_trends_are_named_by_one_that_speaks_as_their_sum_does(seed):
    engine = engine_of(seed)
    rng = np.random.default_rng(seed)
    engine.state.gate.weight_FK[TREND:NEURAL, 0] = rng.normal(size=NEURAL - TREND) * 3.0  # of both signs
    told = 0
    for user in everybody(engine):
        lists = ranked(engine, user, fixed=False, exclude_seen=False)
        terms = terms_of(engine)
        for k in range(int(lists.count_U[0])):
            term_F = terms[text_of(engine.state.items.ids, int(lists.item_UK[0, k]))]
            for term, value in zip(lists.term_UKR[0, k], lists.value_UKR[0, k], strict=True):
                if TREND <= term < NEURAL:
                    assert term_F[term] * value > 0.0
                    told += 1
    assert told


@pytest.mark.parametrize("reasons", [0, 1, 2])
def test_fewer_reasons_are_the_first_of_those_that_all_lists_have(reasons):
    assert_tells([reasons] * ENTRIES, reasons=reasons)


@pytest.mark.parametrize(
    ("a_list", "by_entry"),
    [(29, [3] * 5 + [2] * 7), (17, [2] * 5 + [1] * 7), (5, [1] * 5 + [0] * 7), (0, [0] * 12), (10**6, [3] * 12)],
)
def test_reasons_that_have_no_room_are_left_out_from_the_last_entries_on(a_list, by_entry):
    users = live_rows(engine_of(3).state.users.ids)
    room = a_list * users * REASON_BYTES
    assert_tells(by_entry, reasons_bytes_max=room)
    assert_tells(by_entry, reasons_bytes_max=room + users * REASON_BYTES - 1)


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(rendering) == doctest.TestResults(0, 1)


def assert_tells(by_entry, **settings):
    """Under these settings each entry tells so many reasons of those that it has, and in any case that it explores."""
    engine = engine_of(3)
    lists = engine.rank(everybody(engine), entries=ENTRIES)
    whole = [json.loads(payload) for payload in engine.render(lists, version="v", written_ms=0)]
    assert max(len(entry["why"]) for found in whole for entry in found["items"]) == REASONS
    assert any(entry["why"] == EXPLORES for found in whole for entry in found["items"])
    fewer = Engine(tiny_config(**settings), engine.fold_tables(), engine.publisher_tables()).render(
        lists, version="v", written_ms=0
    )
    for payload, found in zip(fewer, whole, strict=True):
        entries = [
            entry if entry["why"] == EXPLORES else entry | {"why": entry["why"][:reasons]}
            for entry, reasons in zip(found["items"], by_entry, strict=False)
        ]
        assert json.loads(payload) == found | {"items": entries}
