"""The learned mixture beside each signal alone, in worlds where one of them is all that there is to know.

Whoever gives all weight to the right signal from the start is hard to beat: the gate has to find out which one it is, and may then
lose next to nothing to noise in the weights of the others.
"""

import numpy as np
import pytest
from recorded import stream_of

from streamer.config.tree import Config, Head, Ranking
from streamer.engine.engine import Engine
from streamer.engine.state import FIXED, JUDGED, LIVE, NDCG
from streamer.evaluate.stream import engine_batches
from streamer.events.model import EventType
from streamer.ranking.scratch import TERMS

EVENTS, USERS, ITEMS = 6_000, 100, 400
LEARNS = 0.3
"""The part of the stream in which the gate finds out."""
LOSES_AT_MOST = 0.01
SEEDS = (1, 2)


def repeats(rng):
    """Each user has four items of his own."""
    own = rng.integers(0, ITEMS, (USERS, 4))
    return [(user, own[user, rng.integers(0, 4)]) for user in rng.integers(0, USERS, EVENTS)]


def transitions(rng):
    """Each item has a successor, which is mostly what follows."""
    last, found = rng.integers(0, 80, USERS), []
    for user in rng.integers(0, USERS, EVENTS):
        last[user] = (last[user] + 1) % 80 if rng.random() < 0.8 else rng.integers(0, 80)
        found.append((user, last[user]))
    return found


def trends(rng):
    """Half of all choices fall on one item, which is another one every 80."""
    hot = rng.integers(0, ITEMS, EVENTS // 80 + 1)
    return [
        (user, hot[n // 80] if rng.random() < 0.5 else rng.integers(0, ITEMS))
        for n, user in enumerate(rng.integers(0, USERS, EVENTS))
    ]


def popularity(rng):
    """Everybody draws from the same distribution."""
    share_I = 1.0 / np.arange(1, ITEMS + 1)
    return list(zip(rng.integers(0, USERS, EVENTS), rng.choice(ITEMS, EVENTS, p=share_I / share_I.sum()), strict=True))


def ndcg(stream, signal):
    """After the learning part: of the mixture, and of the signal alone."""
    config = Config(ranking=Ranking(exclude_seen="false"), head=Head(judged_every=1))
    engine = Engine(config)
    engine.state.gate.fixed_F[:] = np.arange(len(TERMS)) == TERMS.index(signal)
    before = None
    for batch in engine_batches(stream):
        if batch.group == int(LEARNS * EVENTS):
            before = engine.state.quality_MQ.copy()
        engine.apply(batch.columns)
    sum_MQ = engine.state.quality_MQ - before
    return (sum_MQ[[LIVE, FIXED], NDCG] / sum_MQ[[LIVE, FIXED], JUDGED]).tolist()


@pytest.mark.parametrize(
    ("world", "signals"),
    [
        (repeats, ("repeat", "repeat_recent", "co_visit_back")),
        (transitions, ("transition", "neighbours", "co_visit")),
        (trends, ("trend_3", "trend_10", "trend_30")),
        (popularity, ("popularity", "trend_10000", "trend_1000")),
    ],
)
def test_the_mixture_is_as_good_as_its_best_ingredient(world, signals):
    found_SX2 = np.zeros((len(SEEDS), len(signals), 2))
    for n, seed in enumerate(SEEDS):
        choices = world(np.random.default_rng(seed))
        stream = stream_of([(10 * n, f"u{user}", [f"i{item}"], EventType.CLICK) for n, (user, item) in enumerate(choices)])
        found_SX2[n] = [ndcg(stream, signal) for signal in signals]
    mixture, best = found_SX2[..., 0].mean(), found_SX2[..., 1].mean(0).max()
    assert best > 0.25
    assert mixture >= (1.0 - LOSES_AT_MOST) * best
