"""The best of candidates beside numpy's sort, ranks beside counting, JSON beside ``json.loads``."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.ranking.lists import NOBODY, REASONS, best_places, empty_lists
from streamer.ranking.render import Page, stamp_of
from streamer.ranking.score import center, rank_of
from streamer.ranking.scratch import TERMS
from streamer.tables.ids import TEXT_USED, find_or_add_id, hash_bytes, new_id_table, reserve_ids

LOGITS = st.lists(st.sampled_from([-1.5, 0.0, 0.25, 1.0, 3.0, 7.0]) | st.floats(-9, 9, width=32), max_size=60)


@settings(deadline=None, max_examples=200)
@given(logits=LOGITS, entries=st.integers(1, 25))
def test_the_best_places_are_those_of_a_stable_sort(logits, entries):
    logit_C, place_K = np.array([*logits, 99.0], np.float32), np.zeros(entries, np.int64)
    used = best_places(logit_C, len(logits), place_K)
    expected = np.argsort(-logit_C[: len(logits)], kind="stable")[:entries]
    assert place_K[:used].tolist() == expected.tolist()


@settings(deadline=None)
@given(logits=LOGITS.filter(bool), data=st.data())
def test_a_rank_counts_the_better_and_half_of_the_equal(logits, data):
    place = data.draw(st.integers(0, len(logits) - 1))
    logit_C = np.array(logits, np.float32)
    better, equal = int((logit_C > logit_C[place]).sum()), int((logit_C == logit_C[place]).sum())
    assert rank_of(logit_C, len(logits), place) == better + (1 + equal) / 2


@settings(deadline=None)
@given(logits=LOGITS)
def test_centering_takes_out_the_mean_and_bounds_the_rest(logits):
    value_C = np.array([*logits, 42.0], np.float32)
    center(value_C, len(logits))
    expected = np.clip(np.array(logits) - (np.mean(logits) if logits else 0.0), -10, 10)
    assert value_C[:-1] == pytest.approx(expected, abs=1e-4)
    assert value_C[-1] == 42.0


ODD_ID = st.one_of(
    st.text(min_size=1, max_size=12),
    st.text('"\\/\b\f\n\r\t\x00\x1f\x7f\u2028é€😀', min_size=1, max_size=60),
    st.sampled_from(["\x01" * 256, '"' * 256, "😀" * 64, "plain"]),
)
ENTRY = st.tuples(
    st.integers(0, 99),
    st.floats(-500, 500, width=32),
    st.lists(st.tuples(st.integers(0, len(TERMS) - 1), st.floats(-99, 99, width=32), st.integers(-1, 99)), max_size=REASONS),
)
LISTS = st.lists(st.tuples(st.integers(-1, 99), st.lists(ENTRY, max_size=5)), max_size=12)


def table_of(ids):
    table = new_id_table(1)
    for text in ids:
        data = np.frombuffer(text.encode(), np.uint8)
        table = reserve_ids(table, 1, len(data))
        find_or_add_id(table, np.uint64(hash_bytes(data, 0, len(data))), data, 0, len(data))
    return table


@settings(deadline=None, max_examples=100)
@given(ids=st.lists(ODD_ID, min_size=1, max_size=8, unique=True), wanted=LISTS, is_full=st.booleans())
def test_rendered_lists_parse_to_what_was_ranked(ids, wanted, is_full):
    users = items = table_of(ids)
    if is_full:  # nothing lies behind the last id
        users = items = items._replace(text_B=items.text_B[: items.used[TEXT_USED]])
    lists = empty_lists(np.array([user % len(ids) if user >= 0 else NOBODY for user, _ in wanted], np.int64), 5)
    lists.term_UKR[:] = lists.about_UKR[:] = NOBODY
    for n, (_, entries) in enumerate(wanted):
        lists.count_U[n] = len(entries)
        for k, (item, score, reasons) in enumerate(entries):
            lists.item_UK[n, k], lists.score_UK[n, k] = item % len(ids), score
            for r, (term, value, about) in enumerate(reasons):
                lists.term_UKR[n, k, r], lists.value_UKR[n, k, r] = term, value
                lists.about_UKR[n, k, r] = about % len(ids) if about >= 0 else NOBODY
    payloads = Page().render(lists, users, items, stamp_of("0000000000007-00000000000000000009", 3, 5, 11, reasons=5 * REASONS))
    assert len(payloads) == len(wanted)
    for payload, (user, entries) in zip(payloads, wanted, strict=True):
        assert payload.startswith(b'{"version":"0000000000007-00000000000000000009","user_id":"')
        assert json.loads(payload) == {
            "version": "0000000000007-00000000000000000009",
            "user_id": ids[user % len(ids)] if user >= 0 else "",
            "items": [parsed(ids, *entry) for entry in entries],
            "head_step": 3,
            "event_ms": 5,
            "written_ms": 11,
        }


def parsed(ids, item, score, reasons):
    why = [[TERMS[term], four(value), ids[about % len(ids)] if about >= 0 else None] for term, value, about in reasons]
    return {"item_id": ids[item % len(ids)], "score": four(score), "why": why}


def four(value):
    """A number as written: four decimals."""
    return pytest.approx(float(value), abs=0.5001e-4)


@pytest.mark.parametrize(
    ("score", "written"),
    [
        (0.0, "0.0000"),
        (-0.00004, "0.0000"),
        (-0.00006, "-0.0001"),
        (0.99997, "1.0000"),
        (-9.99997, "-10.0000"),
        (10.0, "10.0000"),
        (123.0625, "123.0625"),
        (-98_765.5, "-98765.5000"),
        (3e9, "3000000000.0000"),
    ],
)
def test_a_number_is_written_with_four_decimals(score, written):
    items, lists = table_of(["a"]), empty_lists(np.array([NOBODY], np.int64), 5)
    lists.count_U[:], lists.score_UK[:], lists.term_UKR[:] = 1, score, NOBODY
    (payload,) = Page().render(lists, items, items, stamp_of("v", 0, 0, 0, reasons=0))
    assert f'{{"item_id":"a","score":{written},"why":[]}}' in payload.decode()


def test_more_text_than_the_buffer_holds_is_written_whole():
    items = table_of(["\x01" * 250 + str(n) for n in range(20)])
    lists = empty_lists(np.zeros(300, np.int64), 20)
    lists.count_U[:], lists.item_UK[:] = 20, np.arange(20)
    lists.term_UKR[:], lists.about_UKR[:] = 0, 3
    page, stamp = Page(), stamp_of("v", 0, 0, 0, reasons=20 * REASONS)
    payloads = page.render(lists, items, items, stamp)
    assert len(set(payloads)) == 1
    assert [entry["item_id"][250:] for entry in json.loads(payloads[-1])["items"]] == [str(n) for n in range(20)]
    again = page.render(empty_lists(np.zeros(2, np.int64), 20), items, items, stamp)
    assert [json.loads(payload)["items"] for payload in again] == [[], []], "nothing of the page before is left"
