"""Who is shown: exposure and the Gini coefficient, by item, provider and category."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.evaluate.exposure import PLACES_K, Exposure, exposure_figures
from streamer.evaluate.stream import Document, StreamBuilder
from streamer.events.model import ItemDocument
from streamer.ranking.exposure import NAMED_MAX, catalogue_gini, gini

T0 = 1_795_485_458_344


def gini_of_pairs(values: list[float]) -> float:
    """As it is defined: half of the mean absolute difference of all pairs, over the mean."""
    mean = sum(values) / len(values)
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) ** 2 * mean) if mean else 0.0


@given(values=st.lists(st.floats(0, 1e3).map(lambda value: round(value, 3)), min_size=1, max_size=30), scale=st.floats(0.5, 20))
def test_the_gini_coefficient_is_half_the_relative_mean_difference_whatever_the_unit(values: list[float], scale: float) -> None:
    assert gini(np.array(values)) == pytest.approx(gini_of_pairs(values), abs=1e-9)
    assert gini(scale * np.array(values)) == pytest.approx(gini(np.array(values)), abs=1e-9)


@given(
    named=st.lists(st.tuples(st.floats(0, 1e3).map(lambda value: round(value, 3)), st.integers(1, 5)), min_size=1, max_size=12)
)
def test_the_gini_coefficient_for_the_size_of_catalogues_is_that_of_items_with_equal_parts(
    named: list[tuple[float, int]],
) -> None:
    exposure_N, items_N = np.array([one[0] for one in named]), np.array([one[1] for one in named])
    expected = gini_of_pairs(np.repeat(exposure_N / items_N, items_N).tolist())
    assert catalogue_gini(exposure_N, items_N) == pytest.approx(expected, abs=1e-9)


def test_places_count_as_in_ndcg_and_no_more_than_a_list_has() -> None:
    exposure = Exposure(40)
    exposure.note([3, 1])
    exposure.note(list(range(30)))
    assert exposure.exposure_I[3] == pytest.approx(1.0 + 1.0 / np.log2(5))
    assert exposure.exposure_I[1] == pytest.approx(1.0 / np.log2(3) + 1.0 / np.log2(3))
    assert exposure.exposure_I[19] == pytest.approx(PLACES_K[19])
    assert exposure.exposure_I[20:].sum() == 0.0


def test_providers_and_categories_get_what_their_items_get_as_the_last_document_says() -> None:
    builder = StreamBuilder()
    documents = [
        Document(T0, ItemDocument(item_id="a", provider="p", categories=("x", "y")), None),
        Document(T0, ItemDocument(item_id="b", provider="old"), None),
        Document(T0 + 1, ItemDocument(item_id="b", provider="q", categories=("y",)), None),
        Document(T0, ItemDocument(item_id="c", provider="never shown"), None),
        Document(T0, ItemDocument(item_id="d"), None),
        *(Document(T0, ItemDocument(item_id=f"m{n}", provider=f"m{n}"), None) for n in range(20)),
    ]
    stream = builder.finish(documents)
    shown = {"a": 3.0, "b": 1.0, "d": 5.0}
    found = exposure_figures(np.array([shown.get(item, 0.0) for item in stream.item_ids]), stream)
    assert found["items"]["shown"] == 3
    assert list(found["providers"]["most"].items())[:2] == [("p", 0.75), ("q", 0.25)]
    assert (found["providers"]["known"], found["providers"]["shown"], len(found["providers"]["most"])) == (23, 2, NAMED_MAX)
    assert found["providers"]["parity"]["least"] == 0.0
    assert found["categories"]["parity"] == pytest.approx(
        {"least": 0.625 / 0.75, "tenth": 0.1 * 1.5 + 0.9 * 0.625 / 0.75, "median": (1.5 + 0.625 / 0.75) / 2}
    )
    assert found["categories"]["most"] == {"y": 0.625, "x": 0.375}
    assert found["categories"]["gini"] == pytest.approx(gini_of_pairs([1.5, 2.5]))
    assert exposure_figures(np.zeros(0), StreamBuilder().finish()) == {"items": {"gini": 0.0, "known": 0, "shown": 0}}
