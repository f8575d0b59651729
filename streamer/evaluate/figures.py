"""Figures of a run: means of the metrics over the targets, in windows, by kind, by history, by item age, over time; and how sure they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.evaluate.metrics import hit, ndcg, reciprocal
from streamer.evaluate.prequential import BINS, Floats, Run
from streamer.evaluate.stream import Ints, Stream
from streamer.events.model import EventType

Bools = NDArray[np.bool_]

METRICS = ("hr@10", "ndcg@10", "mrr")
WINDOWS = {"10-100": (0.1, 1.0), "30-100": (0.3, 1.0)}
"""Parts of the stream that are reported, by events; what comes before them only teaches."""
CHIEF = "10-100"
"""The window of all figures that name none."""

HISTORY_EDGES = (0, 1, 2, 5, 10, 20)
HISTORY_NAMES = ("0", "1", "2-4", "5-9", "10-19", "20+")
AGE_EDGES = (0, 1, 6, 21, 101)
AGE_NAMES = ("0", "1-5", "6-20", "21-100", "101+")

RESAMPLES = 1_000
INTERVAL = (2.5, 97.5)
"""Percentiles between which 95 % of the resamples lie."""


class Targets(NamedTuple):
    """What is known of the T targets of a stream, in its order."""

    reference_T: Ints
    """Which item reference of the stream."""
    event_T: Ints
    user_T: NDArray[np.int32]
    purchase_T: Bools
    history_T: Ints
    """Interactions of the user before the group."""
    age_T: Ints
    """Interactions with the item before the group."""
    events: int
    users: int

    def window(self, name: str) -> Bools:
        """Which targets lie in one of the WINDOWS."""
        first, last = WINDOWS[name]
        return np.asarray((self.event_T >= first * self.events) & (self.event_T < last * self.events))


def targets_of(stream: Stream) -> Targets:
    """The targets with what breakdowns need."""
    reference_T = np.flatnonzero(stream.target_M)
    event_T = stream.event_M[reference_T]
    user_T, item_T = stream.user_N[event_T], stream.item_M[reference_T]
    group_T = stream.group_N[event_T]
    return Targets(
        reference_T=reference_T,
        event_T=event_T,
        user_T=user_T,
        purchase_T=np.asarray(stream.type_N[event_T] == EventType.PURCHASE),
        history_T=before_group(user_T, group_T),
        age_T=before_group(item_T, group_T),
        events=stream.events,
        users=len(stream.user_ids),
    )


def before_group(code_T: NDArray[np.int32], group_T: Ints) -> Ints:
    """How often each code stood before, those of its own group not counted.

    >>> before_group(np.array([7, 7, 8, 7], np.int32), np.array([0, 0, 1, 2])).tolist()
    [0, 0, 0, 2]
    """
    order_T = np.lexsort((group_T, code_T))
    code_S, group_S = code_T[order_T], group_T[order_T]
    place_S = np.arange(len(order_T))
    new_code_S = np.concatenate(([True], code_S[1:] != code_S[:-1])) if len(order_T) else np.zeros(0, np.bool_)
    new_run_S = new_code_S.copy()
    new_run_S[1:] |= group_S[1:] != group_S[:-1]
    first_of_code_S = np.maximum.accumulate(np.where(new_code_S, place_S, 0))
    first_of_run_S = np.maximum.accumulate(np.where(new_run_S, place_S, 0))
    count_T = np.zeros(len(order_T), np.int64)
    count_T[order_T] = first_of_run_S - first_of_code_S
    return count_T


def values_of(rank_T: Floats) -> Floats:
    """The METRICS of each target, [T, 3]."""
    return np.stack([hit(rank_T), ndcg(rank_T), reciprocal(rank_T)], axis=1)


def means(value_TQ: Floats, chosen_T: Bools) -> dict[str, Any]:
    """The mean of each metric over the chosen targets, and how many they are; None where there is none."""
    count = int(np.count_nonzero(chosen_T))
    if not count:
        return dict.fromkeys(METRICS) | {"targets": 0}
    return dict(zip(METRICS, value_TQ[chosen_T].mean(axis=0).tolist(), strict=True)) | {"targets": count}


def breakdown(value_TQ: Floats, chosen_T: Bools, of_T: Ints, edges: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """The means by class: class n holds what is from ``edges[n]`` to below the next edge."""
    class_T = np.searchsorted(np.array(edges), of_T, "right") - 1
    return {name: means(value_TQ, chosen_T & (class_T == n)) for n, name in enumerate(names)}


def over_time(value_TQ: Floats, targets: Targets) -> dict[str, list[float | None]]:
    """The means in each of BINS equal parts of the stream, None where there is no target."""
    bin_T = targets.event_T * BINS // targets.events
    count_B = np.bincount(bin_T, minlength=BINS)
    found: dict[str, list[float | None]] = {}
    for n, metric in enumerate(METRICS):
        sum_B = np.bincount(bin_T, value_TQ[:, n], minlength=BINS)
        found[metric] = [
            total / count if count else None for total, count in zip(sum_B.tolist(), count_B.tolist(), strict=True)
        ]
    return found


def figures_of(run: Run, targets: Targets) -> dict[str, Any]:
    """All figures of one run that need no other run."""
    value_TQ = values_of(run.rank_M[targets.reference_T])
    chief_T = targets.window(CHIEF)
    found: dict[str, Any] = {
        "windows": {name: means(value_TQ, targets.window(name)) for name in WINDOWS},
        "known_users": {name: means(value_TQ, targets.window(name) & (targets.history_T > 0)) for name in WINDOWS},
        "purchases": {name: means(value_TQ, targets.window(name) & targets.purchase_T) for name in WINDOWS},
        "by_history": breakdown(value_TQ, chief_T, targets.history_T, HISTORY_EDGES, HISTORY_NAMES),
        "by_item_age": breakdown(value_TQ, chief_T, targets.age_T, AGE_EDGES, AGE_NAMES),
        "over_time": over_time(value_TQ, targets),
        "answered_share": float(run.answered_G.mean()) if len(run.answered_G) else None,
        "seconds": run.seconds,
    }
    if run.candidates is not None:
        judged, among = run.candidates
        found["candidate_recall"] = among / judged if judged else None
    if run.gate_BF is not None:
        gates = [[None if np.isnan(weight) else weight for weight in row] for row in run.gate_BF.T.tolist()]
        found["gates"] = dict(zip(run.signals, gates, strict=True))
    if run.tables:
        whole = hashlib.sha256(msgspec.json.encode(sorted(run.tables.items()))).hexdigest()
        found["state"] = {"sha256": whole, "tables": run.tables}
    return found


def served_figures(run: Run, targets: Targets) -> dict[str, Any]:
    """The windows' means of the lists as served, by period of the sweep."""
    found = {}
    for name, rank_M in run.served.items():
        value_TQ = values_of(rank_M[targets.reference_T])
        found[name] = {window: means(value_TQ, targets.window(window)) for window in WINDOWS}
    return found


def intervals(value_MTQ: Mapping[str, Floats], targets: Targets, window: str, seed: int) -> dict[str, Any]:
    """What resampling users tells: an interval for each method's metrics, and for its differences to the first method.

    Paired block bootstrap (Efron and Tibshirani 1993): users are drawn with replacement, each with all targets of theirs in the
    window, the same users for every method.
    """
    names = list(value_MTQ)
    chosen_T = targets.window(window)
    columns = len(METRICS)
    user_T, user_U = np.unique(targets.user_T[chosen_T], return_inverse=True)
    if not len(user_T):
        return {}
    sum_UC = np.zeros((len(user_T), len(names) * columns))
    for m, name in enumerate(names):
        for q in range(columns):
            sum_UC[:, m * columns + q] = np.bincount(user_U, value_MTQ[name][chosen_T, q], minlength=len(user_T))
    mean_SC = resampled(sum_UC, np.bincount(user_U, minlength=len(user_T)).astype(np.float64), seed)
    found: dict[str, Any] = {}
    whole_C = sum_UC.sum(axis=0) / len(user_U)
    first_SC = mean_SC[:, :columns]
    for m, name in enumerate(names):
        own_SC = mean_SC[:, m * columns : (m + 1) * columns]
        own_C = whole_C[m * columns : (m + 1) * columns]
        found[name] = {
            metric: {
                "interval": np.percentile(own_SC[:, q], INTERVAL).tolist(),
                "difference": float(whole_C[q] - own_C[q]),
                "difference_interval": np.percentile(first_SC[:, q] - own_SC[:, q], INTERVAL).tolist(),
            }
            for q, metric in enumerate(METRICS)
        }
    return found


def resampled(sum_UC: Floats, count_U: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Means over resampled users, [resamples, C]: sums and counts of the drawn users, divided."""
    rng = np.random.default_rng(seed)
    users = len(count_U)
    mean_SC = np.zeros((resamples, sum_UC.shape[1]))
    for n in range(resamples):
        weight_U = np.bincount(rng.integers(0, users, users), minlength=users).astype(np.float64)
        mean_SC[n] = (weight_U @ sum_UC) / (weight_U @ count_U)
    return mean_SC
