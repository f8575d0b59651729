"""What readers of the real line get, beside what the model of serving in event time says they get."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from kafka_server import KafkaServer
from recorded import random_rows, stream_of

from benchmarks import deskdrop
from benchmarks.served_model import Model, Slice, as_served
from benchmarks.served_slice import Plan, measure
from producers.formats import RecordingError
from streamer.config.tree import Config, Redis
from streamer.evaluate.engines import run_engine
from streamer.events.model import EventType

PERIODS_MS = (600_000, None)
DAY = Plan(first_day=42.0, days=1.0, speed=2_880.0, periods_ms=PERIODS_MS)
"""Half a minute; a working day in an early week, so that little history comes before it."""
HITS_APART_MAX = 0.03
"""Of the events, as HR@10: one day has a few hundred. `make served` plays 14 days."""
LIVES_ON = Config(redis=Redis(ttl_s=10**8))


def test_a_day_through_kafka_and_redis_is_served_as_the_model_says(
    kafka_server: KafkaServer, valkey_url: str, tmp_path: Path
) -> None:
    try:
        records = deskdrop.deskdrop()
    except RecordingError as error:
        pytest.skip(str(error))
    stop_ms = (records[0].timestamp_ms or 0) + round((DAY.first_day + DAY.days) * 86_400_000)
    records = [record for record in records if (record.timestamp_ms or 0) < stop_ms]
    swept, off = measure(kafka_server.bootstrap, valkey_url, tmp_path, records, DAY)
    for found in (swept, off):
        assert found.events > 100
        assert abs(found.line[0] - found.model[0]) < HITS_APART_MAX, found
        assert found.same > 0.85, found
    assert swept.line[0] > off.line[0]


@pytest.mark.parametrize("seed", range(3))
def test_without_delay_the_model_of_the_line_is_that_of_the_backtest(seed: int) -> None:
    stream = stream_of([row for row in random_rows(seed, 500) if row[3] != EventType.IMPRESSION])
    run = run_engine("streamer", stream, LIVES_ON, lambda _: None, served_ms=PERIODS_MS)
    models = as_served(stream, LIVES_ON, Slice(0, stream.groups, 0), [Model(period_ms) for period_ms in PERIODS_MS])
    for rank_M, mine_M in zip(run.served.values(), models, strict=True):
        np.testing.assert_array_equal(mine_M, rank_M)


def test_a_delay_longer_than_the_stream_leaves_readers_what_nobody_had_done_yet() -> None:
    stream = stream_of(random_rows(7, 200))
    [rank_M] = as_served(stream, LIVES_ON, Slice(0, stream.groups, 0), [Model(None, delay_ms=10**12, popular_delay_ms=10**12)])
    assert np.isinf(rank_M).all()


def test_events_of_the_recording_are_what_the_line_takes() -> None:
    try:
        records = deskdrop.deskdrop()
    except RecordingError as error:
        pytest.skip(str(error))
    times_ms = [record.timestamp_ms or 0 for record in records]
    assert times_ms == sorted(times_ms)
    last: dict[str, str] = {}
    for record in records:
        event = msgspec.json.decode(record.value)
        assert record.key == event["user_id"].encode()
        assert event["type"] == "click"
        assert last.get(event["user_id"]) != event["item_id"]
        last[event["user_id"]] = event["item_id"]
