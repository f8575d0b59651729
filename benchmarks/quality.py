"""Quality of fresh lists on a recorded stream, by the engine alone: each event is judged just before it is learned.

The stream is sorted by time, events of one user and one timestamp are judged together; the first tenth only teaches.
"""

from __future__ import annotations

from producers.formats import RecordingError, in_time_order, read_events
from producers.recordings import movielens_100k
from streamer.config.tree import Config, Ranking
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.codec import decode_events

TEACHING_SHARE = 0.1
BATCH = 500
METHODS = ("live", "fixed", "popularity")

Quality = dict[str, dict[str, dict[str, float]]]
"""By stream and setting, then by method."""


def quality(events_max: int | None = None) -> Quality:
    """HR@10, NDCG@10 and MRR by setting of ``ranking.exclude_seen`` and method; empty where the recording is missing."""
    try:
        recording = movielens_100k()
    except RecordingError:
        return {}
    records = in_time_order(read_events(recording.events))[:events_max]
    values = [record.value for record in records]
    times = [record.timestamp_ms or 0 for record in records]
    return {
        f"ml-100k, exclude_seen={setting}": judged(Config(ranking=Ranking(exclude_seen=setting)), values, times)
        for setting in ("auto", "true")
    }


def judged(config: Config, values: list[bytes], times: list[int]) -> dict[str, dict[str, float]]:
    """Folds the stream and compares the prequential sums at its end with those where teaching ended."""
    engine = Engine(config)
    taught_at = int(TEACHING_SHARE * len(values))
    _fold(engine, values[:taught_at], times[:taught_at])
    before = engine.quality()
    _fold(engine, values[taught_at:], times[taught_at:])
    after = engine.quality()
    return {method: _means(before[method], after[method]) for method in METHODS}


def _fold(engine: Engine, values: list[bytes], times: list[int]) -> None:
    for first in range(0, len(values), BATCH):
        engine.apply(columns_of(decode_events(values[first : first + BATCH]), times[first : first + BATCH], 0))


def _means(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    count = after["judged"] - before["judged"]
    names = {"hits": "hr@10", "ndcg": "ndcg@10", "mrr": "mrr"}
    return {"judged": count} | {name: round((after[key] - before[key]) / count, 4) for key, name in names.items()}
