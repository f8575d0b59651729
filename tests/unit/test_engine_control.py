"""Freezing, unfreezing and restoring what the engine learned, and freezing by itself after ten skipped blocks."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from streams import Record, copies, differing, fold, random_choices, records_of, restored, tiny_config

from streamer.engine.engine import Engine
from streamer.engine.freezing import SKIPPED_IN_A_ROW_MAX
from streamer.events.model import ItemDocument
from streamer.head.batch import trust_of
from streamer.head.bilinear import head_in
from streamer.head.gate import gate_in
from streamer.ranking.score import FIXED_F
from streamer.snapshots.rollback import same_items

LEARNED = ("gate.weight", "gate.inverse", "head.free_ID", "head.bias_I", "head.turn_DD", "head.place_C", "head.key_D")


ALL = records_of(random_choices(1, 12_000))


def part(n: int, size: int = 300) -> list[Record]:
    """A stretch of one stream."""
    return ALL[n * size : (n + 1) * size]


def learned(engine: Engine) -> dict[str, np.ndarray]:
    return {name: table for name, table in copies(engine.fold_tables()).items() if name in LEARNED}


def same_rows(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    """Tables that changed, in the rows that were there before."""
    return [name for name in before if before[name].tobytes() != after[name][: len(before[name])].tobytes()]


def poisoned() -> tuple[Engine, dict[str, np.ndarray]]:
    """An engine that learned, whose towers then were spoiled; and its tables before."""
    engine = fold(Engine(tiny_config()), part(1))
    before = copies(engine.fold_tables())
    engine.state.head.turn_DD[:] = np.nan
    return engine, before


def test_a_frozen_head_learns_nothing_and_counts_go_on():
    engine = fold(Engine(tiny_config()), part(1))
    engine.freeze()
    before, counted = learned(engine), engine.state.stream[0]
    step = engine.head_step
    fold(engine, part(2))
    assert engine.frozen
    assert same_rows(before, learned(engine)) == []
    assert engine.state.stream[0] > counted
    assert engine.head_step == step
    engine.unfreeze()
    fold(engine, part(3))
    assert engine.head_step > step
    assert "gate.weight" in same_rows(before, learned(engine))


def test_an_engine_of_a_snapshot_knows_that_it_is_frozen():
    engine = fold(Engine(tiny_config()), part(1))
    engine.freeze()
    other = restored(engine, tiny_config())
    assert other.frozen
    assert differing(fold(engine, part(2)).fold_tables(), fold(other, part(2)).fold_tables()) == []


def test_ten_blocks_skipped_in_a_row_freeze_learning_and_the_log_says_what_to_do(caplog):
    engine, _ = poisoned()
    with caplog.at_level(logging.ERROR):
        for seed in range(2, 38):
            fold(engine, part(seed))
            if engine.frozen:
                break
    assert engine.frozen
    assert engine.head_skipped == SKIPPED_IN_A_ROW_MAX
    assert "streamer rollback" in caplog.text
    assert "streamer unfreeze" in caplog.text
    skipped = engine.head_skipped
    fold(restored(engine, tiny_config()), part(38))
    assert engine.head_skipped == skipped


def test_the_count_of_skipped_blocks_begins_anew_after_one_that_taught():
    engine, before = poisoned()
    n = 600  # one record at a time, to stop short of the tenth block
    while engine.head_skipped < SKIPPED_IN_A_ROW_MAX - 1:
        fold(engine, part(n, 1))
        n += 1
    assert not engine.frozen
    engine.state.head.turn_DD[:] = before["head.turn_DD"]
    fold(engine, part(39))
    assert not engine.frozen
    assert engine.fold_tables()["control"].tolist() == [0, 0, 0]


def test_unfreezing_ends_both_kinds_of_freezing():
    engine, _ = poisoned()
    seed = 2
    while not engine.frozen:
        fold(engine, part(seed))
        seed += 1
    engine.freeze()
    engine.unfreeze()
    assert not engine.frozen
    assert engine.fold_tables()["control"].tolist() == [0, 0, 0]


def test_what_was_learned_comes_back_for_items_that_are_there_still_and_nothing_else_changes():
    engine = fold(Engine(tiny_config()), part(1))
    saved = copies(engine.fold_tables())
    fold(engine, part(2))
    engine.apply_item(item("an item of later"))
    later = engine.state.head.free_ID[engine.sizes()["items"] - 1].copy()
    before = copies(engine.fold_tables())
    head, gate = head_in(saved, len(saved["items.ids.hash"])), gate_in(saved, FIXED_F)
    from_T, to_T = same_items(Engine(tiny_config(), copies(saved)).state.items.ids, engine.state.items.ids)
    engine.restore_head(head, gate, from_T, to_T)
    after = engine.fold_tables()
    assert len(to_T) > 0
    assert same_rows({"gate.weight": saved["gate.weight"], "gate.inverse": saved["gate.inverse"]}, after) == []
    assert np.array_equal(after["head.free_ID"][to_T], saved["head.free_ID"][from_T])
    content = engine.content.of_rows(engine.state.items, to_T) @ saved["head.content_ED"]
    trust_T = trust_of(engine.state.head, engine.state.items, engine.content, to_T)
    assert np.allclose(after["head.fused_ID"][to_T], trust_T[:, None] * saved["head.free_ID"][from_T] + content, atol=1e-6)
    assert np.array_equal(after["head.free_ID"][engine.sizes()["items"] - 1], later)
    moved = (
        "gate.",
        "head.free",
        "head.bias",
        "head.square",
        "head.seen",
        "head.fused",
        "head.text",
        "head.image",
        "head.content",
        "head.turn",
        "head.place",
        "head.key",
    )
    assert [name for name in differing(before, after) if not name.startswith((*moved, "head.attention"))] == []


def test_rows_that_the_snapshot_lacks_start_anew_where_they_are_not_finite():
    engine = fold(Engine(tiny_config()), part(1))
    saved = copies(engine.fold_tables())
    engine.apply_item(item("an item of later"))
    engine.state.head.free_ID[: engine.sizes()["items"]] = np.nan
    head, gate = head_in(saved, len(saved["items.ids.hash"])), gate_in(saved, FIXED_F)
    engine.restore_head(head, gate, *same_items(Engine(tiny_config(), copies(saved)).state.items.ids, engine.state.items.ids))
    assert np.isfinite(engine.fold_tables()["head.free_ID"]).all()
    assert np.isfinite(engine.fold_tables()["head.fused_ID"]).all()


def test_a_head_of_another_encoder_is_refused_and_nothing_changes():
    other = Engine(tiny_config())
    other.apply_vectors("i1", np.ones(8, np.float16))
    saved = copies(other.fold_tables())
    engine = Engine(tiny_config())
    engine.apply_vectors("i1", np.ones(4, np.float16))
    before = copies(engine.fold_tables())
    with pytest.raises(ValueError, match=r"have \(8, 0\) dimensions, those of now \(4, 0\)"):
        engine.restore_head(head_in(saved, 64), gate_in(saved, FIXED_F), np.array([0]), np.array([0]))
    assert differing(before, engine.fold_tables()) == []


def item(item_id: str) -> ItemDocument:
    return ItemDocument(item_id=item_id)
