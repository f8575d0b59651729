"""Everybody's latest items and, for each item, the sessions that had it, newest first: where session neighbours are looked up.

A session is all that one user does. Memory is bounded a user (the last L items) and a query (the newest sessions of an item).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.evaluate.baselines.growing import Counts, Floats, Ints, grown


class SessionArrays(NamedTuple):
    """What the kernels read. Shapes: U users, L items remembered each, N items, P postings."""

    item_UL: NDArray[np.int32]
    """Rings: event e of a user stands at e modulo L."""
    length_U: Ints
    """Events of each user so far."""
    order_U: Ints
    """The number of each user's last event in the whole stream, from 1; 0 for users without any."""
    time_U: Ints
    """When that was, epoch milliseconds."""
    newest_N: Ints
    """The newest posting of each item, from 1; 0 for none."""
    user_P: NDArray[np.int32]
    before_P: Ints
    """The posting of the same item before this one, from 1; 0 for none."""


class Sessions:
    """Sessions as they grow: the posting lists of VMIS-kNN (Kersbergen, Sprangers, Schelter 2022) kept up event by event."""

    def __init__(self, items_max: int) -> None:
        ring = np.zeros((0, items_max), np.int32)
        no = np.zeros(0, np.int64)
        self._arrays = SessionArrays(ring, no, no, no, no, np.zeros(1, np.int32), np.zeros(1, np.int64))
        self._postings = 0
        self._events = 0
        self._count = Counts()
        self.sessions = 0
        """Users with any event."""

    @property
    def arrays(self) -> SessionArrays:
        """What the kernels read; longer than what is in use."""
        return self._arrays

    @property
    def count_N(self) -> Floats:
        """Events of each item so far."""
        return self._count.value_N

    def last(self, user: int, items: int) -> Ints:
        """The user's last items, oldest first, at most so many."""
        if user >= len(self._arrays.length_U):
            return np.zeros(0, np.int64)
        item_UL, length = self._arrays.item_UL, int(self._arrays.length_U[user])
        first = length - min(length, items, item_UL.shape[1])
        found: Ints = item_UL[user, np.arange(first, length) % item_UL.shape[1]].astype(np.int64)
        return found

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """Adds a group to the user's session."""
        if not item_G:
            return
        self._reach(user + 1, max(item_G) + 1, self._postings + len(item_G) + 1)
        arrays = self._arrays
        self.sessions += int(arrays.length_U[user] == 0)
        for item in item_G:
            arrays.item_UL[user, arrays.length_U[user] % arrays.item_UL.shape[1]] = item
            arrays.length_U[user] += 1
            self._count.add(item, 1.0)
            self._post(user, item)
        self._events += 1
        arrays.order_U[user], arrays.time_U[user] = self._events, time_ms

    def _post(self, user: int, item: int) -> None:
        arrays = self._arrays
        newest = arrays.newest_N[item]
        if newest and arrays.user_P[newest] == user:
            return
        self._postings += 1
        arrays.user_P[self._postings], arrays.before_P[self._postings] = user, newest
        arrays.newest_N[item] = self._postings

    def _reach(self, users: int, items: int, postings: int) -> None:
        old = self._arrays
        self._arrays = SessionArrays(
            grown(old.item_UL, users),
            grown(old.length_U, users),
            grown(old.order_U, users),
            grown(old.time_U, users),
            grown(old.newest_N, items),
            grown(old.user_P, postings),
            grown(old.before_P, postings),
        )


@numba.njit(cache=True)
def neighbours(arrays: SessionArrays, item_Q: Ints, own: int, sample: int) -> Ints:
    """The newest sessions but the user's own that had any of the items, newest first, at most ``sample``."""
    taken_U = np.zeros(len(arrays.order_U), np.bool_)
    found_S = np.empty(min(len(taken_U), len(item_Q) * sample), np.int64)
    size = 0
    for item in item_Q:
        posting = arrays.newest_N[item] if item < len(arrays.newest_N) else 0
        walked = 0
        while posting and walked < sample:
            user = arrays.user_P[posting]
            if user != own and not taken_U[user]:
                taken_U[user] = True
                found_S[size] = user
                size += 1
            walked += 1
            posting = arrays.before_P[posting]
    found_S = found_S[:size]
    return found_S[np.argsort(-arrays.order_U[found_S])][:sample]


@numba.njit(cache=True)
def vsknn_scores(
    arrays: SessionArrays, item_Q: Ints, own: int, k: int, sample: int, idf_weight: float, idf_N: Floats
) -> Floats:
    """Scores of V-SKNN for a session of Q items, oldest first; see ``VSknn``."""
    step_N = np.zeros(len(idf_N), np.int64)
    distinct = 0
    for place in range(len(item_Q)):
        distinct += step_N[item_Q[place]] == 0
        step_N[item_Q[place]] = len(item_Q) - place
    user_S = neighbours(arrays, item_Q, own, sample)
    similarity_S, best_S = np.zeros(len(user_S)), np.zeros(len(user_S), np.int64)
    stamp_N = np.zeros(len(idf_N), np.int64)
    memory = arrays.item_UL.shape[1]
    for s in range(len(user_S)):
        best = len(item_Q) + 1
        for e in range(min(arrays.length_U[user_S[s]], memory)):
            item = arrays.item_UL[user_S[s], e]
            if step_N[item] and stamp_N[item] != s + 1:
                stamp_N[item] = s + 1
                similarity_S[s] += ((len(item_Q) - step_N[item] + 1) / len(item_Q)) ** 2
                best = min(best, step_N[item])
        similarity_S[s] /= distinct
        best_S[s] = best
    score_N = np.zeros(len(idf_N))
    stamp_N[:] = 0
    for s in _largest(similarity_S, k):
        for e in range(min(arrays.length_U[user_S[s]], memory)):
            item = arrays.item_UL[user_S[s], e]
            if stamp_N[item] != s + 1:
                stamp_N[item] = s + 1
                score_N[item] += similarity_S[s] / best_S[s] * (1.0 + idf_weight * idf_N[item])
    return score_N


@numba.njit(cache=True)
def stan_scores(
    arrays: SessionArrays,
    item_Q: Ints,
    own: int,
    time_ms: int,
    k: int,
    sample: int,
    lambda_spw: float,
    lambda_snh_ms: float,
    lambda_inh: float,
    items: int,
) -> Floats:
    """Scores of STAN for a session of Q items, oldest first; see ``Stan``."""
    weight_N, newest_N = np.zeros(items), np.zeros(items, np.int64)
    for place in range(len(item_Q)):
        weight_N[item_Q[place]] = np.exp((place + 1 - len(item_Q)) / lambda_spw)
        newest_N[item_Q[place]] = place + 1
    norm = np.sqrt(np.sum(weight_N**2))
    user_S = neighbours(arrays, item_Q, own, sample)
    similarity_S, match_S = np.zeros(len(user_S)), np.zeros(len(user_S), np.int64)
    stamp_N = np.zeros(items, np.int64)
    memory = arrays.item_UL.shape[1]
    for s in range(len(user_S)):
        length, distinct, newest = arrays.length_U[user_S[s]], 0, 0
        for e in range(length - 1, max(length - memory, 0) - 1, -1):
            item = arrays.item_UL[user_S[s], e % memory]
            if stamp_N[item] != s + 1:
                stamp_N[item] = s + 1
                distinct += 1
                similarity_S[s] += weight_N[item]
                if newest_N[item] > newest:
                    newest, match_S[s] = newest_N[item], e
        age_ms = max(time_ms - arrays.time_U[user_S[s]], 0)
        similarity_S[s] *= np.exp(-age_ms / lambda_snh_ms) / (norm * np.sqrt(max(distinct, 1)))
    score_N = np.zeros(items)
    stamp_N[:] = 0
    for s in _largest(similarity_S, k):
        length = arrays.length_U[user_S[s]]
        for e in range(length - 1, max(length - memory, 0) - 1, -1):
            item = arrays.item_UL[user_S[s], e % memory]
            if stamp_N[item] != s + 1:
                stamp_N[item] = s + 1
                score_N[item] += similarity_S[s] * np.exp(-abs(e - match_S[s]) / lambda_inh)
    return score_N


@numba.njit(cache=True)
def _largest(similarity_S: Floats, k: int) -> Ints:
    """Places of the k largest that are not 0, of equals the first; in order only where there are more."""
    place_S = np.flatnonzero(similarity_S)
    if len(place_S) <= k:
        return place_S
    return place_S[np.argsort(-similarity_S[place_S], kind="mergesort")][:k]
