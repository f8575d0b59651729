"""The dedup table beside two Python sets.

ids        a b c | d e f | g h i |        a rotation at each |, where the current generation holds ids_min
now at i:          older   current        a, b, c are forgotten; what is no newer than d's start is late
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ReferenceDedup

from streamer.windows.dedup import (
    FEW,
    NEVER_MS,
    dedup_in,
    dedup_out,
    is_late,
    new_dedup,
    remember_id,
    reserve_dedup,
    rotate_dedup,
    seen_before,
)

LATENESS_MS, IDS_MIN, PARTITIONS = 50, 3, 3
EVENT = st.tuples(
    st.one_of(st.none(), st.integers(1, 12)), st.integers(0, PARTITIONS - 1), st.integers(0, 120), st.booleans(), st.booleans()
)


def outcome_of(dedup, hashed, partition, time_ms):
    """The dedup and what became of the event, in the order of the step."""
    dedup = reserve_dedup(dedup, 1, partition + 1)
    if hashed is not None and seen_before(dedup, np.uint64(hashed)):
        return dedup, "duplicate"
    if is_late(dedup, partition, time_ms, hashed is not None, LATENESS_MS):
        return dedup, "late"
    if hashed is not None:
        remember_id(dedup, np.uint64(hashed))
    dedup.watermark_P[partition] = max(dedup.watermark_P[partition], time_ms)
    return dedup, "applied"


@settings(deadline=None, max_examples=200)
@given(events=st.lists(EVENT, max_size=60))
def test_events_are_applied_dropped_or_late_as_two_sets_and_watermarks_say(events):
    dedup, reference = new_dedup(1, 1), ReferenceDedup(IDS_MIN, LATENESS_MS)
    for hashed, partition, time_ms, rotate, restore in events:
        if rotate:
            rotate_dedup(dedup, IDS_MIN)
            reference.rotate()
        if restore:
            dedup = dedup_in({name: table.copy() for name, table in dedup_out(dedup).items()})
        dedup, outcome = outcome_of(dedup, hashed, partition, time_ms)
        assert outcome == reference.outcome(hashed, partition, time_ms)
    for partition, watermark in enumerate(dedup.watermark_P.tolist()):
        assert watermark == reference.watermark_ms.get(partition, NEVER_MS)


def test_an_event_is_late_against_its_own_partition_alone():
    dedup = reserve_dedup(new_dedup(4, 1), 4, 2)
    dedup, first = outcome_of(dedup, 1, 0, 1_000)
    dedup, behind = outcome_of(dedup, 2, 1, 10)
    dedup, late = outcome_of(dedup, 3, 0, 1_000 - LATENESS_MS - 1)
    dedup, in_time = outcome_of(dedup, 4, 0, 1_000 - LATENESS_MS)
    assert [first, behind, late, in_time] == ["applied", "applied", "late", "applied"]


def test_the_table_of_ids_grows_without_forgetting_any():
    dedup = new_dedup(1, 1)
    for hashed in range(1, 3_000):
        dedup, outcome = outcome_of(dedup, hashed * 0x9E3779B97F4A7C15 % 2**64, 0, 0)
        assert outcome == "applied"
    assert all(seen_before(dedup, np.uint64(hashed * 0x9E3779B97F4A7C15 % 2**64)) for hashed in range(1, 3_000))


def test_more_than_a_few_ids_get_the_room_of_a_whole_generation():
    few = reserve_dedup(new_dedup(8, 1), 1_000, 1, ids_min=1_000_000)
    many = reserve_dedup(few, FEW + 1, 1, ids_min=1_000_000)
    assert few.id_GR.shape[1] == 1_000
    assert many.id_GR.shape[1] >= 1_000_000
    assert reserve_dedup(many, 999_000, 1, ids_min=1_000_000) is many
    assert dedup_in(dedup_out(few), 1_000_000).id_GR.shape[1] < FEW


def test_what_may_have_been_applied_before_ids_were_forgotten_is_late_and_never_applied_again():
    dedup, outcomes = new_dedup(8, 1), []
    for first in (1, 4):
        for hashed in range(first, first + IDS_MIN):
            dedup, outcome = outcome_of(dedup, hashed, 0, 10 * hashed)
            assert outcome == "applied"
        rotate_dedup(dedup, IDS_MIN)
    assert not seen_before(dedup, np.uint64(1))  # forgotten
    for hashed, time_ms in ((1, 10), (3, 30), (4, 40), (7, 30), (8, 31), (None, 30)):
        dedup, outcome = outcome_of(dedup, hashed, 0, time_ms)
        outcomes.append(outcome)
    assert outcomes == ["late", "late", "duplicate", "late", "applied", "applied"]
