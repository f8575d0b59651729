"""A short campaign of faults on real parts; ``make chaos`` runs the long one."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import pytest
from chaos.campaign import Campaign, first_of

logger = logging.getLogger(__name__)

SEED = 20_261_124
FAULTS = ("owner killed", "Redis failed over to an older copy", "owner stalled", "Redis flushed")


@pytest.mark.timeout(900)
def test_after_a_few_faults_no_event_is_lost_or_doubled_and_every_user_has_his_list(tmp_path: Path) -> None:
    with contextlib.closing(Campaign(tmp_path, SEED, partitions=2)) as campaign:
        campaign.run(first_of(SEED, FAULTS), until_s=600)
        figures = campaign.figures
    logger.info("%s", figures)
    assert figures["violations"] == []
    assert (figures["lost"], figures["doubled"], figures["refused sends"]) == (0, 0, 0)
    assert figures["faults"] == dict.fromkeys(FAULTS, 1)
    counters = figures["counters"]
    assert sum(counters["applied"].values()) > 0
    assert min(counters[name] for name in ("duplicate", "late", "rejected")) > 0
    assert figures["looks"]["livez"] > 10
    assert figures["looks"]["lists"] > 10
