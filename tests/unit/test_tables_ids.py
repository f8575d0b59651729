"""The id table beside a dict: adds, finds, growth, ids that begin alike, ids of one hash, snapshots."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tables.ids import (
    SEPARATOR,
    find_id,
    find_or_add_id,
    hash_bytes,
    id_table_in,
    id_tables_out,
    live_rows,
    new_id_table,
    reserve_ids,
    row_of_text,
    split_and_hash,
    text_of_row,
)

ALIKE = st.builds(
    lambda prefix, n, end: prefix * n + end, st.sampled_from(["a", "ab", "é"]), st.integers(0, 60), st.sampled_from("abé0")
)
ID = st.one_of(st.text(min_size=1, max_size=8), ALIKE)
IDS = st.lists(ID, max_size=120)


def raw(text):
    return np.frombuffer(text.encode(), np.uint8)


def added(table, text, hashed=None):
    """The table (grown where it must) and the row of the id."""
    data = raw(text)
    table = reserve_ids(table, 1, len(data))
    hashed = np.uint64(hash_bytes(data, 0, len(data))) if hashed is None else hashed
    return table, int(find_or_add_id(table, hashed, data, 0, len(data)))


@settings(deadline=None)
@given(ids=IDS, others=IDS)
def test_rows_are_given_in_order_of_first_sight_and_found_again_as_in_a_dict(ids, others):
    table, expected = new_id_table(1), {}
    for text in ids:
        table, row = added(table, text)
        assert row == expected.setdefault(text, len(expected))
    assert live_rows(table) == len(expected)
    assert {text: row_of_text(table, text) for text in (*ids, *others)} == {
        text: expected.get(text, -1) for text in (*ids, *others)
    }
    assert [text_of_row(table, row) for row in range(len(expected))] == list(expected)


@settings(deadline=None)
@given(ids=IDS, more=IDS)
def test_a_table_of_a_snapshot_goes_on_as_if_nothing_had_happened(ids, more):
    table = new_id_table(1)
    for text in ids:
        table, _ = added(table, text)
    again = id_table_in({name: array.copy() for name, array in id_tables_out(table, "ids").items()}, "ids", 1)
    for text in more:
        (table, row), (again, row_again) = added(table, text), added(again, text)
        assert row == row_again
    ours, theirs = id_tables_out(table, "ids"), id_tables_out(again, "ids")
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@settings(deadline=None)
@given(ids=st.lists(ID, unique=True, min_size=2, max_size=40), hashed=st.integers(1, 2**64 - 1))
def test_ids_of_one_hash_stay_apart(ids, hashed):
    table = new_id_table(1)
    for row, text in enumerate(ids):
        table, found = added(table, text, np.uint64(hashed))
        assert found == row
    for row, text in enumerate(ids):
        assert find_id(table, np.uint64(hashed), raw(text), 0, len(raw(text))) == row


def test_an_unknown_id_stores_nothing():
    table = new_id_table(4)
    before = [array.copy() for array in table]
    assert row_of_text(table, "nobody") == -1
    assert all(np.array_equal(a, b) for a, b in zip(before, table, strict=True))


@settings(deadline=None)
@given(ids=st.lists(st.one_of(ID, st.just("")), max_size=50))
def test_joined_ids_are_split_and_hashed_as_each_alone(ids):
    joined = bytes([SEPARATOR]).join(text.encode() for text in ids)
    start_N1, hash_N = np.zeros(len(ids) + 1, np.int64), np.zeros(len(ids), np.uint64)
    split_and_hash(np.frombuffer(joined, np.uint8), start_N1, hash_N)
    for n, text in enumerate(ids):
        assert joined[start_N1[n] : start_N1[n + 1] - 1] == text.encode()
        assert hash_N[n] == (hash_bytes(raw(text), 0, len(raw(text))) if text else 0)
    assert len(set(hash_N.tolist())) == len(set(ids))
