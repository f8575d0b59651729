"""The gate: how much each signal counts for this user now, learned online.

    logit(u, v) = sum_f w_f(u) feature_f(u, v),    w_f(u) = sum_k weight_FK[f, k] phi_k(u)

Learned after each scored group by the softmax cross-entropy over the candidates, only where the target is one of them, by online Newton steps
(Hazan, Agarwal and Kale 2007) with forgetting: signals that say nearly the same would keep a first-order method busy for ever. The
fixed weights of the start stay beside it as the yardstick.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import inner_kernel, kernel
from streamer.tables.fastmath import exp2_in_place

PHI = 6
"""Features of the context (K): see ``fill_phi``."""
REMEMBERED = 0.9998
"""What a step leaves of the curvature gathered before: about the last 5,000 scored groups count."""
STEP_CAUTION = 10.0
"""Curvature assumed where nothing was learned yet (or lately)."""
WEIGHT_MAX = 20.0


class Gate(NamedTuple):
    """``inverse_WW`` is the inverse of the remembered curvature, W = F * K weights; ``steps`` = [steps taken, starts anew]."""

    weight_FK: Array
    inverse_WW: Array
    steps: Array
    fixed_F: Array


def new_gate(fixed_F: Array) -> Gate:
    """A gate that answers with the fixed weights whatever the context."""
    weight_FK = np.zeros((len(fixed_F), PHI), np.float32)
    weight_FK[:, 0] = fixed_F
    inverse_WW = np.eye(weight_FK.size) / STEP_CAUTION
    return Gate(weight_FK, inverse_WW, np.zeros(2, np.int64), np.array(fixed_F, np.float32))


def neural_gate(fixed_F: Array, neural: int) -> Gate:
    """A gate that lets the neural term alone speak; the fixed weights stay the yardstick."""
    gate = new_gate(fixed_F)
    gate.weight_FK[:] = 0.0
    gate.weight_FK[neural, 0] = 1.0
    return gate


def gate_out(gate: Gate) -> dict[str, Array]:
    """For a snapshot."""
    return {"gate.weight": gate.weight_FK, "gate.inverse": gate.inverse_WW, "gate.steps": gate.steps}


def gate_in(tables: dict[str, Array], fixed_F: Array) -> Gate:
    """From a snapshot."""
    weight_FK, inverse_WW, steps = (np.array(tables[f"gate.{name}"], copy=True) for name in ("weight", "inverse", "steps"))
    gate = new_gate(fixed_F)
    had = len(weight_FK)  # fewer in older snapshots: what is new comes last, and has learned nothing
    gate.weight_FK[:had] = weight_FK
    gate.inverse_WW[: had * PHI, : had * PHI] = inverse_WW
    return gate._replace(steps=steps)


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
    gate: Gate,
    used: int,
    phi_K: Array,
    feature_FC: Array,
    probability_C: Array,
    count: int,
    wanted_C: Array,
    wanted: int,
    work_3W: Array,
) -> None:
    """One step toward the targets at the places ``wanted_C[:wanted]``, given the candidates' probabilities.

    Only the first ``used`` features learn. ``work_3W`` is working memory. What is not finite teaches nothing.
    """
    slope_W, step_W, caution_W = work_3W[0, : used * PHI], work_3W[1, : used * PHI], work_3W[2, : used * PHI]
    for f in range(used):
        row_C = feature_FC[f]
        found = np.float32(0.0)
        for n in range(wanted):
            found += row_C[wanted_C[n]]
        slope = found / np.float32(wanted) - expected_value(probability_C, row_C, count)
        if not np.isfinite(slope):
            return
        for k in range(PHI):
            slope_W[f * PHI + k] = slope * phi_K[k]
    gate.steps[0] += 1
    if not newton_step(gate.inverse_WW, slope_W, step_W, caution_W):
        gate.steps[1] += 1
        return
    for f in range(used):
        for k in range(PHI):
            moved = gate.weight_FK[f, k] + np.float32(step_W[f * PHI + k])
            gate.weight_FK[f, k] = min(max(moved, np.float32(-WEIGHT_MAX)), np.float32(WEIGHT_MAX))


@inner_kernel
def newton_step(inverse_WW: Array, slope_W: Array, step_W: Array, caution_W: Array) -> bool:
    """Adds slope x slope to the remembered curvature A and writes A^-1 slope into ``step_W``; False where A had to start anew.

    The inverse follows by Sherman and Morrison (1950). What forgetting would let its diagonal grow beyond is the caution of the
    start: rows and columns are scaled down by ``caution_W``, which is working memory.
    """
    size = len(slope_W)
    spread = REMEMBERED
    for i in range(size):
        total = 0.0
        for j in range(size):
            total += inverse_WW[i, j] * slope_W[j]
        step_W[i] = total
        spread += total * slope_W[i]
    if not (np.isfinite(spread) and spread >= 0.5 * REMEMBERED):
        inverse_WW[:size, :size] = 0.0
        for i in range(size):
            inverse_WW[i, i] = 1.0 / STEP_CAUTION
        return False
    growth, share = 1.0 / REMEMBERED, 1.0 / (REMEMBERED * spread)
    for i in range(size):
        excess = (inverse_WW[i, i] * growth - step_W[i] * step_W[i] * share) * STEP_CAUTION
        caution_W[i] = 1.0 / np.sqrt(max(excess, 1.0))
    update_inverse(inverse_WW, growth, share, step_W, caution_W)
    for i in range(size):
        step_W[i] /= spread
    return True


@kernel
def update_inverse(inverse_WW: Array, growth: float, share: float, step_W: Array, caution_W: Array) -> None:
    """Grows and shrinks the inverse as a step says, bit for bit symmetric: what is computed for a place is the same for its mirror image.

    An asymmetry would never be damped: forgetting multiplies it at every step, until it drowns what was learned.
    """
    for i in range(len(step_W)):
        step, caution = step_W[i], caution_W[i]
        for j in range(len(step_W)):
            cautions = caution * caution_W[j]
            inverse_WW[i, j] = inverse_WW[i, j] * (growth * cautions) - (step * step_W[j]) * (share * cautions)
