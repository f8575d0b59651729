"""The gate beside numpy and automatic differentiation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.head.gate import (
    LEARNING_RATE,
    PHI,
    SQUARE_DECAY,
    WEIGHT_MAX,
    fill_phi,
    fill_weights,
    gate_in,
    gate_out,
    learn_gate,
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
    gate.square_FK[:] = rng.random(gate.square_FK.shape) * 0.01
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


@settings(deadline=None)
@given(seed=SEED)
def test_a_step_is_rmsprop_along_the_gradient_of_the_targets_mean_log_probability(seed):
    gate, phi_K, feature_FC, count, wanted_C = case(seed)
    gate.steps[0] = seed % 3_000
    weight = torch.from_numpy(gate.weight_FK.astype(np.float64)).requires_grad_()
    features = torch.from_numpy(feature_FC[:, :count].astype(np.float64))
    chance = torch.log_softmax((weight @ torch.from_numpy(phi_K.astype(np.float64))) @ features, 0)
    chance[torch.from_numpy(wanted_C)].mean().backward()
    slope = weight.grad.numpy()
    square = SQUARE_DECAY * gate.square_FK + (1 - SQUARE_DECAY) * slope**2
    mean = square / (1 - SQUARE_DECAY ** (gate.steps[0] + 1))
    moved = np.clip(gate.weight_FK + LEARNING_RATE * slope / (np.sqrt(mean) + 1e-3), -WEIGHT_MAX, WEIGHT_MAX)

    probability_C = np.zeros(STRIDE, np.float32)
    probability_C[:count] = torch.exp(chance).detach().numpy()
    learn_gate(gate, phi_K, feature_FC, probability_C, count, wanted_C, len(wanted_C))
    assert gate.square_FK == pytest.approx(square, rel=1e-3, abs=1e-6)
    assert gate.weight_FK == pytest.approx(moved, rel=1e-4, abs=2e-4)


def test_the_first_step_is_no_larger_than_the_others():
    gate = new_gate(np.zeros(1, np.float32))
    phi_K, feature_FC = np.ones(PHI, np.float32), np.array([[1.0, -1.0]], np.float32)
    learn_gate(gate, phi_K, feature_FC, np.array([0.0, 1.0], np.float32), 2, np.zeros(1, np.int64), 1)
    assert gate.weight_FK == pytest.approx(LEARNING_RATE, rel=1e-2)


def test_weights_are_bounded_however_long_one_feature_is_right():
    gate = new_gate(np.zeros(1, np.float32))
    phi_K, feature_FC = np.ones(PHI, np.float32), np.array([[1.0, -1.0]], np.float32)
    for _ in range(3_000):
        learn_gate(gate, phi_K, feature_FC, np.array([0.0, 1.0], np.float32), 2, np.zeros(1, np.int64), 1)
    assert gate.weight_FK.max() == WEIGHT_MAX


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
