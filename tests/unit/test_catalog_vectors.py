"""Content vectors by item row: what is kept, moved together, and gone."""

import numpy as np
import pytest

from streamer.catalog.items import new_items
from streamer.catalog.vectors import ContentVectors


def filled(count, width=4):
    items, content = new_items(8), ContentVectors()
    for row in range(count):
        content.set(items, row, np.full(width, row + 1, np.float16))
    return items, content


def test_vectors_of_items_that_stay_move_together_and_the_others_are_zero():
    items, content = filled(5)
    content.drop(items, np.array([1, 3]))
    assert content.live_VE[:, 0].tolist() == [1, 3, 5]
    assert content.of_rows(items, np.array([0, 1, 2, 3, 4]))[:, 0].tolist() == [1, 0, 3, 0, 5]


def test_a_catalog_that_lost_every_vector_comes_back_without_any():
    items, content = filled(2)
    content.drop(items, np.array([0, 1]))
    again = ContentVectors(content.live_VE)
    assert (again.width, again.of_rows(items, np.array([0, 1])).tolist()) == (4, [[0.0] * 4] * 2)


def test_a_vector_of_another_width_is_refused_with_both_widths():
    items, content = filled(1)
    with pytest.raises(ValueError, match="has 3 dimensions, those before it have 4"):
        content.set(items, 1, np.zeros(3, np.float16))
