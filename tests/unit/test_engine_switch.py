"""A change of encoders in the middle of a stream: vectors wait aside, one block changes them all, known items stay where they are."""

import numpy as np
import pytest
from streams import copies, differing, fold, random_choices, records_of, tiny_config

from streamer.engine.engine import Engine
from streamer.engine.switch import encoder_name
from streamer.events.model import ItemDocument
from streamer.ranking.scratch import LIKENESS
from streamer.tables.ids import row_of_text

EVENTS = ("click", "view", "purchase")
ITEMS, WIDTH = 14, 12


def old_vector(item):
    return np.random.default_rng(item).normal(size=WIDTH).astype(np.float16)


def new_vector(item):
    """Another model's: other dimensions, the same likenesses."""
    turn = np.random.default_rng(77).normal(size=(20, WIDTH)) / np.sqrt(WIDTH)
    return (turn @ old_vector(item).astype(np.float64)).astype(np.float16)


def engine_of(seed):
    engine = Engine(tiny_config(explore=False))
    fold(engine, records_of(random_choices(seed, 120, items=ITEMS, kinds=EVENTS)))
    names = item_names(engine)
    for n, name in enumerate(names):
        engine.apply_vectors(name, old_vector(n), None, "old")
    engine.apply_vectors("never chosen", old_vector(99), None, "old")
    fold(engine, records_of(random_choices(seed + 1, 80, items=ITEMS, kinds=EVENTS)))
    return engine, names


def item_names(engine):
    ids = engine.state.items.ids
    rows = range(int(ids.used[0]))
    return [ids.text_B[int(ids.start_R[row]) : int(ids.start_R[row]) + int(ids.size_R[row])].tobytes().decode() for row in rows]


def lists_of(engine):
    users = np.arange(int(engine.state.users.ids.used[0]))
    lists = engine.rank(users, entries=8)
    return [row[:count].tolist() for row, count in zip(lists.item_UK, lists.count_U, strict=True)], lists.score_UK


def reencode(engine, names):
    for n, name in enumerate(names):
        engine.apply_vectors(name, None, new_vector(n), "new")
    engine.apply_vectors("never chosen", None, new_vector(99), "new")


def test_lists_stay_as_they_are_while_vectors_wait_and_when_they_change():
    engine, names = engine_of(5)
    before, scores = lists_of(engine)
    reencode(engine, names)
    assert engine.aside.name == "old"
    assert engine.aside.waiting == len(names) + 1
    assert lists_of(engine)[0] == before
    known = engine.state.head.seen_I[: engine.item_rows] > 0
    fused_ID = engine.state.head.fused_ID[: engine.item_rows].copy()
    engine._switch_encoders()
    assert (engine.aside.name, engine.aside.waiting, engine.content.widths) == ("new", 0, (0, 20))
    assert np.array_equal(engine.state.head.fused_ID[: engine.item_rows][known], fused_ID[known])
    assert known.sum() > 5
    after, again = lists_of(engine)
    chosen = [row_of_text(engine.state.items.ids, "never chosen")]
    assert [[item for item in row if item not in chosen] for row in after] == [
        [item for item in row if item not in chosen] for row in before
    ]
    assert engine.state.head.fused_ID[chosen[0]] == pytest.approx(engine.state.head.image_ID[chosen[0]], abs=1e-6)
    assert again.shape == scores.shape


def test_likeness_outlives_the_change_and_an_item_that_nobody_has_had_lies_near_where_it_lay():
    engine = Engine(tiny_config(explore=False))
    fold(engine, records_of(random_choices(5, 60, items=ITEMS, kinds=EVENTS)))
    names = [*item_names(engine), *(f"more{n}" for n in range(50))]
    for n, name in enumerate(names):
        engine.apply_vectors(name, old_vector(n), None, "old")
    fold(engine, records_of(random_choices(6, 200, items=ITEMS, kinds=EVENTS)))
    assert engine.state.gate.weight_FK[LIKENESS].any()
    rows, known = engine.item_rows, engine.state.head.seen_I[: engine.item_rows] > 0
    place_IL, before = engine.state.likeness.place_IL[:rows].copy(), lists_of(engine)[0]
    for n, name in enumerate(names):
        engine.apply_vectors(name, new_vector(n), None, "new")
    engine._switch_encoders()
    after_IL = engine.state.likeness.place_IL[:rows]
    there_I = place_IL.any(axis=1)
    assert there_I.sum() == len(names)
    assert np.array_equal(after_IL[known], place_IL[known])
    likeness_I = (after_IL * place_IL).sum(axis=1)[there_I & ~known] / (place_IL**2).sum(axis=1)[there_I & ~known]
    assert likeness_I.min() > 0.8
    for row, again in zip(before, lists_of(engine)[0], strict=True):
        ours, theirs = ([item for item in one if known[item]] for one in (row, again))
        assert ours[: len(theirs)] == theirs[: len(ours)]


def test_the_change_comes_with_the_block_that_closes_once_nearly_all_items_have_new_vectors():
    engine, names = engine_of(6)
    for n, name in enumerate(names[:-1]):
        engine.apply_vectors(name, None, new_vector(n), "new")
    engine._close_block()
    assert engine.aside.name == "old", "one is missing"
    engine.apply_vectors(names[-1], None, new_vector(len(names) - 1), "new")
    engine.apply_vectors("never chosen", None, new_vector(99), "new")
    engine._close_block()
    assert engine.aside.name == "new"
    assert encoder_name(engine.fold_tables()) == "new"
    fold(engine, records_of(random_choices(8, 60, items=ITEMS, kinds=EVENTS)))
    assert np.isfinite(engine.state.head.fused_ID[: engine.item_rows]).all()


def test_vectors_that_wait_come_back_with_a_snapshot_and_change_alike():
    engine, names = engine_of(7)
    reencode(engine, names)
    again = Engine(tiny_config(explore=False), copies(engine.fold_tables()))
    assert differing(copies(again.fold_tables()), engine.fold_tables()) == []
    for one in (engine, again):
        one._close_block()
    assert again.aside.name == "new"
    assert differing(copies(again.fold_tables()), engine.fold_tables()) == []


def test_a_third_encoder_takes_the_place_of_one_that_has_not_come_into_use():
    engine, names = engine_of(9)
    engine.apply_vectors(names[0], None, new_vector(0), "new")
    engine.apply_vectors(names[1], np.ones(3, np.float16), None, "third")
    assert engine.aside.waiting == 1
    engine.apply_vectors(names[2], old_vector(2), None, "old")
    assert (engine.aside.name, engine.aside.waiting) == ("old", 1)
    with pytest.raises(ValueError, match="text vector has 4 dimensions, those before it have 3"):
        engine.apply_vectors(names[2], np.ones(4, np.float16), None, "third")


def test_an_item_whose_new_vector_never_came_keeps_its_place_without_content():
    engine, names = engine_of(10)
    engine.apply_item(ItemDocument(item_id=names[0]))
    reencode(engine, names[1:])
    row = row_of_text(engine.state.items.ids, names[0])
    engine.state.head.seen_I[row] = 5.0
    fused_D = engine.state.head.fused_ID[row].copy()
    engine._switch_encoders()
    assert np.array_equal(engine.state.head.fused_ID[row], fused_D)
    assert engine.state.items.vector_I[row] == -1
