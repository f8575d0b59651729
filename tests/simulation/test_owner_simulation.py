"""Owners that die, fail, sleep and lose their partitions wherever a seed says, over one log: in the end all is as if nothing had happened.

One number makes the stream, the cuts of its polls, whose turn it is and what goes wrong in each life. A run that fails names its number:

    STREAMER_SIMULATION_SEED=1234 python -m pytest tests/simulation
"""

import logging
import os
import random
import time
from collections import Counter

import pytest
from world import FragileEngine, World

logger = logging.getLogger(__name__)

SEED = os.environ.get("STREAMER_SIMULATION_SEED")
QUICK_S, LONG_S = 30.0, 600.0


@pytest.fixture(autouse=True)
def _engines_that_fail_at_poison(monkeypatch):
    for module in ("consumers.fold", "consumers.restoring"):
        monkeypatch.setattr(f"{module}.Engine", FragileEngine)


@pytest.fixture(autouse=True)
def _names_of_snapshots_that_can_be_had_again(monkeypatch):
    rng = random.Random(0)
    monkeypatch.setattr("consumers.snapshotter.secrets.token_hex", lambda _: f"{rng.randrange(1 << 32):08x}")


def simulate(seed):
    world = World(seed)
    try:
        world.run()
        world.check()
    except BaseException as error:
        error.add_note(f"simulation {seed}: run it again with STREAMER_SIMULATION_SEED={seed}")
        raise
    return world.happened


@pytest.mark.parametrize(
    "budget_s", [QUICK_S, pytest.param(LONG_S, marks=[pytest.mark.chaos, pytest.mark.timeout(2 * LONG_S)])]
)
def test_whatever_dies_or_fails_the_state_is_that_of_the_log_and_every_user_has_a_list(budget_s):
    seeds = [int(SEED)] if SEED else range(random.SystemRandom().randrange(10**9), 10**12)
    started_s, runs, happened = time.monotonic(), 0, Counter()
    logging.disable(logging.CRITICAL if not SEED else logging.NOTSET)
    try:
        for seed in seeds:
            happened += simulate(seed)
            runs += 1
            if time.monotonic() - started_s > budget_s:
                break
    finally:
        logging.disable(logging.NOTSET)
    logger.info("%d runs in %.0f s: %s", runs, time.monotonic() - started_s, dict(happened))
    assert SEED or min(happened[kind] for kind in ("deaths", "zombies", "refusals")) > 0
