"""What closing a group does: score it, if its turn has come, from the context it opened with and note how good that was; then learn it."""

from __future__ import annotations

import numpy as np

from streamer.catalog.likeness import Likeness
from streamer.engine.rules import EXCLUDE_ALWAYS, EXCLUDE_AUTO, Rules
from streamer.engine.state import (
    FIXED,
    GROUPS,
    HITS,
    INTERACTIONS,
    JUDGED,
    JUDGED_MS,
    LIVE,
    MRR,
    NDCG,
    POPULARITY,
    RECENT_NDCG,
    REPEATS,
    State,
)
from streamer.head.bilinear import note_example
from streamer.head.gate import Gate, learn_gate, softmax_in_place, weigh
from streamer.ranking.candidates import Signals
from streamer.ranking.liking import learned_features, without_chance
from streamer.ranking.score import Asker, Model, rank_of, score
from streamer.ranking.scratch import EXCLUDED, Scratch, find_candidate, is_candidate
from streamer.signals.pairs import count_pairs
from streamer.signals.trends import FOR_EVER, TICK_MASK, Trends, count_trend
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.random import JUDGED_GROUPS, random_below, random_u64
from streamer.tables.search import place_of
from streamer.windows.group import COUNT, ELAPSED_MS, LENGTH, NOBODY, TIME_MS, TURN, USER, Group, moves_anything
from streamer.windows.history import ABSENT, History, place_in_history, touch_history
from streamer.windows.journal import append_journal
from streamer.windows.users import WINDOW, Users, stage_weight

REPEAT_SHARE_MIN = 0.01
"""With ``exclude_seen = auto``: below this share of repeats in the stream so far, lists leave out what was seen."""
TOP = 10
RECENT_DECAY = 0.999
REPEATS_DECAY = 0.9


@kernel
def model_of(state: State) -> Model:
    """What scoring reads of the state."""
    signals = Signals(state.forward, state.reverse, state.trends, state.history, state.journal, state.items.flags_I)
    return Model(signals, state.gate, state.head, state.young, state.likeness)


@kernel
def leaves_out_seen(stream: Array, rules: Rules) -> bool:
    """Whether lists leave out what the user has had: as configured, or as the stream so far teaches."""
    if rules.exclude_seen == EXCLUDE_AUTO:
        return stream[REPEATS] < REPEAT_SHARE_MIN * stream[INTERACTIONS]
    return rules.exclude_seen == EXCLUDE_ALWAYS


@kernel
def close_group(state: State, rules: Rules, scratch: Scratch) -> None:
    """Judges the open group, if its turn has come, and learns it; then none is open."""
    time_ms = state.group.state[TIME_MS]
    if moves_anything(state.group) and is_judged(rules, state.stream[GROUPS], time_ms - state.stream[JUDGED_MS]):
        state.stream[JUDGED_MS] = max(state.stream[JUDGED_MS], time_ms)
        judge_group(state, rules, scratch)
    state.stream[GROUPS] += 1
    learn_targets(state, rules)
    state.group.state[USER] = NOBODY
    state.group.state[COUNT] = 0


@kernel
def is_judged(rules: Rules, group: int, since_ms: int) -> bool:
    """Whether the group of that number is scored before it is learned, which costs more than all else that is done with it.

    ``since_ms``: event time since the newest one that was: a quiet stream is judged whole.
    """
    if group < rules.judged_first or since_ms >= rules.judged_gap_ms or rules.judged_every == 1:
        return True
    return random_below(random_u64(rules.seed, JUDGED_GROUPS, group, 0), rules.judged_every) == 0


@leaf_kernel
def judge_group(state: State, rules: Rules, scratch: Scratch) -> None:
    """Scores the open group from the context it opened with, notes how good that was, and teaches the gate."""
    group = state.group
    user = group.state[USER]
    asker = Asker(user, group.state[TURN], group.state[ELAPSED_MS], state.users.repeats_U[user])
    count = score(
        model_of(state), group.context_W, group.state[LENGTH], asker, leaves_out_seen(state.stream, rules), False, scratch
    )
    judge(group, state.trends, state.gate, state.quality_MQ, state.candidates, count, scratch)
    if rules.learns_gate:
        learn_gate_of_group(group, state.likeness, state.gate, count, scratch)


@leaf_kernel
def judge(group: Group, trends: Trends, gate: Gate, quality_MQ: Array, candidates: Array, count: int, scratch: Scratch) -> None:
    """Adds the ranks of the group's targets that may move global state to the prequential sums of every method."""
    weigh(scratch.feature_FC, gate.fixed_F, count, scratch.fixed_C)
    for g in range(group.state[COUNT]):
        if not group.moves_G[g]:
            continue
        place = find_candidate(scratch, group.target_G[g])
        if is_candidate(place):
            candidates[0] += 1
            note_rank(quality_MQ[LIVE], rank_of(scratch.logit_C, count, place))
            note_rank(quality_MQ[FIXED], rank_of(scratch.fixed_C, count, place))
        else:
            note_rank(quality_MQ[LIVE], np.inf)
            note_rank(quality_MQ[FIXED], np.inf)
        note_rank(quality_MQ[POPULARITY], popularity_rank(trends, group.target_G[g], scratch))


@kernel
def popularity_rank(trends: Trends, target: int, scratch: Scratch) -> float:
    """The target's place in the list of popularity for ever, less what the user must not get again."""
    top_T, length = trends.top_HT[FOR_EVER], trends.length_H[FOR_EVER]
    place = place_of(top_T, 0, length, target)
    if place == length or find_candidate(scratch, target) == EXCLUDED:
        return np.inf
    rank = 1.0
    for n in range(place):
        if find_candidate(scratch, top_T[n]) != EXCLUDED:
            rank += 1.0
    return rank


@leaf_kernel
def note_rank(sum_Q: Array, rank: float) -> None:
    """Adds one judged target."""
    ndcg = 1.0 / np.log2(1.0 + rank) if rank <= TOP else 0.0
    sum_Q[JUDGED] += 1.0
    sum_Q[HITS] += 1.0 if rank <= TOP else 0.0
    sum_Q[NDCG] += ndcg
    sum_Q[MRR] += 1.0 / rank
    sum_Q[RECENT_NDCG] = RECENT_DECAY * sum_Q[RECENT_NDCG] + (1.0 - RECENT_DECAY) * ndcg


@leaf_kernel
def learn_gate_of_group(group: Group, likeness: Likeness, gate: Gate, count: int, scratch: Scratch) -> None:
    """Moves the gate toward the targets that are among the candidates and may move global state."""
    wanted_G = scratch.wanted_G
    wanted = 0
    for g in range(group.state[COUNT]):
        place = find_candidate(scratch, group.target_G[g])
        if is_candidate(place) and group.moves_G[g]:
            wanted_G[wanted] = place
            wanted += 1
    if wanted > 0:
        without_chance(likeness, count, scratch)
        softmax_in_place(scratch.logit_C, count)
        used = learned_features(likeness)
        learn_gate(gate, used, scratch.phi_K, scratch.feature_FC, scratch.logit_C, count, wanted_G, wanted, scratch.step_3W)


@kernel
def weight_of_target(group: Group, users: Users, rules: Rules, g: int) -> float:
    """What an interaction of the open group counts for pairs and for the towers."""
    user = group.state[USER]
    own = users.pushed_U[user] - group.state[COUNT] + g
    return stage_weight(users, user, own, group.target_G[g], group.type_G[g], rules.weight_K)


@kernel
def count_ahead(state: State, rules: Rules, kind_G: Array, tick_G: Array) -> None:
    """Counts in the trends what the open group holds, as learning it will; histories stay as they are.

    So of an item that the group itself pushes out of a full history, and chooses again, it counts less than learning will.
    ``kind_G`` and ``tick_G`` hold what each target leaves in the history.
    """
    group = state.group
    for g in range(group.state[COUNT]):
        if not group.moves_G[g]:
            continue
        kind, touched = held_before(group, state.history, g, kind_G, tick_G)
        weight, held = rules.weight_K[group.type_G[g]], rules.weight_K[kind]
        tick_G[g] = count_trend(state.trends, group.target_G[g], weight, held, touched)
        kind_G[g] = weightier(rules, kind, group.type_G[g])


@kernel
def held_before(group: Group, history: History, g: int, kind_G: Array, tick_G: Array) -> tuple[int, int]:
    """The weightiest type of event of the user with the ``g``-th target of the open group and the clock at the last one."""
    for before in range(g - 1, -1, -1):
        if group.moves_G[before] and group.target_G[before] == group.target_G[g]:
            return kind_G[before], tick_G[before]
    kind, touched = 0, 0
    place = place_in_history(history, group.state[USER], group.target_G[g])
    if place != ABSENT:
        kind, touched = history.kind_P[place], history.tick_P[place]
    return kind, touched


@kernel
def count_popular(trends: Trends, history: History, rules: Rules, place: int, item: int, kind: int) -> None:
    """Counts an interaction in the trends as far as the user has not moved the item already, and notes that in his history."""
    before = history.kind_P[place]
    now = count_trend(trends, item, rules.weight_K[kind], rules.weight_K[before], history.tick_P[place])
    history.tick_P[place] = now & TICK_MASK
    history.kind_P[place] = weightier(rules, before, kind)


@kernel
def weightier(rules: Rules, kind: int, other: int) -> int:
    """Of two types of events the one that weighs more, the first where they are equal."""
    return other if rules.weight_K[other] > rules.weight_K[kind] else kind


@leaf_kernel
def learn_targets(state: State, rules: Rules) -> None:
    """Counts and notes the group's targets one by one, each with those before it in the context."""
    group = state.group
    user = group.state[USER]
    context_W = group.context_W
    length = group.state[LENGTH]
    for g in range(group.state[COUNT]):
        target = group.target_G[g]
        turn = group.state[TURN] + g + 1
        place, repeat = touch_history(state.history, user, target, turn, rules.history_items_max)
        state.users.repeats_U[user] = REPEATS_DECAY * state.users.repeats_U[user] + (1.0 - REPEATS_DECAY) * (
            1.0 if repeat else 0.0
        )
        if group.moves_G[g]:
            state.stream[INTERACTIONS] += 1
            state.stream[REPEATS] += 1 if repeat else 0
            weight = weight_of_target(group, state.users, rules, g)
            count_pairs(state.forward, state.reverse, context_W, length, target, weight, rules.neighbours_max)
            append_journal(state.journal, user, target)
            count_popular(state.trends, state.history, rules, place, target, group.type_G[g])
            note_example(state.head, state.block, context_W, length, target, weight)
        length = min(length + 1, WINDOW)
        for n in range(length - 1, 0, -1):
            context_W[n] = context_W[n - 1]
        context_W[0] = target
    group.state[LENGTH] = 0
