"""Content vectors by item row: what is kept of either modality, centred, moved together, and gone."""

import numpy as np
import pytest

from streamer.catalog.items import new_items
from streamer.catalog.vectors import MEAN_FROM, PROJECTED, WIDTH_MAX, ContentVectors

SEED = 7


def unit(vector):
    return vector / np.linalg.norm(vector)


def filled(count, width=4):
    items, content = new_items(64), ContentVectors(SEED)
    for row in range(count):
        content.set(items, row, np.arange(row, row + width).astype(np.float16), None)
    return items, content


def test_each_modality_has_length_one_and_a_missing_one_is_zero():
    items, content = new_items(8), ContentVectors(SEED)
    content.set(items, 0, np.array([3.0, 4.0], np.float16), None)
    content.set(items, 1, None, np.array([0.0, 2.0, 0.0], np.float16))
    content.set(items, 2, np.array([1.0, 0.0], np.float16), np.array([0.0, 0.0, 5.0], np.float16))
    expected = [[0.6, 0.8, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert np.allclose(content.of_rows(items, np.arange(4)), expected)
    assert content.has(items, np.arange(4)).tolist() == [[True, False], [False, True], [True, True], [False, False]]
    assert content.widths == (2, 3)
    content.set(items, 2, None, np.array([0.0, 5.0, 0.0], np.float16))
    assert content.of_rows(items, np.array([2])).tolist() == [[0, 0, 0, 1, 0]]


def test_an_image_that_comes_first_stands_behind_the_text_that_comes_later():
    items, content = new_items(8), ContentVectors(SEED)
    content.set(items, 0, None, np.ones(1, np.float16))
    content.set(items, 1, np.array([0.0, 1.0], np.float16), None)
    assert content.of_rows(items, np.array([0, 1])).tolist() == [[0, 0, 1], [0, 1, 0]]


def test_what_all_have_in_common_is_taken_out_from_enough_vectors_on():
    items, content = new_items(64), ContentVectors(SEED)
    rng = np.random.default_rng(2)
    vectors = (rng.normal(size=(40, 6)) + 5.0).astype(np.float16)
    moved = [content.set(items, row, vectors[row], None) for row in range(40)]
    assert np.flatnonzero(moved).tolist() == [MEAN_FROM - 1, 2 * MEAN_FROM - 1]
    mean = vectors[: 2 * MEAN_FROM].astype(np.float64).mean(0)
    assert np.allclose(content.of_rows(items, np.array([5]))[0], unit(vectors[5] - mean), atol=1e-3)


def test_a_wide_vector_keeps_its_angles_in_fewer_dimensions_and_the_same_after_a_restart():
    items, content = new_items(64), ContentVectors(SEED)
    vectors = np.random.default_rng(3).normal(size=(10, WIDTH_MAX + 900)).astype(np.float16)
    vectors[1] = vectors[0] + 0.3 * vectors[1]
    for row in range(10):
        content.set(items, row, None, vectors[row])
    assert content.widths == (0, PROJECTED)
    kept = content.of_rows(items, np.arange(10))
    exact = np.array([unit(vector.astype(np.float32)) for vector in vectors])
    assert np.abs(kept @ kept.T - exact @ exact.T).max() < 0.2
    again = ContentVectors(SEED, {name: table.copy() for name, table in content.tables().items()})
    again.set(items, 0, None, vectors[0])
    assert np.array_equal(again.of_rows(items, np.arange(10)), kept)


def test_vectors_of_items_that_stay_move_together_and_the_others_are_zero():
    items, content = filled(5)
    before = content.of_rows(items, np.arange(5))
    content.drop(items, np.array([1, 3]))
    after = content.of_rows(items, np.arange(5))
    assert np.array_equal(after[[0, 2, 4]], before[[0, 2, 4]])
    assert not after[[1, 3]].any()
    assert not content.has(items, np.array([1, 3])).any()


def test_a_catalog_that_lost_every_vector_comes_back_without_any():
    items, content = filled(2)
    content.drop(items, np.array([0, 1]))
    again = ContentVectors(SEED, {name: table.copy() for name, table in content.tables().items()})
    assert (again.widths.total, again.of_rows(items, np.array([0, 1])).tolist()) == (4, [[0.0] * 4] * 2)


def test_a_vector_of_another_width_is_refused_with_both_widths_and_nothing_changes():
    items, content = filled(1)
    before = {name: table.copy() for name, table in content.tables().items()}
    with pytest.raises(ValueError, match="text vector has 3 dimensions, those before it have 4"):
        content.set(items, 1, np.zeros(3, np.float16), np.ones(9, np.float16))
    assert all(np.array_equal(table, before[name]) for name, table in content.tables().items())
