"""Whatever the settings: what the summary says of a stream is what a worker counts, however the log is partitioned."""

from __future__ import annotations

import zlib
from collections import Counter

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from synthetic import labelled

from producers.formats import Recorded
from producers.synthetic import Traffic
from producers.synthetic.tally import Tally
from streamer.config.tree import Windows
from streamer.events.codec import decode_events
from streamer.events.model import EVENT_TYPE_NAMES

RECORDS = 1_200
SHARES = st.just(0.0) | st.floats(0, 0.5)
TRAFFIC = st.builds(
    Traffic,
    users=st.integers(1, 300) | st.integers(1, 100_000),
    items=st.integers(1, 300) | st.integers(1, 100_000),
    rate=st.sampled_from([0.01, 1.0, 100.0, 1e5, 1e6]) | st.floats(0.01, 1e5),
    seed=st.integers(0, 2**64 - 1),
    start_ms=st.integers(946_684_800_000, 4_102_444_800_000),
    lateness_ms_max=st.integers(1_000, 10**9),
    **dict.fromkeys(("late", "duplicate", "broken", "disorder", "future", "bots"), SHARES),
    **dict.fromkeys(("drift", "turnover", "repeats", "rhythm"), SHARES | st.just(1.0)),
)


def counted(stream: list[tuple[int, int, Recorded]], partitions: int, lateness_ms_max: int) -> dict[str, object]:
    """What a worker counts: decode, then duplicate, then late, by the watermark of the record's partition.

    A clock more than five minutes ahead of the log's is set to that: the log has the record when it is due.
    """
    seen: set[tuple[str, str]] = set()
    watermarks: Counter[int] = Counter()
    counts: dict[str, Counter[str]] = {"applied": Counter(), "rejected": Counter()}
    late = duplicate = future = 0
    for due_ms, _, record in stream:
        events = decode_events([record.value])
        if events.rejects:
            counts["rejected"][str(events.rejects[0][1].reason)] += 1
            continue
        who, when = (events.user_ids[0], events.event_ids[0]), events.timestamps_ms[0]
        partition = zlib.crc32(record.key or b"") % partitions
        assert record.key == who[0].encode()
        assert record.timestamp_ms == when
        if clamped := when > due_ms + Windows().clock_ahead_ms_max:
            when = due_ms
        if who in seen:
            duplicate += 1
        elif when < watermarks[partition] - lateness_ms_max:
            late += 1
        else:
            seen.add(who)
            future += clamped
            watermarks[partition] = max(watermarks[partition], when)
            counts["applied"][EVENT_TYPE_NAMES[events.types[0]]] += 1
    return {**counts, "late": late, "duplicate": duplicate, "future": future}


@settings(max_examples=20, deadline=None, phases=[Phase.generate])  # shrinking takes minutes and explains little
@given(traffic=TRAFFIC, partitions=st.integers(1, 5))
def test_a_worker_counts_what_was_made(traffic: Traffic, partitions: int) -> None:
    stream = labelled(traffic, RECORDS)
    tally = Tally()
    tally.note_all(label for _, label, _ in stream)
    made = tally.counts()
    found = counted(stream, partitions, traffic.lateness_ms_max)
    assert found == {name: made[name] for name in ("late", "duplicate", "future")} | {
        name: Counter({key: count for key, count in made[name].items() if count}) for name in ("applied", "rejected")
    }
    due = [due_ms for due_ms, _, _ in stream]
    assert due == sorted(due)
    assert due[0] >= traffic.start_ms
