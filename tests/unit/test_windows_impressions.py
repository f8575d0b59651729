"""Impressions: what was shown and not chosen in time is a negative example; a later stage of one choice counts the difference."""

import json

import numpy as np
import pytest
from streams import START_MS, Record, fold

from streamer.config.tree import Config, Head, Signals
from streamer.engine.engine import Engine
from streamer.engine.state import CAPPED
from streamer.head.bilinear import BLOCK_EXAMPLES, BLOCK_SHOWN
from streamer.signals.trends import FOR_EVER
from streamer.tables.ids import row_of_text
from streamer.windows.impressions import FIRST, IMPRESSIONS_MAX, NEXT, new_impressions, note_impression, take_ignored

WAIT_MS = 600_000


def engine_of(**signals):
    return Engine(Config(signals=Signals(**signals), head=Head(block_ms_max=10**9, block_records=100)))


def event(kind, user, items, at_s):
    fields = {"item_ids": items} if kind == "impression" else {"item_id": items}
    value = {"type": kind, "user_id": user, "timestamp": START_MS + 1_000 * at_s, **fields}
    return Record("events", 0, user.encode(), json.dumps(value).encode(), START_MS + 1_000 * at_s)


def shown_examples(engine):
    """Items of the open block that were shown and not chosen."""
    block, ids = engine.state.block, engine.state.items.ids
    count = int(block.state[BLOCK_EXAMPLES])
    named = {
        row: ids.text_B[s : s + z].tobytes().decode() for row, (s, z) in enumerate(zip(ids.start_R, ids.size_R, strict=True))
    }
    found = [
        named[int(item)] for item, weight in zip(block.target_B[:count], block.weight_B[:count], strict=True) if weight < 0
    ]
    assert len(found) == block.state[BLOCK_SHOWN]
    return found


def begun(**signals):
    """Users u and w, items a to d, each chosen once."""
    choices = [("u", "a"), ("w", "b"), ("u", "c"), ("w", "d")]
    return fold(engine_of(**signals), [event("click", user, item, n) for n, (user, item) in enumerate(choices)])


def test_what_was_shown_and_not_chosen_within_the_wait_is_a_negative_example():
    #  10 s: b, d shown   20 s: b chosen   609 s: too early   610 s: the wait of d is over
    engine = fold(
        begun(), [event("impression", "u", ["b", "d"], 10), event("click", "u", "b", 20), event("click", "w", "a", 609)]
    )
    assert shown_examples(engine) == []
    fold(engine, [event("click", "w", "c", 610)])
    assert shown_examples(engine) == ["d"]


def test_a_choice_before_the_impression_or_after_the_wait_is_none_of_it():
    engine = fold(begun(), [event("click", "u", "b", 5), event("impression", "u", ["b"], 10), event("click", "w", "a", 700)])
    assert shown_examples(engine) == ["b"]
    fold(engine, [event("click", "u", "b", 701)])
    assert shown_examples(engine) == ["b"]


def test_an_impression_admits_nobody_and_nothing():
    engine = begun()
    sizes = engine.sizes()
    fold(
        engine,
        [event("impression", "stranger", ["a"], 10), event("impression", "u", ["unseen"], 11), event("click", "w", "a", 900)],
    )
    assert engine.sizes() == sizes
    assert shown_examples(engine) == []


def test_a_weight_of_zero_leaves_impressions_alone():
    engine = fold(begun(weight_impression=0.0), [event("impression", "u", ["b"], 10), event("click", "w", "a", 900)])
    assert shown_examples(engine) == []


def test_impressions_count_with_the_contributions_of_the_hour():
    engine = begun(user_contributions_per_hour_max=3)
    fold(engine, [event("impression", "u", ["b"], 10), event("impression", "u", ["d"], 11), event("click", "w", "a", 900)])
    assert shown_examples(engine) == ["b"]
    assert engine.state.counter_C[CAPPED] == 1


def test_a_forgotten_users_impressions_teach_nothing():
    engine = fold(begun(), [event("impression", "u", ["b"], 10)])
    engine.apply_forget("u", START_MS + 20_000)
    fold(engine, [event("click", "w", "a", 900)])
    assert shown_examples(engine) == []


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_an_item_that_is_shown_and_never_chosen_sinks(weight):
    """Two items are chosen equally often; one is shown to everybody all the time."""
    records = []
    for n in range(1_500):
        user, item = f"u{n % 40}", f"i{n % 7}"
        records.append(event("click", user, item, 60 * n))
        records.append(event("impression", user, ["i0"] if item != "i0" else ["i1"], 60 * n + 1))
    engine = fold(Engine(Config(signals=Signals(weight_impression=weight), head=Head(block_records=64))), records)
    bias = [float(engine.state.head.bias_I[row_of_text(engine.state.items.ids, f"i{k}")]) for k in range(7)]
    others = np.array(bias[2:])
    assert (bias[0] < others.min() - 0.05) == (weight > 0)


def test_a_purchase_after_a_click_counts_what_it_has_more():
    weights = {"weight_click": 1.0, "weight_cart": 2.0, "weight_purchase": 3.0}
    choices = [("click", "a"), ("click", "b"), ("cart", "a"), ("purchase", "a"), ("click", "b"), ("click", "a")]
    engine = fold(engine_of(**weights), [event(kind, "u", item, 60 * n) for n, (kind, item) in enumerate(choices)])
    fold(engine, [event("click", "w", "z", 10_000)])
    counted = {
        item: float(engine.state.trends.value_IH[row_of_text(engine.state.items.ids, item), FOR_EVER]) for item in ("a", "b")
    }
    assert counted == {"a": 1.0 + 1.0 + 1.0, "b": 1.0}
    examples = int(engine.state.block.state[BLOCK_EXAMPLES])  # all but the first, which has no context
    assert engine.state.block.weight_B[:examples].tolist() == [1.0, 1.0, 1.0, 1.0, 1.0]


def test_the_oldest_impression_gives_way_where_too_many_wait():
    impressions, users = new_impressions(), engine_of().state.users
    for n in range(IMPRESSIONS_MAX + 3):
        note_impression(impressions, 0, n, n)
    assert impressions.ends[NEXT] - impressions.ends[FIRST] == IMPRESSIONS_MAX
    at = take_ignored(impressions, users, 10**9, WAIT_MS)
    assert impressions.item_M[at] == 3
    assert take_ignored(new_impressions(), users, 10**9, WAIT_MS) == -2
