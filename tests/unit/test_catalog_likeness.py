"""Coordinates of items by their frozen vectors: along which axes, what is missing, what stays, what comes back."""

import numpy as np
import pytest

from streamer.catalog.items import new_items
from streamer.catalog.likeness import (
    AXES,
    IMAGE_AXES,
    TEXT_AXES,
    TEXT_SHARE,
    clear_places,
    fitted,
    keep_young,
    likeness_in,
    likeness_out,
    new_likeness,
    placed,
    principal_axes,
    refitted,
    reserve_likeness,
)
from streamer.catalog.vectors import ContentVectors
from streamer.catalog.young import new_young, note_young

ROWS, WIDTH = 200, 60


def vectors(seed=0, rows=ROWS, kinds=8):
    """Vectors in a few clusters with much that is the item's own, and the cluster of each."""
    rng = np.random.default_rng(seed)
    center_KE, kind_T = rng.normal(size=(kinds, WIDTH)), rng.integers(0, kinds, rows)
    return (center_KE[kind_T] + 0.7 * rng.normal(size=(rows, WIDTH))).astype(np.float16), kind_T


def catalog(text_TE, image_TE=None, seed=3):
    """Items, vectors and likeness as records bring them, one after the other."""
    items, content, likeness = new_items(ROWS), ContentVectors(seed), new_likeness(ROWS)
    for row in range(len(text_TE)):
        image_E = None if image_TE is None else image_TE[row]
        moved = content.set(items, row, text_TE[row], image_E)
        likeness = placed(likeness, items, content, row, ROWS, moved=moved)
    return items, content, likeness


def test_items_of_a_kind_are_more_alike_than_others_and_an_item_with_both_is_most_like_itself():
    text_TE, kind_T = vectors()
    _, _, likeness = catalog(text_TE, vectors(1)[0])
    alike_TT = likeness.place_IL @ likeness.place_IL.T
    same_TT = kind_T[:, None] == kind_T
    np.fill_diagonal(same_TT, val=False)
    assert alike_TT[same_TT].mean() > 0.2 + alike_TT[kind_T[:, None] != kind_T].mean()
    assert np.diag(alike_TT) == pytest.approx(np.ones(ROWS), abs=1e-5)
    assert np.abs(alike_TT).max() <= 1 + 1e-5
    assert (likeness.place_IL[:, :TEXT_AXES] ** 2).sum(axis=1) == pytest.approx(np.full(ROWS, TEXT_SHARE), abs=1e-5)


def test_the_axes_are_those_of_numpys_singular_values():
    text_TE, _ = vectors()
    items, content, likeness = catalog(text_TE)
    vector_TE = content.of_rows(items, np.arange(ROWS)).astype(np.float64)
    axis_AE = np.linalg.svd(vector_TE)[2][:TEXT_AXES]
    again = fitted(likeness, items, content, ROWS)
    overlap_A = np.abs((axis_AE * again.axis_EL[:, :TEXT_AXES].T).sum(axis=1))
    assert overlap_A[:8] == pytest.approx(np.ones(8), abs=1e-3)
    assert not again.axis_EL[:, TEXT_AXES:].any()
    assert (np.take_along_axis(again.axis_EL, np.abs(again.axis_EL).argmax(axis=0)[None], axis=0)[0, :TEXT_AXES] > 0).all()


def test_a_few_items_have_few_axes():
    gram_EE = np.diag(np.arange(1.0, 11.0))
    found_EA = principal_axes(gram_EE, items=7, axes=5)
    assert found_EA[:, :3].tolist() == np.eye(10)[:, [9, 8, 7]].tolist()
    assert not found_EA[:, 3:].any()
    assert not principal_axes(gram_EE, items=1, axes=5).any()


def test_what_an_item_lacks_gives_nothing():
    text_TE, _ = vectors()
    items, content, likeness = catalog(text_TE, vectors(1)[0])
    likeness = placed(likeness, items, content, 5, ROWS, moved=content.set(items, 5, text_TE[5], None))
    assert likeness.place_IL[5, :TEXT_AXES].any()
    assert not likeness.place_IL[5, TEXT_AXES:].any()
    likeness = placed(likeness, items, content, 5, ROWS, moved=content.set(items, 5, None, None))
    assert not likeness.place_IL[5].any()
    assert not likeness.there_I[5]
    assert likeness.there_I.sum() == ROWS - 1


def test_an_item_is_in_the_place_that_all_are_put_in_whether_it_comes_alone_or_with_them():
    text_TE, _ = vectors()
    items, content, likeness = catalog(text_TE)
    before = likeness.place_IL.copy()
    for row in (0, 17, ROWS - 1):
        placed(likeness, items, content, row, ROWS, moved=False)
    assert likeness.place_IL == pytest.approx(before, abs=1e-5)


def test_places_come_back_from_a_snapshot_and_freed_rows_leave_nothing():
    _, _, likeness = catalog(vectors()[0])
    clear_places(likeness, np.array([3, 4]))
    assert not likeness.place_IL[3:5].any()
    tables = {name: table.copy() for name, table in likeness_out(likeness, ROWS).items()}
    again = likeness_in(tables, ROWS + 50)
    assert np.array_equal(again.place_IL[:ROWS], likeness.place_IL)
    assert np.array_equal(again.there_I[:ROWS], likeness.there_I)
    assert np.array_equal(again.axis_EL, likeness.axis_EL)
    assert len(again.place_IL) == ROWS + 50
    assert not likeness_in({}, 9).place_IL.any()
    assert reserve_likeness(again, ROWS) is again


def test_under_another_encoder_chosen_items_stay_and_the_others_go_near_where_they_were():
    text_TE, _ = vectors()
    items, _, likeness = catalog(text_TE)
    before = likeness.place_IL.copy()
    turn_EF = np.random.default_rng(9).normal(size=(WIDTH, 90)) / np.sqrt(WIDTH)
    others, chosen_T = ContentVectors(3), np.arange(0, ROWS, 2)
    items.vector_I[:] = -1
    for row in range(ROWS):
        others.set(items, row, (text_TE[row].astype(np.float32) @ turn_EF).astype(np.float16), None)
    likeness = refitted(likeness, items, others, chosen_T, ROWS)
    assert np.array_equal(likeness.place_IL[chosen_T], before[chosen_T])
    alike_T = (likeness.place_IL * before).sum(axis=1)[1::2]
    assert alike_T.min() > 0.9 * TEXT_SHARE
    assert likeness.axis_EL.shape == (90, AXES)


def test_a_modality_that_comes_with_another_encoder_has_axes_of_its_own():
    text_TE, _ = vectors()
    items, _, likeness = catalog(text_TE)
    others = ContentVectors(3)
    items.vector_I[:] = -1
    for row in range(ROWS):
        others.set(items, row, None, text_TE[row])
    likeness = refitted(likeness, items, others, np.arange(10), ROWS)
    assert np.linalg.matrix_rank(likeness.axis_EL[:, TEXT_AXES:]) == IMAGE_AXES
    assert likeness.place_IL[10:, TEXT_AXES:].any(axis=1).all()


def test_the_pools_coordinates_lie_in_its_order():
    items, _, likeness = catalog(vectors()[0])
    young = new_young()
    for row in (9, 2, 100):
        note_young(young, items, row)
    keep_young(likeness, young)
    assert np.array_equal(likeness.young_AY[:, :3], likeness.place_IL[[9, 2, 100]].T)
