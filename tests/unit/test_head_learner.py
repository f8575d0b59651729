"""The head's gradient by hand beside automatic differentiation; its negatives beside their frequencies; its step."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamer.catalog.items import new_items, reserve_items
from streamer.catalog.vectors import ContentVectors
from streamer.head.bilinear import (
    ATTENTION_MAX,
    BLOCK_RECORDS,
    DIMENSIONS,
    DROP_FREE,
    DROP_IMAGE,
    DROP_TEXT,
    RECENT_TARGETS,
    SKIPPED,
    STEP,
    YOUTH,
    admit_item,
    affinity,
    block_in,
    block_out,
    draw_dropout,
    draw_negatives,
    fill_log_odds,
    fill_query,
    head_in,
    head_out,
    new_block,
    new_head,
    note_example,
    reserve_head,
    with_content,
)
from streamer.head.gradient import Batch, Parameters, gradient_by_hand
from streamer.head.learner import Learner, refresh
from streamer.head.torch_gradient import gradient_torch
from streamer.signals.pairs import CONTEXT

WIDTH, ITEMS = 6, 30
SEED = st.integers(0, 2**32)


def random_case(seed):
    rng = np.random.default_rng(seed)
    items, examples, negatives = (int(rng.integers(1, n)) for n in (12, 9, 10))
    width = int(rng.choice([0, WIDTH]))
    used_BC = (rng.random((examples, CONTEXT)) < 0.7).astype(np.float32)
    used_BC[:, 0] = 1.0
    values = Parameters(
        *(
            rng.normal(size=shape).astype(np.float32) * np.float32(0.4)
            for shape in (
                (items, DIMENSIONS),
                (items,),
                (width, DIMENSIONS),
                (DIMENSIONS, DIMENSIONS),
                (CONTEXT,),
                (DIMENSIONS,),
            )
        )
    )
    batch = Batch(
        item_T=np.arange(items),
        content_TE=rng.normal(size=(items, width)).astype(np.float32),
        trust_T=rng.random(items).astype(np.float32),
        context_BC=rng.integers(0, items, (examples, CONTEXT)),
        used_BC=used_BC,
        target_B=rng.integers(0, items, examples),
        negative_N=rng.integers(0, items, negatives),
        target_odds_B=rng.normal(size=examples).astype(np.float32),
        negative_odds_N=rng.normal(size=negatives).astype(np.float32),
        weight_B=rng.choice([-0.2, 1.0, 2.0, 3.0], examples).astype(np.float32),
    )
    return values, batch


@settings(deadline=None, max_examples=60)
@given(seed=SEED)
@example(seed=14824)
def test_the_gradient_by_hand_is_the_one_by_automatic_differentiation(seed):
    values, batch = random_case(seed)
    before = [array.copy() for array in (*values, *batch)]
    for ours, theirs in zip(gradient_by_hand(values, batch), gradient_torch("cpu")(values, batch), strict=True):
        assert ours.shape == theirs.shape
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4 * max(1.0, float(np.abs(theirs).max(initial=0.0))))
    assert all(np.array_equal(a, b) for a, b in zip(before, (*values, *batch), strict=True))


def head_of(items, *, width=0):
    """Head, block, catalog and content with every item admitted, every third with a vector."""
    head, block = with_content(new_head(items), (width, width // 2), 7), new_block(64)
    catalog, content = reserve_items(new_items(items), 1, 0), ContentVectors(7)
    catalog.ids.used[0] = items
    rng = np.random.default_rng(3)
    for item in range(items):
        admit_item(head, item, 7)
        if width and item % 3 == 0:
            text_E, image_E = (rng.normal(size=size).astype(np.float16) for size in (width, width // 2))
            content.set(catalog, item, text_E if item % 2 else None, image_E)
    refresh(head, catalog, content, np.arange(items))
    return head, block, catalog, content


def noted(head, block, examples, rng):
    for _ in range(examples):
        context_W = rng.integers(0, ITEMS, 20).astype(np.int32)
        note_example(head, block, context_W, int(rng.integers(1, 21)), int(ITEMS * rng.random() ** 3), 1.0)
    block.state[BLOCK_RECORDS] = examples


@pytest.mark.parametrize("targets", [300, RECENT_TARGETS + 500])
def test_negatives_come_as_often_as_their_log_odds_say(targets):
    head, block, *_ = head_of(ITEMS)
    noted(head, block, targets, np.random.default_rng(1))
    draws, steps = 64, 1_500
    negative_N, log_odds_N = np.zeros(draws, np.int32), np.zeros(draws, np.float32)
    seen_I, odds_I = np.zeros(ITEMS), np.full(ITEMS, np.nan)
    for step in range(steps):
        head.steps[STEP] = step
        draw_negatives(head, ITEMS, 5, negative_N, log_odds_N)
        seen_I += np.bincount(negative_N, minlength=ITEMS)
        odds_I[negative_N] = log_odds_N
    expected_I = np.exp(odds_I) / draws
    assert expected_I.sum() == pytest.approx(1.0, abs=1e-5)
    error_I = np.abs(seen_I / (draws * steps) - expected_I) / np.sqrt(expected_I / (draws * steps))
    assert error_I.max() < 5.0  # standard errors
    again_I = np.zeros(ITEMS, np.float32)
    fill_log_odds(head, ITEMS, np.arange(ITEMS, dtype=np.int32), draws, again_I)
    assert odds_I.tolist() == again_I.tolist()


def test_recent_targets_are_counted_as_they_leave():
    head, block, *_ = head_of(ITEMS)
    noted(head, block, RECENT_TARGETS + 500, np.random.default_rng(2))
    assert head.recent_count_I.tolist() == np.bincount(head.recent_T, minlength=ITEMS).tolist()


def test_a_block_keeps_nothing_of_the_block_before_it():
    head, block, catalog, content = head_of(ITEMS)
    note_example(head, block, np.arange(5, 25, dtype=np.int32), 20, 3, 1.0)
    Learner(learning_rate=0.05, negatives=16, seed=5).learn(head, block, catalog, content)
    note_example(head, block, np.arange(5, 25, dtype=np.int32), 2, 3, 1.0)
    again = block_in(block_out(block), 64)
    assert block.context_BN[0].tolist() == [5, 6] + [0] * (CONTEXT - 2)
    note_example(head, block, np.arange(5, 25, dtype=np.int32), 1, 4, 1.0)
    note_example(head, again, np.arange(5, 25, dtype=np.int32), 1, 4, 1.0)
    ours, theirs = block_out(block), block_out(again)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@settings(deadline=None, max_examples=20)
@given(seed=SEED, length=st.integers(0, 20))
@example(seed=242, length=10)
def test_affinity_is_the_bilinear_form_of_the_window_and_the_item(seed, length):
    rng = np.random.default_rng(seed)
    head, *_ = head_of(ITEMS, width=WIDTH)
    head.turn_DD[:] = rng.normal(size=head.turn_DD.shape)
    head.bias_I[:] = rng.normal(size=ITEMS)
    head.place_C[:] = rng.normal(size=CONTEXT)
    head.key_D[:] = rng.normal(size=DIMENSIONS) * 5
    context_W, item_C = rng.integers(0, ITEMS, 20).astype(np.int32), np.arange(ITEMS, dtype=np.int32)
    query_D, out_C = np.zeros(DIMENSIONS, np.float32), np.zeros(ITEMS, np.float32)
    fill_query(head, context_W, length, np.ones(DIMENSIONS, np.float32), query_D)
    affinity(head, query_D, item_C, ITEMS, out_C)
    used = context_W[: min(length, CONTEXT)]
    weight_C = np.exp(np.clip(head.place_C[: len(used)] + head.fused_ID[used] @ head.key_D, -ATTENTION_MAX, ATTENTION_MAX))
    mean_D = weight_C @ head.fused_ID[used] / weight_C.sum() if len(used) else np.zeros(DIMENSIONS)
    assert out_C == pytest.approx(head.fused_ID @ (head.turn_DD @ mean_D) + head.bias_I, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("width", [0, WIDTH])
def test_a_step_makes_the_targets_likelier_and_refreshes_what_scoring_reads(width):
    head, block, catalog, content = head_of(ITEMS, width=width)
    rng = np.random.default_rng(1)
    learner = Learner(learning_rate=0.05, negatives=16, seed=5)
    for _ in range(40):
        for _ in range(32):
            item = int(rng.integers(0, 10))
            note_example(head, block, np.full(20, item, np.int32), 3, item + 10, 1.0)
        learner.learn(head, block, catalog, content)
    assert (head.steps[STEP], head.steps[SKIPPED], block.state.tolist()) == (40, 0, [0, 0, 0, 0])
    has_I = content.has(catalog, np.arange(ITEMS)).any(axis=1)
    trust_I = np.where(has_I, head.seen_I / (head.seen_I + YOUTH), 1.0)
    fused_ID = trust_I[:, None] * head.free_ID + content.of_rows(catalog, np.arange(ITEMS)) @ head.content_ED
    assert head.fused_ID == pytest.approx(fused_ID, abs=1e-5)
    assert head.seen_I.sum() == 40 * 32
    query_D, out_C = np.zeros(DIMENSIONS, np.float32), np.zeros(ITEMS, np.float32)
    fill_query(head, np.full(20, 4, np.int32), 3, np.zeros(DIMENSIONS, np.float32), query_D)
    affinity(head, query_D, np.arange(ITEMS, dtype=np.int32), ITEMS, out_C)
    assert int(out_C.argmax()) == 14


def test_a_block_whose_gradient_is_not_finite_teaches_nothing_and_is_counted():
    head, block, catalog, content = head_of(ITEMS)
    head.free_ID[3, 0] = np.nan
    noted(head, block, 30, np.random.default_rng(1))
    block.context_BN[:, 0] = 3
    before = [array.copy() for array in (head.free_ID, head.bias_I, head.square_I, head.turn_DD)]
    Learner(learning_rate=0.05, negatives=16, seed=5).learn(head, block, catalog, content)
    after = (head.free_ID, head.bias_I, head.square_I, head.turn_DD)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))
    assert (head.steps[STEP], head.steps[SKIPPED], block.state.tolist()) == (1, 1, [0, 0, 0, 0])


def test_an_item_that_nobody_chose_is_where_its_content_puts_it_and_one_without_content_where_its_free_vector_does():
    head, _, catalog, content = head_of(ITEMS, width=WIDTH)
    assert head.fused_ID[3] == pytest.approx(head.text_ID[3] + head.image_ID[3], abs=1e-6)
    assert np.abs(head.text_ID[3]).sum() > 0
    assert np.array_equal(head.text_ID[6], np.zeros(DIMENSIONS))
    assert np.abs(head.image_ID[6]).sum() > 0
    assert np.array_equal(head.fused_ID[4], head.free_ID[4])
    head.seen_I[3] = 1e6
    refresh(head, catalog, content, np.array([3]))
    assert head.fused_ID[3] == pytest.approx(head.free_ID[3] + head.text_ID[3] + head.image_ID[3], abs=1e-5)


def test_until_an_item_has_content_fused_and_free_vectors_are_one_array_and_then_two():
    head = new_head(4)
    for row in range(4):
        admit_item(head, row, 7)
    grown_head = reserve_head(head, 9)
    restored = head_in(head_out(grown_head, 4), 6)
    for one in (head, grown_head, restored):
        assert one.fused_ID is one.free_ID
        assert np.array_equal(one.free_ID[:4], head.free_ID)
    assert np.abs(restored.free_ID[:4]).min() > 0
    parted = with_content(restored, (3, 0), 7)
    assert not np.shares_memory(parted.fused_ID, parted.free_ID)
    assert np.array_equal(parted.fused_ID, restored.free_ID)
    again = head_in(head_out(parted, 4), 6)
    assert not np.shares_memory(again.fused_ID, again.free_ID)


def test_a_modality_that_comes_later_leaves_what_the_other_has_learned():
    head = with_content(new_head(4), (3, 0), 7)
    head.content_ED[:], head.content_square_E[:] = 5.0, 2.0
    both = with_content(head, (3, 2), 7)
    assert (both.content_ED[:3] == 5.0).all()
    assert both.content_square_E.tolist() == [2.0] * 3 + [0.0] * 2
    assert np.abs(both.content_ED[3:]).sum() > 0
    assert with_content(both, (3, 2), 7) is both
    first = with_content(with_content(new_head(4), (0, 2), 7), (3, 2), 7)
    assert np.array_equal(first.content_ED[3:], both.content_ED[3:])


def test_items_of_a_block_learn_without_a_part_of_theirs_as_often_as_is_said():
    item_T, part_T = np.arange(400), np.zeros(400, np.int8)
    shares = np.zeros(4)
    for step in range(50):
        draw_dropout(step, item_T, 7, part_T)
        shares += np.bincount(part_T, minlength=4)
    kept = 1.0 - DROP_TEXT - DROP_IMAGE - DROP_FREE
    assert shares / shares.sum() == pytest.approx([kept, DROP_TEXT, DROP_IMAGE, DROP_FREE], abs=0.015)
