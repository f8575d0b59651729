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
from streamer.head.device import DeviceUnavailable, require_device
from streamer.head.gradient import Batch, GradientByHand, Parameters, gradient_by_hand
from streamer.head.learner import Learner, refresh
from streamer.head.torch_gradient import EXAMPLES_MIN, SENT, Layout, Staging, gradient_torch, log_likelihood, shape_of
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


def assert_same_slopes(ours, theirs, key=1.0):
    """Within 1e-3, or what single precision leaves of sums whose terms are as large as the largest slopes and cancel out.

    How far a chance is from 1 is known to the precision of 1, and large keys make much of that.
    """
    largest = max(key * 5.0, *(float(np.abs(slope).max(initial=0.0)) for slope in theirs))
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4 * max(1.0, float(np.abs(other).max(initial=0.0)), largest / 30))


@settings(deadline=None, max_examples=60)
@given(seed=SEED, key=st.sampled_from([1.0, 200.0]))
@example(seed=14824, key=1.0)
@example(seed=35587, key=200.0)
def test_the_gradient_by_hand_is_the_one_by_automatic_differentiation(seed, key):
    values, batch = random_case(seed)
    values.key_D[:] *= np.float32(key)  # so large that logits of places meet their bounds
    before = [array.copy() for array in (*values, *batch)]
    assert_same_slopes(gradient_by_hand(values, batch), gradient_torch("cpu")(values, batch), key)
    assert all(np.array_equal(a, b) for a, b in zip(before, (*values, *batch), strict=True))


@settings(deadline=None, max_examples=20)
@given(seed=SEED, examples=st.integers(1, 3 * EXAMPLES_MIN))
def test_a_block_of_any_size_has_the_slopes_of_the_kernel_though_it_is_filled_up(seed, examples):
    values, batch = random_case(seed)
    rng = np.random.default_rng(seed)
    row_B = rng.integers(0, len(batch.target_B), examples)
    batch = Batch(*(part[row_B] if name.endswith(("_B", "_BC")) else part for name, part in batch._asdict().items()))
    assert_same_slopes(gradient_torch("cpu")(values, batch), gradient_by_hand(values, batch))


@settings(deadline=None, max_examples=20)
@given(seed=SEED)
def test_what_fills_a_block_up_has_no_slope_at_all(seed):
    values, batch = random_case(seed)
    layout = Layout(values, shape_of(batch))
    sent_S = Staging(pinned=False).filled(layout, values, batch)
    value_P = sent_S[: layout.parameters].detach().requires_grad_()
    parts = layout.tensors(sent_S[layout.parameters :], SENT)
    log_likelihood(layout.tensors(value_P, Parameters._fields), parts).backward()
    for slope, value in zip(layout.tensors(value_P.grad, Parameters._fields), values, strict=True):
        assert not slope[len(value) :].any()


@pytest.mark.parametrize("made", [lambda: gradient_torch("cpu"), GradientByHand], ids=["torch", "by hand"])
def test_a_block_that_is_not_finite_leaves_nothing_in_the_next_one(made):
    values, batch = random_case(5)
    larger = Batch(*(np.concatenate([part, part]) if name.endswith("_B") else part for name, part in batch._asdict().items()))
    larger = larger._replace(**{name: np.concatenate([getattr(batch, name)] * 2) for name in ("context_BC", "used_BC")})
    gradient, expected = made(), made()(values, batch)
    broken = gradient(Parameters(*(np.full_like(value, np.nan) for value in values)), larger)
    assert np.isnan(broken.free_TD).any()
    again = gradient(values, batch)
    assert all(np.array_equal(one, other) for one, other in zip(again, expected, strict=True))
    single = Batch(*(part[:1] if name.endswith(("_B", "_BC")) else part for name, part in batch._asdict().items()))
    assert_same_slopes(gradient(values, single), gradient_by_hand(values, single))


def test_unused_memory_is_not_read():
    values, batch = random_case(5)
    layout, staging = Layout(values, shape_of(batch)), Staging(pinned=False)
    clean_S = staging.filled(layout, values, batch).clone()
    staging.filled(layout, values, batch)[:] = np.nan
    assert staging.filled(layout, values, batch).tolist() == clean_S.tolist()
    assert clean_S.isfinite().all()


def test_many_blocks_have_few_shapes():
    _, batch = random_case(5)
    rng = np.random.default_rng(1)
    found = set()
    for _ in range(500):
        items, examples = int(rng.integers(1, 3_000)), int(rng.integers(1, 320))
        resized = batch._replace(item_T=np.arange(items), target_B=np.zeros(examples, np.int32))
        shape = shape_of(resized)
        assert (shape.items > items, shape.examples >= examples) == (True, True)
        found.add(shape)
    assert len(found) <= 3 * 4  # items up to 4,096, examples up to 512


def test_a_block_learned_by_torch_is_the_one_learned_by_the_kernel():
    learned = []
    for gradient in (gradient_by_hand, gradient_torch("cpu")):
        head, block, catalog, content = head_of(ITEMS, width=WIDTH)
        rng, learner = np.random.default_rng(1), Learner(learning_rate=0.05, negatives=16, seed=5, gradient=gradient)
        for examples in (40, 7, 64, 65):
            noted(head, block, examples, rng)
            learner.learn(head, block, catalog, content)
        learned.append(head)
    for name in ("free_ID", "bias_I", "content_ED", "turn_DD", "place_C", "key_D", "fused_ID"):
        ours, theirs = (getattr(head, name) for head in learned)
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
    assert [int(head.steps[STEP]) for head in learned] == [4, 4]


def test_a_device_that_is_not_there_is_told_with_what_is():
    require_device("cpu")
    with pytest.raises(DeviceUnavailable, match=r"head\.device is 'xpu:7'.*Found: cpu.*STREAMER_HEAD__DEVICE"):
        gradient_torch("xpu:7")
    with pytest.raises(DeviceUnavailable, match=r"head\.device is 'meta'"):  # computes nothing
        require_device("meta")
    with pytest.raises(DeviceUnavailable, match=r"head\.device is 'nodevice'"):
        require_device("nodevice")


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
