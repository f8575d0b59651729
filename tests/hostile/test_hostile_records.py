"""Nothing that a producer can write stops the codecs, the readers of recordings or the fold."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterator
from itertools import islice

import pytest
from hostile.judge import Judge
from hostile.records import NOW_MS, Hostility
from line import movielens_events

from streamer.config.tree import Config, Windows

logger = logging.getLogger(__name__)

POLL = 500
QUICK, WHOLE = 20_000, 1_000_000
GROWN_MIB_MAX = 1_500
SEED = 20_261_124


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Vectors of another width are told of one by one."""
    logging.getLogger("consumers.work").setLevel(logging.ERROR)
    yield
    logging.getLogger("consumers.work").setLevel(logging.NOTSET)


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize(
    "count", [QUICK, pytest.param(WHOLE, marks=[pytest.mark.chaos, pytest.mark.timeout(3_600)])], ids=["quick", "whole"]
)
def test_every_record_is_accepted_or_rejected_with_a_reason_and_what_is_accepted_folds(count: int) -> None:
    records = Hostility(SEED + count, movielens_events()[:2_000]).records(count)
    judge = Judge(Config(windows=Windows(dedup_ids_min=50_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started_s, polls = time.monotonic(), 0
    while poll := list(islice(records, POLL)):
        judge.take(poll, NOW_MS + 1_000 * polls)
        polls += 1
    took_s = time.monotonic() - started_s
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1_024
    logger.info(
        "%d records in %.1f s, slowest %.1f ms, %.0f MiB grown: %s; %s",
        *(judge.sent, took_s, 1_000 * judge.slowest_s, grown_mib, dict(sorted(judge.outcomes.items())), judge.counters),
    )
    assert sum(judge.outcomes.values()) == judge.sent == count
    assert judge.outcomes["accepted"] > count / 20
    assert {name.split(": ")[1] for name in judge.outcomes if name.startswith("events")} == {
        *("invalid_json", "missing_field", "wrong_type", "unknown_type", "bad_timestamp", "bad_id", "too_large")
    }
    assert grown_mib < GROWN_MIB_MAX
    counters = judge.counters
    assert counters["rejected"] == sum(n for name, n in judge.outcomes.items() if name.startswith("events: "))
