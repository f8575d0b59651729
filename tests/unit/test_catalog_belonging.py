"""To whom items belong: names have rows while items bear them, and no more names than are allowed."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.catalog import belonging as module
from streamer.catalog.belonging import CATEGORIES_COUNTED, KINDS, NAME_BYTES_MAX, NONE, Belonging, counted_names

NAME = st.sampled_from(["", "a", "b", "é", "other", "z" * 300])
SAID = st.tuples(st.integers(0, 7), st.none() | NAME, st.lists(NAME, max_size=12))


def told(belonging: Belonging, rows: int) -> list[tuple[str | None, list[str]]]:
    """What every item belongs to, by name."""
    return [
        (
            None if belonging.provider_I[row] == NONE else belonging.providers.name(belonging.provider_I[row]),
            [belonging.categories.name(one) for one in category_C if one != NONE],
        )
        for row, category_C in enumerate(belonging.categories_of(np.arange(rows)))
    ]


@given(said=st.lists(SAID | st.lists(st.integers(0, 7), max_size=4, unique=True), max_size=40))
def test_every_item_belongs_to_what_its_last_document_named_and_names_are_counted(said):
    belonging, last = Belonging(), dict.fromkeys(range(8), (None, []))
    belonging.reserve(8)
    for one in said:
        if isinstance(one, list):
            belonging.drop(np.array(one, np.int64))
            last |= dict.fromkeys(one, (None, []))
        else:
            row, provider, categories = one
            belonging.set(row, provider, categories)
            last[row] = (next(iter(counted_names([provider])), None), counted_names(categories)[:CATEGORIES_COUNTED])
    assert told(belonging, 8) == [last[row] for row in range(8)]
    providers = [provider for provider, _ in last.values() if provider]
    known = belonging.providers.known.tolist()
    assert {belonging.providers.name(row): int(belonging.providers.items_R[row]) for row in known} == {
        name: providers.count(name) for name in providers
    }
    again = Belonging({name: table.copy() for name, table in belonging.tables(8).items()})
    assert told(again, 8) == told(belonging, 8)
    for one in (belonging, again):
        one.set(0, "new", ("new", "a"))
    assert {name: table.tobytes() for name, table in again.tables(8).items()} == {
        name: table.tobytes() for name, table in belonging.tables(8).items()
    }


def test_a_name_that_nobody_bears_is_told_as_freed_and_its_row_is_the_next_ones():
    belonging = Belonging()
    belonging.reserve(3)
    assert belonging.set(0, "a", ("x",)) == ([], [])
    belonging.set(1, "a", ("x", "y"))
    assert belonging.set(0, "b", ()) == ([], [])
    assert belonging.set(1, None, ("y",)) == ([0], [0])
    belonging.set(2, "c", ())
    assert belonging.provider_I[:3].tolist() == [1, NONE, 0]
    assert belonging.drop(np.array([0, 1, 2])) == ([0, 1], [1])


def test_beyond_the_largest_number_of_names_an_item_has_none_and_later_ones_may(monkeypatch):
    monkeypatch.setattr(module, "NAMES_MAX", 2)
    belonging = Belonging()
    belonging.reserve(4)
    for row, name in enumerate("abc"):
        belonging.set(row, name, (name, "a"))
    assert told(belonging, 3) == [("a", ["a"]), ("b", ["b", "a"]), (None, ["a"])]
    belonging.set(0, None, ())
    belonging.set(3, "d", ())
    assert told(belonging, 4)[3] == ("d", [])


def test_names_are_cut_between_characters_and_what_is_no_unicode_is_replaced():
    assert counted_names(["é" * 200]) == ["é" * (NAME_BYTES_MAX // 2)]
    assert counted_names(["a" * 255 + "é"]) == ["a" * 255]
    assert counted_names(["\ud800"]) == ["?"]
    with pytest.raises(StopIteration):
        next(iter(counted_names([None, ""])))


def test_a_snapshot_of_before_there_were_names_gives_items_that_belong_to_nobody():
    belonging = Belonging({"items.flags": np.zeros(3, np.uint8)})
    belonging.reserve(3)
    assert told(belonging, 3) == [(None, [])] * 3
    assert set(belonging.tables(3)) == {"belonging.provider", "belonging.category"} | {
        f"{kind}.{name}" for kind in KINDS for name in ("text", "items", "free")
    }


def test_categories_take_no_room_before_an_item_has_one():
    belonging = Belonging()
    belonging.reserve(3)
    belonging.set(0, "a", ())
    belonging.drop(np.array([1]))
    assert belonging.tables(3)["belonging.category"].shape == (0, CATEGORIES_COUNTED)
    belonging.set(2, None, ("x",))
    belonging.reserve(5)
    assert belonging.tables(5)["belonging.category"][:, 0].tolist() == [NONE, NONE, 0, NONE, NONE]


def test_rows_of_an_older_snapshot_in_which_no_item_has_a_category_are_left_out():
    belonging = Belonging(
        {"belonging.provider": np.full(3, NONE, np.int32), "belonging.category": np.full((3, 8), NONE, np.int32)}
    )
    belonging.reserve(4)
    assert told(belonging, 4) == [(None, [])] * 4
    assert belonging.tables(4)["belonging.category"].shape == (0, CATEGORIES_COUNTED)


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(module) == doctest.TestResults(0, 1)
