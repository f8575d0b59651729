"""What every baseline keeps to, and what each is: simple references beside the fast code."""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from streamer.evaluate.baselines import NAMES, new_method
from streamer.evaluate.baselines.biasedmf import RiverBiasedMF, RiverConfig
from streamer.evaluate.baselines.covisit import Covisit, CovisitConfig
from streamer.evaluate.baselines.decayed import Decayed, DecayedConfig
from streamer.evaluate.baselines.ials import Ials, IalsConfig
from streamer.evaluate.baselines.isgd import Isgd, IsgdConfig
from streamer.evaluate.baselines.newest import NewestOut
from streamer.evaluate.baselines.popularity import Popularity
from streamer.evaluate.baselines.ranked import ranked
from streamer.evaluate.baselines.repeat import Repeat, RepeatConfig
from streamer.evaluate.baselines.stan import Stan, StanConfig
from streamer.evaluate.baselines.transition import Transition, TransitionConfig
from streamer.evaluate.baselines.vsknn import VSknn, VSknnConfig
from streamer.evaluate.method import DEPTH, Method, Ranked

Group = tuple[int, list[int], int]
"""User, items, time in ms."""

MAKERS: dict[str, Callable[[int], Method]] = {name: lambda seed, name=name: new_method(name, seed) for name in NAMES} | {
    "ials, refitted often": lambda seed: Ials(IalsConfig(factors=4, refit_events=60), seed),
    "isgd, steep": lambda seed: Isgd(IsgdConfig(factors=8, learning_rate=1.0, negatives=3), seed),
}


def random_groups(seed: int, count: int, *, users: int = 12, items: int = 70) -> list[Group]:
    """Groups of one to three events; users and items are numbered by their first appearance."""
    rng = random.Random(seed)
    user_numbers: dict[int, int] = {}
    item_numbers: dict[int, int] = {}
    time_ms, groups = 1_700_000_000_000, []
    for _ in range(count):
        time_ms += rng.choice((0, 1_000, 3_600_000))
        user = user_numbers.setdefault(int(users * rng.random() ** 2), len(user_numbers))
        drawn = [int(items * rng.random() ** 2) for _ in range(rng.choice((1, 1, 2, 3)))]
        groups.append((user, [item_numbers.setdefault(item, len(item_numbers)) for item in drawn], time_ms))
    return groups


def teach(method: Method, groups: Sequence[Group]) -> Method:
    for user, items, time_ms in groups:
        method.learn(user, items, time_ms)
    return method


def same(one: Ranked, other: Ranked) -> bool:
    return bool(np.array_equal(one.item_K, other.item_K) and np.array_equal(one.score_K, other.score_K))


GROUPS = random_groups(3, 250)
LAST_MS = GROUPS[-1][2]
ITEMS = 1 + max(item for _, items, _ in GROUPS for item in items)
USERS = 1 + max(user for user, _, _ in GROUPS)
UNKNOWN = 10_000


@pytest.mark.parametrize("name", MAKERS)
def test_a_list_is_short_enough_without_duplicates_or_excluded_items_and_its_scores_fall(name: str) -> None:
    method = teach(MAKERS[name](7), GROUPS)
    assert ITEMS > DEPTH
    for user in (*range(USERS), UNKNOWN):
        excluded = {0, 3, user % ITEMS, ITEMS - 1, ITEMS, UNKNOWN}
        item_K, score_K = method.rank(user, LAST_MS, excluded)
        assert 0 < len(item_K) == len(score_K) <= DEPTH
        assert item_K.dtype == np.int64
        assert score_K.dtype == np.float64
        assert len(set(item_K.tolist())) == len(item_K)
        assert not excluded & set(item_K.tolist())
        assert set(item_K.tolist()) <= set(range(ITEMS))
        assert np.isfinite(score_K).all()
        assert (np.diff(score_K) <= 0.0).all()


@pytest.mark.parametrize("name", MAKERS)
def test_reading_changes_nothing(name: str) -> None:
    read, unread = MAKERS[name](7), MAKERS[name](7)
    for user, items, time_ms in GROUPS:
        for asked in (user, (user + 1) % USERS, UNKNOWN):
            assert same(read.rank(asked, time_ms, {1}), read.rank(asked, time_ms, {1}))
        read.learn(user, items, time_ms)
        unread.learn(user, items, time_ms)
    for user in (*range(USERS), UNKNOWN):
        assert same(read.rank(user, LAST_MS, set()), unread.rank(user, LAST_MS, set()))


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_lists(name: str) -> None:
    one, other = teach(MAKERS[name](11), GROUPS), teach(MAKERS[name](11), GROUPS)
    for user in range(USERS):
        assert same(one.rank(user, LAST_MS, set()), other.rank(user, LAST_MS, set()))


@pytest.mark.parametrize("name", MAKERS)
def test_a_method_that_knows_nothing_answers_with_an_empty_list(name: str) -> None:
    method = MAKERS[name](7)
    assert len(method.rank(0, 0, set()).item_K) == 0
    method.learn(0, [], 0)
    assert len(method.rank(0, 0, {0, 5}).item_K) == 0


@pytest.mark.parametrize("name", MAKERS)
def test_an_excluded_set_is_left_as_it_is(name: str) -> None:
    excluded = {2, 4}
    teach(MAKERS[name](7), GROUPS).rank(0, LAST_MS, excluded)
    assert excluded == {2, 4}


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"'vskn'.*popularity.*biasedmf"):
        new_method("vskn", 1)


@given(st.lists(st.integers(0, 5), max_size=120), st.sets(st.integers(0, 130)))
def test_the_best_come_first_and_ties_in_the_order_of_items(scores: list[int], excluded: set[int]) -> None:
    score_N = np.array(scores, np.float64)
    expected = sorted((item for item in range(len(scores)) if item not in excluded), key=lambda item: (-scores[item], item))
    found = ranked(score_N, excluded)
    assert found.item_K.tolist() == expected[:DEPTH]
    assert found.score_K.tolist() == [scores[item] for item in expected[:DEPTH]]
    assert score_N.tolist() == scores


def sequences(groups: Sequence[Group]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for user, items, _ in groups:
        found[user] += items
    return found


def counts(groups: Sequence[Group]) -> dict[int, int]:
    found: dict[int, int] = defaultdict(int)
    for _, items, _ in groups:
        for item in items:
            found[item] += 1
    return found


def assert_ranks_by(method: Method, user: int, score: dict[int, float], groups: Sequence[Group]) -> None:
    """The list is of all items, by these scores, and below them by popularity."""
    count = counts(groups)
    full = {item: score.get(item, 0.0) if score.get(item, 0.0) > 0.0 else -1.0 / (1.0 + count[item]) for item in count}
    item_K, score_K = method.rank(user, groups[-1][2], set())
    assert len(item_K) == min(DEPTH, len(full))
    assert score_K == pytest.approx(sorted(full.values(), reverse=True)[:DEPTH])
    assert score_K == pytest.approx([full[item] for item in item_K.tolist()])


def small_groups(seed: int) -> list[Group]:
    return random_groups(seed, 40, users=6, items=15)


SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=40, deadline=None)


@FEW
@given(SEEDS)
def test_popularity_counts_events(seed: int) -> None:
    groups = small_groups(seed)
    item_K, score_K = teach(Popularity(), groups).rank(0, 0, set())
    assert dict(zip(item_K.tolist(), score_K.tolist(), strict=True)) == counts(groups)


@FEW
@given(SEEDS)
def test_decayed_popularity_halves_an_event_with_each_half_life(seed: int) -> None:
    groups = small_groups(seed)
    events = [item for _, items, _ in groups for item in items]
    expected: dict[int, float] = defaultdict(float)
    for age, item in enumerate(reversed(events)):
        expected[item] += 2.0 ** (-age / 5.0)
    item_K, score_K = teach(Decayed(DecayedConfig(half_life_events=5.0)), groups).rank(0, 0, set())
    assert dict(zip(item_K.tolist(), score_K.tolist(), strict=True)) == pytest.approx(expected)


def test_decayed_popularity_survives_a_long_stream() -> None:
    method = Decayed(DecayedConfig(half_life_events=1.0))
    for event in range(3_000):
        method.learn(0, [event % 3], event)
    assert method.rank(0, 0, set()).score_K.tolist() == pytest.approx([8 / 7, 4 / 7, 2 / 7])


@FEW
@given(SEEDS, st.sampled_from((1, 3, 10)))
def test_transition_counts_what_followed_the_last_item(seed: int, reach: int) -> None:
    groups = small_groups(seed)
    own = sequences(groups)
    method = teach(Transition(TransitionConfig(reach_items=reach)), groups)
    for user in own:
        expected: dict[int, float] = defaultdict(float)
        for items in own.values():
            for place, item in enumerate(items):
                for steps in range(1, min(reach, place) + 1):
                    if items[place - steps] == own[user][-1]:
                        expected[item] += 1.0 / steps
        assert_ranks_by(method, user, expected, groups)


def covisit_of(groups: Sequence[Group], user: int, window: int, decay: float) -> dict[int, float]:
    own = sequences(groups)
    score: dict[int, float] = defaultdict(float)
    for steps_back, asked in enumerate(reversed(own.get(user, [])[-window:])):
        for items in own.values():
            for late in range(len(items)):
                for early in range(max(0, late - window), late):
                    pair = items[early], items[late]
                    if asked in pair and pair[0] != pair[1]:
                        other = pair[1] if asked == pair[0] else pair[0]
                        score[other] += decay**steps_back * decay ** (late - early - 1)
    return score


@FEW
@given(SEEDS, st.sampled_from(((10, 0.6), (2, 0.9))))
def test_covisit_sums_the_neighbours_of_the_window_in_both_directions(seed: int, setting: tuple[int, float]) -> None:
    groups = small_groups(seed)
    method = teach(Covisit(CovisitConfig(*setting)), groups)
    for user in (*sequences(groups), UNKNOWN):
        assert_ranks_by(method, user, covisit_of(groups, user, *setting), groups)


@FEW
@given(SEEDS)
def test_repeat_shares_the_score_between_own_items_and_covisit(seed: int) -> None:
    groups = small_groups(seed)
    config = RepeatConfig(decay=0.7, share=0.4)
    method = teach(Repeat(config), groups)
    for user, items in sequences(groups).items():
        near = covisit_of(groups, user, config.covisit.window_items, config.covisit.decay)
        own: dict[int, float] = defaultdict(float)
        for age, item in enumerate(reversed(items)):
            own[item] += 0.7**age
        total = sum(near.values())
        score = {item: 0.4 * own[item] / sum(own.values()) for item in items}
        for item, value in near.items():
            score[item] = score.get(item, 0.0) + 0.6 * value / total
        assert_ranks_by(method, user, score, groups)


Neighbour = tuple[float, int]
"""Similarity and user."""


def nearest(similar: list[Neighbour], k: int) -> list[Neighbour]:
    """The k most similar; where it hangs on less than a rounding error who that is, the example is passed over."""
    similar = sorted((one for one in similar if one[0] > 0.0), reverse=True)
    assume(len(similar) <= k or similar[k - 1][0] > similar[k][0] + 1e-9)
    return similar[:k]


@FEW
@given(SEEDS, st.sampled_from((2, 100)))
def test_vsknn_scores_as_its_formula_says(seed: int, k: int) -> None:
    groups = small_groups(seed)
    own, count = sequences(groups), counts(groups)
    method = teach(VSknn(VSknnConfig(k=k, idf_weight=2.0)), groups)
    for user, items in own.items():
        asked = items[-20:]
        weight = {item: ((place + 1) / len(asked)) ** 2 for place, item in enumerate(asked)}
        step = {item: len(asked) - place for place, item in enumerate(asked)}
        similar = [
            (sum(weight[item] for item in set(theirs) & set(asked)) / len(weight), other)
            for other, theirs in own.items()
            if other != user
        ]
        score: dict[int, float] = defaultdict(float)
        for similarity, other in nearest(similar, k):
            best = min(step[item] for item in set(own[other]) & set(asked))
            for item in set(own[other]):
                score[item] += similarity * (1.0 + 2.0 * max(math.log(len(own) / count[item]), 0.0)) / best
        assert_ranks_by(method, user, score, groups)


@FEW
@given(SEEDS, st.sampled_from((2, 100)))
def test_stan_scores_as_its_formula_says(seed: int, k: int) -> None:
    groups = small_groups(seed)
    own = sequences(groups)
    last_ms = {user: time_ms for user, _, time_ms in groups}
    method = teach(Stan(StanConfig(k=k, lambda_spw=2.0, lambda_snh_days=0.5, lambda_inh=3.0)), groups)
    for user, items in own.items():
        asked = items[-50:]
        weight = {item: math.exp((place + 1 - len(asked)) / 2.0) for place, item in enumerate(asked)}
        newest = {item: place for place, item in enumerate(asked)}
        norm = math.sqrt(sum(value**2 for value in weight.values()))
        similar = []
        for other, theirs in own.items():
            if other != user:
                shared = sum(weight[item] for item in set(theirs) & set(asked))
                age_days = (groups[-1][2] - last_ms[other]) / 86_400_000
                similar.append((shared / norm / math.sqrt(len(set(theirs))) * math.exp(-age_days / 0.5), other))
        score: dict[int, float] = defaultdict(float)
        for similarity, other in nearest(similar, k):
            place = {item: at for at, item in enumerate(own[other])}
            match = place[max(set(own[other]) & set(asked), key=lambda item: newest[item])]
            for item, at in place.items():
                score[item] += similarity * math.exp(-abs(at - match) / 3.0)
        assert_ranks_by(method, user, score, groups)


def test_neighbours_are_the_newest_sessions_and_remember_their_last_items_only() -> None:
    method = VSknn(VSknnConfig(sample=2, memory_items=2))
    for user, items in ((0, [0, 1]), (1, [0, 2]), (2, [0, 3]), (3, [4, 0, 5])):
        method.learn(user, items, user)
    score_N = method.scores(np.array([0]))
    assert np.flatnonzero(score_N).tolist() == [0, 3, 5]


def clusters(count: int) -> list[Group]:
    """Users of even number have items of even number, the others the rest."""
    rng = random.Random(5)
    users = [rng.randrange(40) for _ in range(count)]
    return [(user, [2 * rng.randrange(20) + user % 2], time_ms) for time_ms, user in enumerate(users)]


@pytest.mark.parametrize(
    "method",
    [
        Isgd(IsgdConfig(factors=10), 3),
        Ials(IalsConfig(factors=4, refit_events=400), 3),
        RiverBiasedMF(RiverConfig(), 3),
        Covisit(CovisitConfig()),
        VSknn(VSknnConfig()),
        Stan(StanConfig()),
    ],
    ids=lambda method: type(method).__name__,
)
def test_what_is_learned_from_two_kinds_of_users_tells_them_apart(method: Method) -> None:
    teach(method, clusters(2_000))
    hits = [int(item) % 2 == user % 2 for user in range(40) for item in method.rank(user, 2_000, set()).item_K[:10]]
    assert np.mean(hits) > 0.9


def test_a_user_is_folded_in_as_implicit_does_it() -> None:
    groups = random_groups(9, 200)
    config = IalsConfig(factors=4, refit_events=1, refit_share=0.0, regularization=0.5, alpha=3.0)
    method = teach(Ials(config, 5), groups)
    own = {user: {item: items.count(item) for item in items} for user, items in sequences(groups).items()}
    triples = [(1.0 + 3.0 * n, user, item) for user, items in own.items() for item, n in items.items()]
    value_E, user_E, item_E = zip(*triples, strict=True)
    matrix = csr_matrix((np.array(value_E, np.float32), (user_E, item_E)))
    model = AlternatingLeastSquares(factors=4, regularization=0.5, iterations=config.iterations, num_threads=1, random_state=5)
    model.fit(matrix, show_progress=False)
    for user in own:
        score_N = model.item_factors @ model.recalculate_user(user, matrix[user])
        expected = np.sort(score_N - min(score_N.min(), 0.0))[::-1][:DEPTH]
        # the pair of fits differs by the order in which it was given the entries, in float32
        assert method.rank(user, 0, set()).score_K == pytest.approx(expected, abs=2e-3)


def test_river_is_asked_for_nothing_that_it_would_store() -> None:
    method = RiverBiasedMF(RiverConfig(), 3)
    teach(method, GROUPS[:50])
    before = len(method._model.u_latents), len(method._model.i_latents)
    method.rank(UNKNOWN, 0, set())
    assert (len(method._model.u_latents), len(method._model.i_latents)) == before


def test_the_scores_of_river_are_its_predictions() -> None:
    method = RiverBiasedMF(RiverConfig(), 3)
    teach(method, GROUPS)
    item_K, score_K = method.rank(0, 0, set())
    mean = method._model.global_mean.get() + method._model.u_biases[0]
    assert score_K + mean == pytest.approx([method._model.predict_one(0, item) for item in item_K.tolist()])


@pytest.mark.parametrize(("repeats", "listed"), [(0, False), (1, True)])
def test_the_newest_item_is_left_out_only_where_nobody_has_an_item_twice_in_a_row(repeats: int, *, listed: bool) -> None:
    method = NewestOut(Popularity())
    for event in range(200):
        items = [event % 10] * (1 + repeats)
        method.learn(0, items, event)
    assert (9 in method.rank(0, 200, set()).item_K) is listed
    assert 9 in method.rank(UNKNOWN, 200, set()).item_K
