"""The gate: how much each signal counts for this user now, learned online.

    logit(u, v) = sum_f w_f(u) feature_f(u, v),    w_f(u) = sum_k weight_FK[f, k] phi_k(u)

Learned after each group by the softmax cross-entropy over the candidates, only where the target is one of them, with RMSprop steps
(Tieleman and Hinton 2012). The fixed weights of the start stay beside it as the yardstick.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import inner_kernel, kernel
from streamer.tables.fastmath import exp2_in_place

PHI = 6
"""Features of the context (K): see ``fill_phi``."""
LEARNING_RATE = 0.01
SQUARE_DECAY = 0.999
WEIGHT_MAX = 20.0


class Gate(NamedTuple):
    """``fixed_F`` are the weights at the start, ``steps`` = [steps taken]."""

    weight_FK: Array
    square_FK: Array
    steps: Array
    fixed_F: Array


def new_gate(fixed_F: Array) -> Gate:
    """A gate that answers with the fixed weights whatever the context."""
    weight_FK = np.zeros((len(fixed_F), PHI), np.float32)
    weight_FK[:, 0] = fixed_F
    return Gate(weight_FK, np.zeros((len(fixed_F), PHI), np.float32), np.zeros(1, np.int64), np.array(fixed_F, np.float32))


def gate_out(gate: Gate) -> dict[str, Array]:
    """For a snapshot."""
    return {"gate.weight": gate.weight_FK, "gate.square": gate.square_FK, "gate.steps": gate.steps}


def gate_in(tables: dict[str, Array], fixed_F: Array) -> Gate:
    """From a snapshot."""
    weight_FK, square_FK, steps = (np.array(tables[f"gate.{name}"], copy=True) for name in ("weight", "square", "steps"))
    return Gate(weight_FK, square_FK, steps, np.array(fixed_F, np.float32))


@kernel
def fill_phi(phi_K: Array, length: int, window: int, elapsed_ms: int, repeats: float) -> None:
    """What the gate knows of the user: one, how full the window is, time since the last event, whether new, how often he repeats."""
    filled = length / window
    phi_K[0] = 1.0
    phi_K[1] = filled
    phi_K[2] = np.log2(1.0 + max(elapsed_ms, 0) / 1_000.0) / 20.0 if length > 0 else 1.0
    phi_K[3] = 1.0 if length == 0 else 0.0
    phi_K[4] = repeats
    phi_K[5] = 1.0 if length == 1 else 0.0


@kernel
def fill_weights(gate: Gate, phi_K: Array, weight_F: Array) -> None:
    """The weights for a context."""
    for f in range(len(weight_F)):
        total = np.float32(0.0)
        for k in range(PHI):
            total += gate.weight_FK[f, k] * phi_K[k]
        weight_F[f] = total


@inner_kernel
def weigh(feature_FC: Array, weight_F: Array, count: int, logit_C: Array) -> None:
    """Logit = weight . features, for the first ``count`` candidates."""
    logit_C[:count] = 0.0
    for f in range(len(weight_F)):
        weight = weight_F[f]
        row_C = feature_FC[f]
        for n in range(count):
            logit_C[n] += weight * row_C[n]


@inner_kernel
def softmax_in_place(logit_C: Array, count: int) -> None:
    """Probabilities of the candidates."""
    top = logit_C[0]
    for n in range(count):
        top = max(top, logit_C[n])
    used_C = logit_C[:count]
    for n in range(count):
        used_C[n] = (used_C[n] - top) * np.float32(1.442695)
    exp2_in_place(used_C)
    total = np.float32(0.0)
    for n in range(count):
        total += used_C[n]
    share = np.float32(1.0) / total
    for n in range(count):
        used_C[n] *= share


@inner_kernel
def expected_value(probability_C: Array, row_C: Array, count: int) -> np.float32:
    """The mean of a feature over the candidates."""
    total = np.float32(0.0)
    for n in range(count):
        total += probability_C[n] * row_C[n]
    return total


@kernel
def learn_gate(
    gate: Gate, phi_K: Array, feature_FC: Array, probability_C: Array, count: int, wanted_C: Array, wanted: int
) -> None:
    """One step toward the targets at the places ``wanted_C[:wanted]``, given the candidates' probabilities.

    The mean square is corrected for its start at 0, as in Adam (Kingma and Ba 2015): else the first steps would be the largest.
    """
    gate.steps[0] += 1
    correction = np.float32(1.0 - SQUARE_DECAY ** gate.steps[0])
    for f in range(len(gate.fixed_F)):
        row_C = feature_FC[f]
        expected = expected_value(probability_C, row_C, count)
        found = np.float32(0.0)
        for n in range(wanted):
            found += row_C[wanted_C[n]]
        slope = found / np.float32(wanted) - expected
        if not np.isfinite(slope):
            continue
        for k in range(PHI):
            step = slope * phi_K[k]
            square = np.float32(SQUARE_DECAY) * gate.square_FK[f, k] + np.float32(1.0 - SQUARE_DECAY) * step * step
            gate.square_FK[f, k] = square
            moved = gate.weight_FK[f, k] + np.float32(LEARNING_RATE) * step / (np.sqrt(square / correction) + np.float32(1e-3))
            gate.weight_FK[f, k] = min(max(moved, np.float32(-WEIGHT_MAX)), np.float32(WEIGHT_MAX))
