"""Owners that die, fail, sleep and lose their partitions wherever a seed says, over one log: in the end all is as if nothing had happened.

One number makes the stream, the cuts of its polls, whose turn it is and what goes wrong in each life. A run that fails names its number:

    STREAMER_SIMULATION_SEED=1234 python -m pytest tests/simulation
"""

import logging
import os

import pytest
from runs import random_seed, simulate, simulate_for

logger = logging.getLogger(__name__)

SEED = os.environ.get("STREAMER_SIMULATION_SEED")
QUICK_S, LONG_S = 30.0, 600.0
SEEN = {
    *("deaths", "zombies", "refusals", "damaged files", "records audited"),
    *("crash", "outage", "store away", "slow files", "expelled", "stopped", "wiped", "fallen back"),
}
"""What must have happened in runs of half a minute."""


@pytest.mark.parametrize(
    "budget_s", [QUICK_S, pytest.param(LONG_S, marks=[pytest.mark.chaos, pytest.mark.timeout(2 * LONG_S)])]
)
def test_whatever_dies_or_fails_the_state_is_that_of_the_log_and_every_user_has_a_list(budget_s):
    if SEED:
        simulate(int(SEED))
        return
    runs, happened = simulate_for(budget_s, random_seed())
    logger.info("%d runs: %s", runs, dict(happened))
    assert {kind for kind in SEEN if not happened[kind]} == set()


def test_a_run_can_be_had_again_from_its_seed():
    first, second = (simulate(7) for _ in range(2))
    assert first.happened == second.happened
    assert first.snapshots.archive == second.snapshots.archive
    assert first.store.payloads == second.store.payloads
