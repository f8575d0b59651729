"""The best candidates of users, with the terms that put them there."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from streamer.head.bilinear import STEP, Head
from streamer.head.gate import weigh
from streamer.ranking.explore import NONE, Explore, drawn_item
from streamer.ranking.liking import likeness_parts
from streamer.ranking.rerank import DIVERSE, FAIR, Rerank, diversify, lift_providers, pool_of
from streamer.ranking.score import Asker, Model, score
from streamer.ranking.scratch import (
    DIVERSITY,
    FAIRNESS,
    IMAGE,
    LAST,
    LIKENESS,
    NEAR,
    NEAR_BACK,
    NEURAL,
    NEW,
    TEXT,
    TREND,
    WIDE,
    WIDE_BACK,
    YOUNG,
    YOUNG_CONTENT,
    YOUNG_LIKENESS,
    Scratch,
)
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.shared import take
from streamer.tables.vectors import add_scaled, dot
from streamer.windows.users import Users, read_window

REASONS = 3
"""Terms given an entry, the largest first."""
REASON_MIN = 0.5e-4
"""A term that is written as 0.0000 is no reason."""
NOBODY = -1
TAKEN_AT_ONCE = 4
"""Lists that a thread takes: neighbours share cache lines."""
PARTS = ("signals", "text", "image", "item", "rerank")
"""Of a score: the counting signals, of how well the entry fits what its text, its image and its own history give, and re-ranking."""


class Lists(NamedTuple):
    """Lists of U users, K entries at most: rows of items (``count_U`` of them are used), scores, terms with value and item (-1: none)."""

    user_U: Array
    count_U: Array
    item_UK: Array
    score_UK: Array
    term_UKR: Array
    value_UKR: Array
    about_UKR: Array
    part_UP: Array
    """Sums over the entries of what each of PARTS gives to their scores, without sign."""


def empty_lists(user_U: Array, entries: int) -> Lists:
    """Memory for the lists of those users (row NOBODY: someone of whom nothing is known)."""
    users = len(user_U)
    return Lists(
        user_U=user_U,
        count_U=np.zeros(users, np.int32),
        item_UK=np.zeros((users, entries), np.int32),
        score_UK=np.zeros((users, entries), np.float32),
        term_UKR=np.zeros((users, entries, REASONS), np.int8),
        value_UKR=np.zeros((users, entries, REASONS), np.float32),
        about_UKR=np.zeros((users, entries, REASONS), np.int32),
        part_UP=np.zeros((users, len(PARTS)), np.float64),
    )


class Ranking(NamedTuple):
    """The state as it is, and when and how it is asked: ``fixed`` ranks by the weights of the start."""

    model: Model
    users: Users
    now_ms: int
    exclude_seen: bool
    fixed: bool
    explore: Explore


def rank_side_by_side(
    ranking: Ranking, reranks: tuple[Rerank, Rerank], scratches: tuple[Scratch, Scratch], lists: Lists, beside: Executor
) -> None:
    """``rank_users`` by this thread and, as soon as it has time, by ``beside``, each with memory of its own."""
    next_1 = np.zeros(1, np.int64)
    other = beside.submit(rank_users, ranking, reranks[1], scratches[1], lists, next_1)
    try:
        rank_users(ranking, reranks[0], scratches[0], lists, next_1)
    finally:
        if not other.cancel():
            other.result()  # nobody may change the state before


@kernel
def rank_users(ranking: Ranking, rerank: Rerank, scratch: Scratch, lists: Lists, next_1: Array) -> None:
    """Fills the lists of ``lists.user_U`` from the state as it is: those from ``next_1`` on that no other thread has taken."""
    users = len(lists.user_U)
    first = take(next_1, TAKEN_AT_ONCE)
    while first < users:
        for n in range(first, min(first + TAKEN_AT_ONCE, users)):
            rank_user(ranking, rerank, scratch, lists, n)
        first = take(next_1, TAKEN_AT_ONCE)


@kernel
def rank_user(ranking: Ranking, rerank: Rerank, scratch: Scratch, lists: Lists, n: int) -> None:
    """Fills one list. The last place explores. A known user of whom nothing is left gets an empty list."""
    model, users, now_ms, exclude_seen, fixed, explore = ranking
    context_W = scratch.context_W
    user = lists.user_U[n]
    length = 0
    row = max(user, 0)
    known = np.float32(1.0) if user != NOBODY else np.float32(0.0)
    asker = Asker(NOBODY, users.pushed_U[row], users.last_ms_U[row], known * users.repeats_U[row])
    if user != NOBODY:
        length = read_window(users, user, context_W)
        asker = Asker(user, users.pushed_U[user], max(0, now_ms - users.last_ms_U[user]), users.repeats_U[user])
        if length == 0:
            return
    count = score(model, context_W, length, asker, exclude_seen, exclude_seen, scratch)
    if fixed:
        for f in range(len(scratch.weight_F)):
            scratch.weight_F[f] = model.gate.fixed_F[f]
        weigh(scratch.feature_FC, scratch.weight_F, count, scratch.logit_C)
    content_of_mean_candidate(model.head, count, scratch)
    lift_providers(rerank, count, scratch)
    entries = lists.item_UK.shape[1]
    place_K = scratch.place_C[: pool_of(rerank, entries)]
    found = best_places(scratch.logit_C, count, place_K)
    lists.count_U[n] = diversify(rerank, model.head, found, entries, scratch)
    for k in range(lists.count_U[n]):
        lists.item_UK[n, k] = scratch.item_C[place_K[k]]
        lists.score_UK[n, k] = scratch.logit_C[place_K[k]]
        explain(model.head, context_W, place_K[k], scratch, lists.term_UKR[n, k], lists.value_UKR[n, k], lists.about_UKR[n, k])
        note_parts(model.head, place_K[k], scratch, lists.part_UP[n])
    item = drawn_item(
        explore,
        model.signals.trends,
        model.likeness,
        model.head.steps[STEP],
        user,
        lists.item_UK[n],
        lists.count_U[n],
        scratch,
    )
    if item != NONE:
        put_new(lists, n, item)


@kernel
def put_new(lists: Lists, n: int, item: int) -> None:
    """Gives the last place of a list to an item that is no candidate on its merits; its score is that of the entry it replaces or follows."""
    last = lists.item_UK.shape[1] - 1
    k = min(lists.count_U[n], last)
    if k == 0:
        return
    if lists.count_U[n] <= last:
        lists.score_UK[n, k] = lists.score_UK[n, k - 1]
        lists.count_U[n] = k + 1
    lists.item_UK[n, k] = item
    for r in range(REASONS):
        lists.term_UKR[n, k, r] = NOBODY
        lists.value_UKR[n, k, r] = 0.0
        lists.about_UKR[n, k, r] = NOBODY
    lists.term_UKR[n, k, 0] = NEW


@kernel
def best_places(logit_C: Array, count: int, place_K: Array) -> int:
    """Writes the places of the best candidates, best first, ties by place; returns how many there are."""
    used = 0
    for n in range(count):
        if used == len(place_K) and logit_C[n] <= logit_C[place_K[used - 1]]:
            continue
        at = used if used < len(place_K) else used - 1
        while at > 0 and logit_C[place_K[at - 1]] < logit_C[n]:
            place_K[at] = place_K[at - 1]
            at -= 1
        place_K[at] = n
        used = min(used + 1, len(place_K))
    return used


@kernel
def content_of_mean_candidate(head: Head, count: int, scratch: Scratch) -> None:
    """What text and image give to the affinity of the mean candidate: an entry's content is told as what it has beyond that."""
    scratch.part_2[:] = 0.0
    for m in range(2):
        if head.widths[m] == 0:
            continue
        part_ID = head.text_ID if m == 0 else head.image_ID
        scratch.mean_D[:] = 0.0
        for n in range(count):
            add_scaled(scratch.mean_D, np.float32(1.0), part_ID[scratch.item_C[n]])
        scratch.part_2[m] = dot(scratch.query_D, scratch.mean_D) / np.float32(max(count, 1))


@kernel
def content_parts(head: Head, place: int, scratch: Scratch) -> tuple[np.float32, np.float32, np.float32]:
    """What text, image and the rest (the free vector and the bias) give to a candidate's logit."""
    weight_F, feature_FC = scratch.weight_F, scratch.feature_FC
    weight = weight_F[NEURAL] + weight_F[YOUNG_CONTENT] * feature_FC[YOUNG, place]
    item = scratch.item_C[place]
    text, image = np.float32(0.0), np.float32(0.0)
    if feature_FC[NEURAL, place] != 0.0:
        if head.widths[0] > 0:
            text = weight * (dot(scratch.query_D, head.text_ID[item]) - scratch.part_2[0])
        if head.widths[1] > 0:
            image = weight * (dot(scratch.query_D, head.image_ID[item]) - scratch.part_2[1])
    rest = weight * feature_FC[NEURAL, place] - text - image
    alike_text, alike_image = likeness_parts(place, scratch)
    return text + alike_text, image + alike_image, rest


@kernel
def note_parts(head: Head, place: int, scratch: Scratch, part_P: Array) -> None:
    """Adds an entry's parts."""
    text, image, rest = content_parts(head, place, scratch)
    rerank = scratch.rerank_2C[FAIR, place] + scratch.rerank_2C[DIVERSE, place]
    part_P[0] += abs(scratch.logit_C[place] - rerank - text - image - rest)
    part_P[1] += abs(text)
    part_P[2] += abs(image)
    part_P[3] += abs(rest)
    part_P[4] += abs(rerank)


@leaf_kernel
def _put_reason(term: int, value: float, used: int, term_R: Array, value_R: Array) -> int:
    """Puts a term among the largest; returns how many there are."""
    if abs(value) < REASON_MIN or (used == REASONS and abs(value) <= abs(value_R[used - 1])):
        return used
    at = used if used < REASONS else used - 1
    while at > 0 and abs(value_R[at - 1]) < abs(value):
        value_R[at], term_R[at] = value_R[at - 1], term_R[at - 1]
        at -= 1
    value_R[at], term_R[at] = value, term
    return min(used + 1, REASONS)


@kernel
def explain(head: Head, context_W: Array, place: int, scratch: Scratch, term_R: Array, value_R: Array, about_R: Array) -> None:
    """The largest terms of a candidate's logit: which, how much, and the item of the context that it speaks of.

    The trends are one term, named by the half-life that gives most of it. How well it fits is told as what text, image and the rest give.
    """
    trends = np.float32(0.0)
    for f in range(TREND, NEURAL):
        trends += scratch.weight_F[f] * scratch.feature_FC[f, place]
    sign = np.float32(1.0) if trends >= 0.0 else np.float32(-1.0)
    strongest, most = TREND, np.float32(-np.inf)
    for f in range(TREND, NEURAL):
        value = sign * scratch.weight_F[f] * scratch.feature_FC[f, place]
        if value > most:
            strongest, most = f, value
    text, image, rest = content_parts(head, place, scratch)
    used = 0
    for f in range(len(scratch.weight_F)):
        value = scratch.weight_F[f] * scratch.feature_FC[f, place]
        if TREND <= f < NEURAL:
            value = trends if f == strongest else np.float32(0.0)
        elif f == NEURAL:
            value = rest
        elif f in (YOUNG_CONTENT, LIKENESS, YOUNG_LIKENESS):
            value = np.float32(0.0)
        used = _put_reason(f, value, used, term_R, value_R)
    used = _put_reason(TEXT, float(text), used, term_R, value_R)
    used = _put_reason(IMAGE, float(image), used, term_R, value_R)
    used = _put_reason(FAIRNESS, float(scratch.rerank_2C[FAIR, place]), used, term_R, value_R)
    used = _put_reason(DIVERSITY, float(scratch.rerank_2C[DIVERSE, place]), used, term_R, value_R)
    for r in range(REASONS):
        about_R[r] = NOBODY
        if r >= used:
            term_R[r] = NOBODY
        elif term_R[r] in (NEAR, NEAR_BACK, LAST):
            about_R[r] = context_W[0]
        elif term_R[r] == WIDE:
            about_R[r] = scratch.source_2C[0, place]
        elif term_R[r] == WIDE_BACK:
            about_R[r] = scratch.source_2C[1, place]
