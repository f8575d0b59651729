"""Candidates, features, logits and reasons beside a readable scoring of the same state."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import reference_neighbours
from streams import fold, random_choices, records_of, tiny_config

from streamer.catalog.items import WITHDRAWN
from streamer.catalog.likeness import TEXT_AXES
from streamer.engine.engine import Engine
from streamer.engine.learn import model_of
from streamer.ranking.candidates import (
    BACK_LAST,
    BACK_OTHER,
    FORWARD_LAST,
    FORWARD_OTHER,
    HISTORY_TURNS,
    NEIGHBOUR_CANDIDATES,
    PAIR_SCALE,
    PRIOR,
    REPEAT_SCALE,
    SHARE,
    TREND_CANDIDATES,
    TREND_SCALE,
    YOUNG_CANDIDATES,
)
from streamer.ranking.liking import LIKE_YOUTH, SCALE
from streamer.ranking.lists import NOBODY, REASON_MIN, REASONS
from streamer.ranking.score import NEURAL_MAX, YOUTH, Asker, score
from streamer.ranking.scratch import (
    AFTER,
    BEFORE,
    FEATURES,
    IMAGE,
    LAST,
    LIKENESS,
    NEAR,
    NEAR_BACK,
    NEURAL,
    NEW,
    RECENT,
    REPEAT,
    TERMS,
    TEXT,
    TREND,
    UNTRIED,
    WIDE,
    WIDE_BACK,
    YOUNG,
    YOUNG_CONTENT,
    YOUNG_LIKENESS,
    reserve_scratch,
)
from streamer.signals.neighbours import ROWS_MAX
from streamer.signals.pairs import CONTEXT, WIDE_DECAY
from streamer.signals.trends import FOR_EVER, RATES
from streamer.windows.history import COUNT_HALF_LIFE
from streamer.windows.journal import APPENDED, journal_out, users_and_items
from streamer.windows.users import WINDOW, read_window

SEEDS = st.integers(0, 2**32)


class Readable:
    """The scoring of one context in dicts and sums."""

    def __init__(self, engine, context, user, turn, *, exclude_seen, exclude_context):
        self.state = engine.state
        self.context, self.turn = context, turn
        self.history = self.history_of(user) if user >= 0 else {}
        self.excluded = set(self.history) if exclude_seen else set()
        self.excluded |= set(context) if exclude_seen and exclude_context else set()
        self.neighbours = self.neighbours_of(user)
        self.candidates = self.candidates_of(repeats=not exclude_seen)
        self.feature = {item: self.features_of(item, repeats=not exclude_seen) for item in self.candidates}
        self.center_neural()

    def neighbours_of(self, user):
        journal = self.state.journal
        what_J, appended = journal_out(journal, 0)["journal.what"], int(journal.extent[APPENDED])
        in_order = users_and_items(np.roll(what_J, -appended % len(what_J)) if len(what_J) else what_J)
        entries = list(zip(*(row_J.tolist() for row_J in in_order), strict=True))
        return reference_neighbours(entries, self.context, user)

    def history_of(self, user):
        history = self.state.history
        start, length = int(history.rows.start_R[user]), int(history.rows.length_R[user])
        return {
            int(history.item_P[at]): (float(history.count_P[at]), int(history.turn_P[at]))
            for at in range(start, start + length)
        }

    def row(self, pairs, item):
        """(other, near probability, wide probability), strongest first."""
        start, length = int(pairs.rows.start_R[item]), int(pairs.rows.length_R[item])
        prior = PRIOR * pairs.scale_I[item]
        near, wide = pairs.near_total_I[item] + prior, pairs.wide_total_I[item] + prior
        return [
            (int(pairs.item_P[at]), pairs.near_P[at] / near, pairs.wide_P[at] / wide) for at in range(start, start + length)
        ]

    def may_be_listed(self, item):
        return item not in self.excluded and not self.state.items.flags_I[item] & WITHDRAWN

    def candidates_of(self, *, repeats):
        state, found = self.state, []
        for n, item in enumerate(self.context[:CONTEXT]):
            found += [other for other, *_ in self.row(state.forward, item)[: FORWARD_OTHER if n else FORWARD_LAST]]
            found += [other for other, *_ in self.row(state.reverse, item)[: BACK_OTHER if n else BACK_LAST]]
        if repeats:
            found += [item for item, (_, turn) in self.history.items() if self.turn - turn <= HISTORY_TURNS]
            found += self.context
        strongest = sorted(
            (item for item in self.neighbours if self.may_be_listed(item)), key=lambda item: -sum(self.neighbours[item])
        )
        assert len(strongest) <= NEIGHBOUR_CANDIDATES
        found += strongest
        for half in range(len(RATES)):
            top = state.trends.top_HT[half, : int(state.trends.length_H[half])].tolist()
            found += [item for item in top if self.may_be_listed(item)][:TREND_CANDIDATES]
        if self.context:
            pool = state.young.item_Y[: int(state.young.tended[0])].tolist()
            assert len(pool) <= YOUNG_CANDIDATES
            found += pool
        return {item for item in found if self.may_be_listed(item)}

    def features_of(self, item, *, repeats):
        feature = np.zeros(FEATURES)
        for n, other in enumerate(self.context[:CONTEXT]):
            for pairs, near, wide in ((self.state.forward, NEAR, WIDE), (self.state.reverse, NEAR_BACK, WIDE_BACK)):
                for found, near_chance, wide_chance in self.row(pairs, other):
                    if found == item:
                        feature[wide] += WIDE_DECAY**n * wide_chance
                        feature[near] += near_chance if n == 0 else 0.0
        if repeats:
            feature[[RECENT, REPEAT]] = self.repeats_of(item)
            feature[LAST] = bool(self.context) and item == self.context[0]
        feature[TREND : TREND + len(RATES)] = self.trends_of(item)
        feature[:RECENT] = np.log2(1 + PAIR_SCALE * feature[:RECENT])
        feature[[AFTER, BEFORE]] = np.log2(1 + PAIR_SCALE * np.array(self.neighbours.get(item, (0.0, 0.0))))
        feature[RECENT:LAST] = np.log2(1 + REPEAT_SCALE * feature[RECENT:LAST])
        feature[NEURAL] = self.affinity_of(item)
        return feature

    def repeats_of(self, item):
        recent = repeat = 0.0
        if item in self.history:
            count, turn = self.history[item]
            age = self.turn - turn
            if age <= HISTORY_TURNS:
                recent, repeat = 1 / (1 + age), count * 2.0 ** (-age / COUNT_HALF_LIFE)
        if item in self.context:
            recent = max(recent, 1 / (1 + self.context.index(item)))
        return recent, repeat

    def trends_of(self, item):
        trends = self.state.trends
        now = int(trends.tick[0])
        share = SHARE.copy()
        share[FOR_EVER] = 1 / max(now, 1)
        aged = trends.value_IH[item] * 2.0 ** (-(now - trends.tick_I[item]) * RATES)
        return np.log2(1 + TREND_SCALE * share * aged)

    def affinity_of(self, item):
        head, used = self.state.head, self.context[:CONTEXT]
        if not used:
            return 0.0
        weight = np.exp(head.place_C[: len(used)] + head.fused_ID[used] @ head.key_D)
        query = head.turn_DD @ (weight @ head.fused_ID[used] / weight.sum())
        return query @ head.fused_ID[item] + head.bias_I[item]

    def center_neural(self):
        if self.context and self.feature:
            mean = np.mean([feature[NEURAL] for feature in self.feature.values()])
            for feature in self.feature.values():
                feature[NEURAL] = np.clip(feature[NEURAL] - mean, -NEURAL_MAX, NEURAL_MAX)
        for item, feature in self.feature.items():
            feature[YOUNG] = YOUTH / (YOUTH + self.state.trends.value_IH[item, FOR_EVER])
            feature[YOUNG_CONTENT] = feature[YOUNG] * feature[NEURAL]
        self.add_likeness()

    def add_likeness(self):
        """What the window's items say by their coordinates, one by one."""
        place_IL, there_I, n = self.state.likeness.place_IL, self.state.likeness.there_I, len(self.context)
        if not self.context or not len(self.state.likeness.axis_EL):
            return
        alike = {
            item: SCALE / np.sqrt(n) * sum(float(place_IL[other] @ place_IL[item]) for other in self.context)
            for item in self.feature
        }
        mean = np.mean(list(alike.values())) if alike else 0.0
        for item, feature in self.feature.items():
            feature[LIKENESS] = alike[item] - mean
            chosen = self.state.trends.value_IH[item, FOR_EVER]
            feature[YOUNG_LIKENESS] = LIKE_YOUTH / (LIKE_YOUTH + chosen) * feature[LIKENESS]
            feature[UNTRIED] = feature[YOUNG] * np.clip((1 + feature[LIKENESS]) / 2, 0, 1) * there_I[item]


def engine_of(seed, **ranking):
    return fold(Engine(tiny_config(explore=False, **ranking)), records_of(random_choices(seed, 150)))


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, exclude_seen=st.booleans(), exclude_context=st.booleans(), many=st.booleans())
def test_candidates_and_their_features_are_those_of_a_readable_scoring(seed, exclude_seen, exclude_context, many):
    engine = engine_of(seed)
    if many:  # as if there were so many items that those for whom neighbours speak lie in slots
        engine.scratch = reserve_scratch(engine.scratch, len(engine.state.users.pushed_U), ROWS_MAX + 1)
    users, scratch, context_W = engine.state.users, engine.scratch, np.zeros(WINDOW, np.int32)
    for user in (NOBODY, *range(int(users.ids.used[0]))):
        length = read_window(users, user, context_W) if user >= 0 else 0
        turn = int(users.pushed_U[max(user, 0)])
        asker = Asker(user, turn, 60_000, np.float32(0.25))
        count = score(model_of(engine.state), context_W, length, asker, exclude_seen, exclude_context, scratch)
        context = context_W[:length].tolist()
        readable = Readable(engine, context, user, turn, exclude_seen=exclude_seen, exclude_context=exclude_context)
        item_C = scratch.item_C[:count].tolist()
        assert len(set(item_C)) == count
        assert set(item_C) == readable.candidates
        for place, item in enumerate(item_C):
            assert scratch.feature_FC[:, place] == pytest.approx(readable.feature[item], abs=2e-3, rel=1e-3)
            assert scratch.logit_C[place] == pytest.approx(scratch.weight_F @ readable.feature[item], abs=1e-2, rel=1e-3)


def content_apart(engine, item, term_F):
    """The terms of a candidate with how well it fits in three: the rest, in the place of the content's term, and at the end text and image."""
    scratch, head = engine.scratch, engine.state.head
    place = scratch.item_C[: scratch.found[0]].tolist().index(item)
    weight = scratch.weight_F[NEURAL] + scratch.weight_F[YOUNG_CONTENT] * scratch.feature_FC[YOUNG, place]
    term_F, parts = term_F.copy(), []
    fits = term_F[NEURAL] + term_F[YOUNG_CONTENT]
    for part_ID in (head.text_ID, head.image_ID):
        part_C = part_ID[scratch.item_C[: scratch.found[0]]] @ scratch.query_D if len(part_ID) else np.zeros(scratch.found[0])
        parts.append(weight * (part_C[place] - part_C.mean()) if scratch.feature_FC[NEURAL, place] != 0.0 else 0.0)
    term_F[NEURAL], term_F[YOUNG_CONTENT] = fits - sum(parts), 0.0
    in_text_C = engine.state.likeness.place_IL[scratch.item_C[: scratch.found[0]], :TEXT_AXES] @ scratch.liked_L[:TEXT_AXES]
    chosen = YOUTH / scratch.feature_FC[YOUNG, place] - YOUTH  # those of the open group too, which count ahead
    youth = LIKE_YOUTH / (LIKE_YOUTH + chosen)
    weight = scratch.weight_F[LIKENESS] + scratch.weight_F[YOUNG_LIKENESS] * youth
    text = weight * (in_text_C[place] - in_text_C.mean()) if scratch.feature_FC[LIKENESS, place] != 0.0 else 0.0
    parts = [parts[0] + text, parts[1] + term_F[LIKENESS] + term_F[YOUNG_LIKENESS] - text]
    term_F[[LIKENESS, YOUNG_LIKENESS]] = 0.0
    return np.concatenate([term_F, parts])


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, exclude_seen=st.sampled_from(["true", "false"]))
@example(seed=7924, exclude_seen="true")
def test_reasons_are_the_largest_terms_and_all_terms_together_are_the_score(seed, exclude_seen):
    engine = engine_of(seed, exclude_seen=exclude_seen)
    scratch = engine.scratch
    for user in range(int(engine.state.users.ids.used[0])):
        lists = engine.rank(np.array([user]), entries=8)  # leaves the candidates of this user in the scratch
        place_of = {int(item): place for place, item in enumerate(scratch.item_C[: scratch.found[0]])}
        for k in range(int(lists.count_U[0])):
            item = int(lists.item_UK[0, k])
            term_F = scratch.weight_F * scratch.feature_FC[:, place_of[item]]
            assert lists.score_UK[0, k] == pytest.approx(term_F.sum(), abs=1e-4)
            trends = term_F[TREND:NEURAL].sum()
            strongest = TREND + int((term_F[TREND:NEURAL] * (1.0 if trends >= 0 else -1.0)).argmax())
            term_F[TREND:NEURAL] = 0.0
            term_F[strongest] = trends  # the trends are one reason, named by the one that gives most of it
            term_F = np.concatenate([content_apart(engine, item, term_F), [0.0]])
            term_F[[NEW, TEXT, IMAGE]] = 0.0, *term_F[FEATURES : FEATURES + 2]
            worth_saying = np.flatnonzero(np.abs(term_F) >= REASON_MIN)
            largest = worth_saying[np.argsort(-np.abs(term_F[worth_saying]), kind="stable")][:REASONS]
            assert lists.value_UKR[0, k, : len(largest)] == pytest.approx(term_F[largest], rel=1e-5, abs=1e-5)
            assert lists.term_UKR[0, k].tolist() == [*largest.tolist(), *[NOBODY] * (REASONS - len(largest))]


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS)
def test_a_reason_names_the_item_of_the_window_that_gave_most(seed):
    engine = engine_of(seed, exclude_seen="false")
    context_W = np.zeros(WINDOW, np.int32)
    for user in range(int(engine.state.users.ids.used[0])):
        context = context_W[: read_window(engine.state.users, user, context_W)].tolist()
        lists = engine.rank(np.array([user]), entries=8)
        turn = int(engine.state.users.pushed_U[user])
        readable = Readable(engine, context, user, turn, exclude_seen=False, exclude_context=False)
        for k in range(int(lists.count_U[0])):
            item = int(lists.item_UK[0, k])
            for term, about in zip(lists.term_UKR[0, k].tolist(), lists.about_UKR[0, k].tolist(), strict=True):
                if term in (NEAR, NEAR_BACK, LAST):
                    assert about == context[0]
                elif term in (WIDE, WIDE_BACK):
                    given_by = gifts(readable, engine.state.forward if term == WIDE else engine.state.reverse, item)
                    assert given_by[about] == pytest.approx(max(given_by.values()), rel=1e-5)
                else:
                    assert about == NOBODY


def gifts(readable, pairs, item):
    """The largest single share that each item of the window gives to ``item``."""
    given_by = defaultdict(float)
    for n, other in enumerate(readable.context[:CONTEXT]):
        for found, _, wide in readable.row(pairs, other):
            if found == item:
                given_by[other] = max(given_by[other], WIDE_DECAY**n * wide)
    return given_by


def test_terms_have_a_name_each():
    assert len(TERMS) == FEATURES == len(set(TERMS))
