"""The gate beside numpy and automatic differentiation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.head.gate import (
    PHI,
    REMEMBERED,
    STEP_CAUTION,
    WEIGHT_MAX,
    fill_phi,
    fill_weights,
    gate_in,
    gate_out,
    learn_gate,
    neural_gate,
    new_gate,
    softmax_in_place,
    weigh,
)

FEATURES, STRIDE = 5, 40
SEED = st.integers(0, 2**32)


def case(seed):
    """A gate in the middle of its life, a context, features of candidates, targets among them."""
    rng = np.random.default_rng(seed)
    gate = new_gate(rng.normal(size=FEATURES).astype(np.float32))
    gate.weight_FK[:] = rng.normal(size=gate.weight_FK.shape)
    root_WW = rng.normal(size=gate.inverse_WW.shape) * 0.03
    gate.inverse_WW[:] = root_WW @ root_WW.T + np.eye(len(root_WW)) * 0.01
    phi_K = rng.normal(size=PHI).astype(np.float32)
    feature_FC = rng.normal(size=(FEATURES, STRIDE)).astype(np.float32)
    count = int(rng.integers(1, STRIDE))
    wanted_C = rng.integers(0, count, size=int(rng.integers(1, 4)))
    return gate, phi_K, feature_FC, count, wanted_C


@settings(deadline=None)
@given(seed=SEED)
def test_logits_are_weighted_sums_and_probabilities_their_softmax(seed):
    gate, phi_K, feature_FC, count, _ = case(seed)
    weight_F, logit_C = np.zeros(FEATURES, np.float32), np.full(STRIDE, 7, np.float32)
    fill_weights(gate, phi_K, weight_F)
    assert weight_F == pytest.approx(gate.weight_FK @ phi_K, rel=1e-5, abs=1e-5)
    weigh(feature_FC, weight_F, count, logit_C)
    assert logit_C[:count] == pytest.approx(weight_F @ feature_FC[:, :count], rel=1e-5, abs=1e-5)
    expected = torch.softmax(torch.from_numpy(logit_C[:count].copy()), 0).numpy()
    softmax_in_place(logit_C, count)
    assert logit_C[:count] == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert (logit_C[count:] == 7).all()


def learn(gate, phi_K, feature_FC, probability_C, count, wanted_C, used=None):
    used = len(gate.fixed_F) if used is None else used
    learn_gate(gate, used, phi_K, feature_FC, probability_C, count, wanted_C, len(wanted_C), np.zeros((3, gate.weight_FK.size)))


@settings(deadline=None, max_examples=30)
@given(seed=SEED, used=st.integers(1, FEATURES - 1))
def test_features_that_are_not_used_learn_nothing_and_change_no_bit_of_the_others(seed, used):
    gate, phi_K, feature_FC, count, wanted_C = case(seed)
    probability_C = np.random.default_rng(seed).dirichlet(np.ones(count)).astype(np.float32)
    gate.inverse_WW[:] = np.eye(len(gate.inverse_WW)) / STEP_CAUTION
    inner = used * PHI
    small = gate._replace(
        weight_FK=gate.weight_FK[:used].copy(), inverse_WW=gate.inverse_WW[:inner, :inner].copy(), fixed_F=gate.fixed_F[:used]
    )
    small = small._replace(steps=gate.steps.copy())
    before = gate.weight_FK.copy()
    for _ in range(5):
        learn(gate, phi_K, feature_FC, probability_C, count, wanted_C, used)
        learn(small, phi_K, feature_FC[:used], probability_C, count, wanted_C)
    assert np.array_equal(gate.weight_FK[:used], small.weight_FK)
    slope_F = feature_FC[:used, wanted_C].mean(axis=1) - feature_FC[:used, :count] @ probability_C[:count]
    if np.abs(slope_F).max() > 1e-3:  # a single candidate, say, teaches nothing
        assert not np.array_equal(gate.weight_FK[:used], before[:used])
    assert np.array_equal(gate.weight_FK[used:], before[used:])
    assert np.array_equal(gate.inverse_WW[:inner, :inner], small.inverse_WW)
    assert np.array_equal(gate.inverse_WW[inner:], np.eye(len(gate.inverse_WW))[inner:] / STEP_CAUTION)


def test_a_snapshot_of_before_there_were_as_many_features_comes_back_with_the_new_ones_untaught():
    fixed_F = np.array([0.3, -1.0, 0.5], np.float32)
    old = new_gate(fixed_F[:2])
    old.weight_FK[:] = 7.0
    old.inverse_WW[:] = 3.0
    gate = gate_in(gate_out(old), fixed_F)
    assert np.array_equal(gate.weight_FK[:2], old.weight_FK)
    assert gate.weight_FK[2].tolist() == [np.float32(0.5), *[0.0] * (PHI - 1)]
    assert np.array_equal(gate.inverse_WW[: 2 * PHI, : 2 * PHI], old.inverse_WW)
    assert np.array_equal(gate.inverse_WW[2 * PHI :, 2 * PHI :], np.eye(PHI) / STEP_CAUTION)
    assert not gate.inverse_WW[: 2 * PHI, 2 * PHI :].any()


@settings(deadline=None)
@given(seed=SEED)
def test_a_step_is_newtons_with_the_remembered_curvature_along_the_gradient_of_the_targets_mean_log_probability(seed):
    gate, phi_K, feature_FC, count, wanted_C = case(seed)
    weight = torch.from_numpy(gate.weight_FK.astype(np.float64)).requires_grad_()
    features = torch.from_numpy(feature_FC[:, :count].astype(np.float64))
    chance = torch.log_softmax((weight @ torch.from_numpy(phi_K.astype(np.float64))) @ features, 0)
    chance[torch.from_numpy(wanted_C)].mean().backward()
    slope_W = weight.grad.numpy().ravel()
    curvature_WW = REMEMBERED * np.linalg.inv(gate.inverse_WW) + np.outer(slope_W, slope_W)
    moved = gate.weight_FK + np.linalg.solve(curvature_WW, slope_W).reshape(gate.weight_FK.shape)

    probability_C = np.zeros(STRIDE, np.float32)
    probability_C[:count] = torch.exp(chance).detach().numpy()
    learn(gate, phi_K, feature_FC, probability_C, count, wanted_C)
    assert gate.inverse_WW == pytest.approx(np.linalg.inv(curvature_WW), rel=1e-2, abs=1e-4)
    assert gate.weight_FK == pytest.approx(np.clip(moved, -WEIGHT_MAX, WEIGHT_MAX), rel=1e-3, abs=1e-3)


def test_what_is_forgotten_never_makes_a_step_bolder_than_the_first():
    gate, rng = new_gate(np.zeros(2, np.float32)), np.random.default_rng(4)
    phi_K = np.array([1.0, *[0.0] * (PHI - 1)], np.float32)
    for _ in range(20_000):  # only the first feature ever differs
        feature_FC = np.array([rng.normal(size=2), [1.0, 1.0]], np.float32)
        learn(gate, phi_K, feature_FC, np.array([0.5, 0.5], np.float32), 2, np.array([0]))
    assert np.isfinite(gate.inverse_WW).all()
    assert np.diag(gate.inverse_WW).max() <= 1.0 / STEP_CAUTION + 1e-12
    assert np.linalg.eigvalsh(gate.inverse_WW).min() > 0.0


def test_the_curvature_stays_symmetric_to_the_last_bit():
    """Forgetting lets what is not symmetric grow for ever: in 170,000 steps from the last bit to where nothing else is left."""
    rng = np.random.default_rng(7)
    gate = new_gate(np.zeros(FEATURES, np.float32))
    for _ in range(3_000):
        phi_K = np.array([1.0, *rng.random(PHI - 1)], np.float32)
        feature_FC = rng.normal(size=(FEATURES, 3)).astype(np.float32)
        learn(gate, phi_K, feature_FC, np.full(3, 1 / 3, np.float32), 3, np.array([0]))
    assert gate.steps.tolist() == [3_000, 0]
    assert np.array_equal(gate.inverse_WW, gate.inverse_WW.T)


def test_a_broken_curvature_starts_anew_and_the_weights_stay():
    gate = new_gate(np.zeros(1, np.float32))
    gate.inverse_WW[:] = -1e6
    learn(
        gate, np.ones(PHI, np.float32), np.array([[1.0, -1.0]], np.float32), np.array([0.5, 0.5], np.float32), 2, np.array([0])
    )
    assert gate.steps.tolist() == [1, 1]
    assert not gate.weight_FK.any()
    assert np.array_equal(gate.inverse_WW, np.eye(PHI) / STEP_CAUTION)


def test_features_that_are_not_finite_teach_nothing():
    gate = new_gate(np.zeros(2, np.float32))
    feature_FC = np.array([[1.0, -1.0], [np.nan, 0.0]], np.float32)
    learn(gate, np.ones(PHI, np.float32), feature_FC, np.array([0.5, 0.5], np.float32), 2, np.array([0]))
    assert not gate.weight_FK.any()
    assert gate.steps[0] == 0


def test_weights_are_bounded_however_long_one_feature_is_right():
    gate = new_gate(np.array([WEIGHT_MAX - 0.01], np.float32))
    for _ in range(100):
        learn(
            gate,
            np.ones(PHI, np.float32),
            np.array([[1.0, -1.0]], np.float32),
            np.array([0.0, 1.0], np.float32),
            2,
            np.array([0]),
        )
    assert gate.weight_FK.max() == WEIGHT_MAX


def test_a_neural_gate_lets_one_term_speak():
    gate, weight_F, phi_K = (
        neural_gate(np.array([0.3, -1.0, 0.0], np.float32), 2),
        np.zeros(3, np.float32),
        np.zeros(PHI, np.float32),
    )
    fill_phi(phi_K, 5, 20, 60_000, 0.5)
    fill_weights(gate, phi_K, weight_F)
    assert weight_F.tolist() == [0.0, 0.0, 1.0]
    assert gate.fixed_F.tolist() == np.array([0.3, -1.0, 0.0], np.float32).tolist()


def test_a_gate_answers_with_its_fixed_weights_until_it_has_learned():
    fixed_F = np.array([0.3, -1.0, 0.0], np.float32)
    gate, phi_K, weight_F = new_gate(fixed_F), np.zeros(PHI, np.float32), np.zeros(3, np.float32)
    for length, elapsed_ms in ((0, 0), (1, 5_000), (20, 86_400_000)):
        fill_phi(phi_K, length, 20, elapsed_ms, 0.5)
        fill_weights(gate, phi_K, weight_F)
        assert weight_F.tolist() == fixed_F.tolist()
        assert np.isfinite(phi_K).all()
        assert np.abs(phi_K).max() <= 2.0
    assert all(np.array_equal(a, b) for a, b in zip(gate, gate_in(gate_out(gate), fixed_F), strict=True))
