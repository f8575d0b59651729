"""Re-ranking against readable references: who is lifted by how much, and the greedy choice of a diverse list."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.catalog.belonging import NONE
from streamer.head.bilinear import DIMENSIONS, new_head
from streamer.ranking import rerank as module
from streamer.ranking.rerank import DIVERSE, FAIR, LIFT_MAX, POOL, diversify, lift_providers, lifts, new_rerank, pool_of
from streamer.ranking.scratch import CANDIDATES, new_scratch

SEEDS = st.integers(0, 2**32)


def scored(seed: int, count: int, items: int):
    """A scratch with so many candidates, their places best first, and a head whose fused vectors lie in a few bunches."""
    rng = np.random.default_rng(seed)
    scratch, head = new_scratch(DIMENSIONS, 1, 1, items), new_head(items)
    scratch.item_C[:count] = rng.permutation(items)[:count]
    scratch.logit_C[:count] = rng.normal(size=count).astype(np.float32)
    bunch_BD = rng.normal(size=(5, DIMENSIONS))
    head.fused_ID[:] = bunch_BD[rng.integers(0, 5, items)] + 0.3 * rng.normal(size=(items, DIMENSIONS))
    head.fused_ID[rng.random(items) < 0.2] = 0.0
    best_C = np.argsort(-scratch.logit_C[:count], kind="stable")
    scratch.place_C[:count] = best_C
    return scratch, head


def reference_mmr(logit_T: np.ndarray, vector_TD: np.ndarray, diversity: float, entries: int) -> tuple[list[int], list[float]]:
    """Carbonell and Goldstein (1998) as they write it, the logits brought to 0 to 1: which are chosen, and each one's likeness."""
    length_T = np.linalg.norm(vector_TD, axis=1)
    unit_TD = np.divide(vector_TD, length_T[:, None], out=np.zeros_like(vector_TD), where=length_T[:, None] > 0)
    spread = logit_T.max() - logit_T.min()
    relevance_T = (logit_T - logit_T.min()) / (spread or 1.0)
    chosen: list[int] = []
    near: list[float] = []
    while len(chosen) < min(entries, len(logit_T)):
        near_T = (unit_TD @ unit_TD[chosen].T).max(axis=1, initial=0.0)
        value_T = (1.0 - diversity) * relevance_T - diversity * near_T
        value_T[chosen] = -np.inf
        best = int(value_T.argmax())
        chosen.append(best)
        near.append(float(near_T[best]))
    return chosen, near


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, count=st.integers(1, 150), entries=st.integers(1, 30) | st.just(120), diversity=st.floats(0.05, 0.9))
def test_the_diverse_list_is_the_one_of_maximal_marginal_relevance(seed, count, entries, diversity):
    scratch, head = scored(seed, count, 200)
    logit_C, rerank = scratch.logit_C.copy(), new_rerank(0.0, diversity)
    found = min(count, max(POOL, entries))
    pool = scratch.place_C[:found].copy()
    wanted, near = reference_mmr(
        logit_C[pool].astype(np.float64), head.fused_ID[scratch.item_C[pool]].astype(np.float64), diversity, entries
    )
    assert pool_of(rerank, entries) == max(POOL, entries)
    assert diversify(rerank, head, found, entries, scratch) == len(wanted) == min(found, entries)
    assert scratch.place_C[: len(wanted)].tolist() == pool[wanted].tolist()
    price = diversity / (1.0 - diversity) * float(logit_C[pool[0]] - logit_C[pool[-1]])
    added = scratch.rerank_2C[DIVERSE, pool[wanted]]
    assert added == pytest.approx([-price * one for one in near], abs=1e-4 * max(price, 1.0))
    scores = scratch.logit_C[pool[wanted]]
    assert scores == pytest.approx(logit_C[pool[wanted]] + added, abs=1e-5 * max(price, 1.0))
    assert np.all(np.diff(scores) <= 0)


@given(seed=SEEDS, count=st.integers(0, 40), entries=st.integers(1, 30))
@settings(deadline=None, max_examples=20)
def test_without_diversity_a_list_is_what_it_was(seed, count, entries):
    scratch, head = scored(seed, count, 60)
    before = [table.copy() for table in (scratch.logit_C, scratch.place_C, scratch.rerank_2C)]
    off = new_rerank(0.0, 0.0)
    lift_providers(off, count, scratch)
    assert pool_of(off, entries) == entries
    assert diversify(off, head, count, entries, scratch) == min(count, entries)
    assert [table.tobytes() for table in before] == [
        table.tobytes() for table in (scratch.logit_C, scratch.place_C, scratch.rerank_2C)
    ]


def test_vectors_and_scores_that_are_not_finite_still_give_a_whole_list():
    scratch, head = scored(3, 30, 40)
    head.fused_ID[scratch.item_C[:10]] = np.nan
    scratch.logit_C[scratch.place_C[5]] = np.nan
    assert diversify(new_rerank(0.0, 0.5), head, 30, 20, scratch) == 20
    assert len(set(scratch.place_C[:20].tolist())) == 20


@given(
    shown=st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    seed=SEEDS,
    exposure_min=st.floats(0.01, 1.0),
)
def test_who_lacks_more_of_his_floor_gains_more_and_who_lacks_nothing_gains_nothing(shown, seed, exposure_min):
    exposure_P = np.array(shown)
    items_P = np.random.default_rng(seed).integers(0, 50, len(shown))
    found_P = lifts(exposure_P, items_P, exposure_min)
    floor_P = exposure_min * exposure_P.sum() * items_P / max(items_P.sum(), 1)
    assert np.all((found_P >= 0) & (found_P <= LIFT_MAX))
    assert np.all(found_P[exposure_P >= floor_P] == 0)
    lacking_P = np.maximum(floor_P - exposure_P, 0) / (floor_P + 1.0)
    assert found_P == pytest.approx(LIFT_MAX * lacking_P, abs=1e-5)


def test_a_lift_goes_to_the_items_of_its_provider_alone():
    scratch, _ = scored(1, 6, 8)
    provider_I = np.array([0, 1, NONE, 0, 2, 1, NONE, 2], np.int32)
    before_C = scratch.logit_C.copy()
    lift_P = np.array([0.5, 0.0, 2.0], np.float32)
    lift_providers(new_rerank(0.5, 0.0)._replace(lift_P=lift_P, provider_I=provider_I), 6, scratch)
    expected = [0.0 if provider_I[item] == NONE else float(lift_P[provider_I[item]]) for item in scratch.item_C[:6]]
    assert scratch.rerank_2C[FAIR, :6].tolist() == expected
    assert (scratch.logit_C[:6] - before_C[:6]) == pytest.approx(expected, abs=1e-6)
    assert scratch.rerank_2C.shape == (2, CANDIDATES)


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(module) == doctest.TestResults(0, 1)
