"""The whole catalogue scored by torch, beside the compiled score and a readable ranking."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import random_rows, stream_of
from streams import fold, random_choices, records_of, tiny_config

from streamer.catalog.items import WITHDRAWN, new_items, reserve_items
from streamer.config.tree import Config, Head, Ranking
from streamer.engine.engine import Engine
from streamer.engine.learn import model_of
from streamer.evaluate.engines import run_engine
from streamer.evaluate.stream import engine_batches
from streamer.evaluate.towers import Towers, history_of
from streamer.head.bilinear import ATTENTION_MAX, DIMENSIONS, new_head
from streamer.head.device import DeviceUnavailable
from streamer.ranking.catalog_scores import NO_ITEM, TILE_MIN, Asking, CatalogScores, keys_of, scores_and_items
from streamer.ranking.score import NEURAL_MAX, Asker, score
from streamer.ranking.scratch import NEURAL
from streamer.signals.pairs import CONTEXT
from streamer.windows.users import WINDOW, read_window

SEEDS = st.integers(0, 2**32)


def whole_numbers(items, seed):
    """Head and catalogue whose scores are small whole numbers, so that sums are exact and many scores are equal."""
    rng = np.random.default_rng(seed)
    head, catalog = new_head(items), reserve_items(new_items(items), items, 0)
    head.fused_ID[:, :4] = rng.integers(-2, 3, (items, 4))
    head.bias_I[:] = rng.integers(-2, 3, items)
    head.place_C[:] = 0.0
    catalog.ids.used[0] = items
    catalog.ids.size_R[:items] = 1
    catalog.flags_I[:items][rng.random(items) < 0.1] = WITHDRAWN
    return head, catalog


def asking(items, seed, users):
    """One item a context, of which the mean is itself."""
    rng = np.random.default_rng(seed)
    context_UC = rng.integers(0, items, (users, CONTEXT)).astype(np.int32)
    excluded = [rng.choice(items, int(rng.integers(0, min(items, 9))), replace=False) for _ in range(users)]
    return Asking(context_UC, rng.integers(0, 2, users), excluded)


def readable(head, catalog, asked, entries):
    """Rows of each user's best by (score, row), in a loop."""
    found = []
    for context_C, length, excluded in zip(*asked, strict=True):
        query_D = head.turn_DD @ head.fused_ID[context_C[0]] if length else np.zeros(DIMENSIONS)
        items = len(catalog.flags_I[: catalog.ids.used[0]])
        kept = [item for item in range(items) if catalog.flags_I[item] != WITHDRAWN and catalog.ids.size_R[item]]
        scores = {item: float(head.fused_ID[item] @ query_D + head.bias_I[item]) for item in kept if item not in excluded}
        found.append([(item, scores[item]) for item in sorted(scores, key=lambda item: (-scores[item], item))[:entries]])
    return found


def listed(best):
    return [
        [(item, value) for item, value in zip(items, values, strict=True) if item != NO_ITEM]
        for items, values in zip(best.item_UK.tolist(), best.score_UK.tolist(), strict=True)
    ]


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS, items=st.integers(1, 300), entries=st.integers(1, 40))
def test_lists_are_the_best_that_may_be_listed_and_equal_scores_stand_by_row(seed, items, entries):
    head, catalog = whole_numbers(items, seed)
    catalog.ids.size_R[seed % items] = 0  # evicted
    asked = asking(items, seed, users=5)
    scores = CatalogScores("cpu", users=4)
    assert scores.update(head, catalog) == items
    best = scores.best(asked, entries)
    assert best.item_UK.shape == best.score_UK.shape == (5, entries)
    assert listed(best) == readable(head, catalog, asked, entries)
    assert np.isneginf(best.score_UK[best.item_UK == NO_ITEM]).all()


def test_neither_tiles_nor_portions_change_a_list():
    items = 3 * TILE_MIN
    head, catalog = whole_numbers(items, 3)
    asked = asking(items, 3, users=70)
    found = []
    for users, tile_max in ((64, 65_536), (1, 65_536), (7, 256)):
        scores = CatalogScores("cpu", users=users, tile_max=tile_max)
        scores.update(head, catalog)
        found.append(scores.best(asked, 30))
    for other in found[1:]:
        assert np.array_equal(found[0].item_UK, other.item_UK)
        assert np.array_equal(found[0].score_UK, other.score_UK)


def test_only_rows_that_changed_are_sent_and_lists_are_those_of_tables_sent_anew():
    head, catalog = whole_numbers(TILE_MIN - 3, 5)
    catalog.ids.used[0] = TILE_MIN - 20
    asked = asking(TILE_MIN - 20, 5, users=3)
    kept = CatalogScores("cpu", users=3)
    assert kept.update(head, catalog) == TILE_MIN - 20
    assert kept.update(head, catalog) == 0
    head.fused_ID[[7, 50, 51], 0] = 9.0
    head.bias_I[50] = 3.0
    catalog.flags_I[99] ^= WITHDRAWN
    head.turn_DD[0, 0] = 2.0
    catalog.ids.used[0] += 1
    assert kept.update(head, catalog) == 5
    assert listed(kept.best(asked, 20)) == readable(head, catalog, asked, 20)
    larger, more = whole_numbers(TILE_MIN + 1, 6)
    assert kept.update(larger, more) == TILE_MIN + 1
    assert listed(kept.best(asked, 20)) == readable(larger, more, asked, 20)
    assert kept.update(head, catalog) == TILE_MIN - 19  # another engine's, which has fewer
    assert listed(kept.best(asked, 20)) == readable(head, catalog, asked, 20)


def test_what_is_no_number_counts_as_nothing_and_leaks_from_no_unused_place():
    head, catalog = whole_numbers(40, 7)
    catalog.flags_I[:] = 0
    head.fused_ID[[0, 5]] = np.nan
    asked = Asking(np.array([[3] + [5] * (CONTEXT - 1), [0] * CONTEXT], np.int32), np.array([1, 0]), [[], []])
    scores = CatalogScores("cpu")
    scores.update(head, catalog)
    assert scores.update(head, catalog) == 0
    [known, unknown] = scores.best(asked, 40).score_UK
    assert np.isfinite(known).all()
    assert np.unique(known).size > 1
    kept_I = np.delete(np.arange(40), [0, 5])
    assert sorted(unknown.tolist()) == sorted([*head.bias_I[kept_I].tolist(), 0.0, 0.0])


def test_an_empty_catalogue_gives_empty_lists():
    scores = CatalogScores("cpu")
    head, catalog = new_head(4), new_items(4)
    assert scores.update(head, catalog) == 0
    best = scores.best(asking(4, 1, users=2), 5)
    assert (best.item_UK == NO_ITEM).all()


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_keys_are_in_the_order_of_scores_and_give_them_back(values):
    score_UT = torch.tensor([values])
    key_UT = keys_of(score_UT, 1 << 31)
    order = sorted(range(len(values)), key=lambda n: (-values[n], n))
    assert key_UT[0].argsort(descending=True).tolist() == order
    back_UT, item_UT = scores_and_items(key_UT)
    assert back_UT.tolist() == score_UT.tolist()
    assert item_UT[0].tolist() == list(range(1 << 31, (1 << 31) + len(values)))


@pytest.mark.parametrize("key", [0.0, 100.0])
def test_scores_are_those_of_the_compiled_score(key):
    engine = Engine(tiny_config())
    fold(engine, records_of(random_choices(11, 400)))
    head, state = engine.state.head, engine.state
    rng = np.random.default_rng(1)
    head.key_D[:] = key * rng.normal(size=DIMENSIONS)
    head.fused_ID[:] += rng.normal(size=head.fused_ID.shape)
    items = int(state.items.ids.used[0])
    scores, judged = CatalogScores("cpu"), 0
    scores.update(head, state.items)
    for user in range(engine.user_rows):
        context_W = np.zeros(WINDOW, np.int32)
        length = int(read_window(state.users, user, context_W))
        asker = Asker(user, int(state.users.pushed_U[user]), 0, 0.0)
        count = score(model_of(state), context_W, length, asker, False, False, engine.scratch)
        best = scores.best(Asking(context_W[None, :CONTEXT], np.array([length]), [[]]), items)
        raw_I = np.full(items, np.nan)
        kept_K = best.item_UK[0] != NO_ITEM
        raw_I[best.item_UK[0, kept_K]] = best.score_UK[0, kept_K]
        item_C = engine.scratch.item_C[:count]
        if not length or not count:
            continue
        expected_C = np.clip(raw_I[item_C] - raw_I[item_C].mean(), -NEURAL_MAX, NEURAL_MAX)
        assert engine.scratch.feature_FC[NEURAL, :count] == pytest.approx(expected_C, rel=1e-4, abs=1e-4)
        judged += count
    assert judged > 20
    assert not key or np.abs(head.fused_ID[:items] @ head.key_D).max() > ATTENTION_MAX


def test_the_towers_alone_rank_what_the_head_of_the_same_engine_learned():
    config = Config(head=Head(block_records=32, negatives=8), ranking=Ranking(exclude_seen="true"))
    stream = stream_of(random_rows(3, 300))
    ours, alone = (run_engine(name, stream, config, lambda _: None, keeps_lists=True) for name in ("streamer", "towers"))
    assert alone.tables == ours.tables
    assert alone.candidates is None
    assert not np.array_equal(alone.item_GK, ours.item_GK)
    engine, towers = Engine(config), Towers("cpu")
    for batch in engine_batches(stream):
        engine.apply(batch.columns)
    items = int(engine.state.items.ids.used[0])
    for user in range(-1, engine.user_rows):
        seen = set(history_of(engine, user).tolist()) if user >= 0 else set()
        row_K = towers.ranked(engine, user, items)
        assert set(row_K.tolist()) == set(range(items)) - seen


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(DeviceUnavailable, match=r"head\.device is 'xpu:7'"):
        CatalogScores("xpu:7")
