"""What measuring costs, as a share of the fold: `python -m benchmarks.metrics_cost`. CPU time of this process, medians of five."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from consumers.health import MetricsPage
from consumers.loops import Threads
from consumers.measurements import Measurements
from consumers.metrics import WorkerCollector
from consumers.runtime import WallClock
from consumers.tenure import Birth, Tenure
from consumers.work import Work, decode
from producers.formats import Recorded, in_time_order, read_events
from producers.recordings import movielens_100k
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.events.model import EVENTS
from streamer.ports import OwnerStatus, RecordBatch, TopicPartition
from streamer.snapshots import Start, StartKind

EVENTS_FOLDED, POLL = 20_000, 500
SCRAPE_EVERY_S, LOOK_EVERY_S = 15.0, 1.0
ROUNDS = 5


class Takes:
    """A store that takes all and keeps nothing."""

    def write_lists(self, user_ids: Sequence[bytes], payloads: Sequence[bytes], unseen_s: Sequence[int] = ()) -> list[bool]:
        del payloads, unseen_s
        return [True] * len(user_ids)

    def write_shared(self, name: str, payload: bytes) -> bool:
        del name, payload
        return True

    def read_shared(self, name: str) -> bytes | None:
        del name
        return None


def works(records: Sequence[Recorded]) -> Iterator[Work]:
    """Polls of the recording."""
    for first in range(0, len(records), POLL):
        part = records[first : first + POLL]
        at = list(range(first, first + len(part)))
        keys, values = [one.key for one in part], [one.value for one in part]
        yield from decode([RecordBatch(EVENTS, 0, at[-1] + 1, at, [one.timestamp_ms or 0 for one in part], keys, values)], {})


def cost_s(call: Callable[[], object], times: int) -> float:
    """CPU seconds a call."""

    def once() -> float:
        started_s = time.process_time()
        for _ in range(times):
            call()
        return (time.process_time() - started_s) / times

    call()
    return median(once() for _ in range(ROUNDS))


def main() -> None:
    config, measured, place = Config(), Measurements(), TopicPartition(EVENTS, 0)
    records = in_time_order(read_events(movielens_100k().events))[:EVENTS_FOLDED]
    engine, pieces = Engine(config), list(works(records))
    started_s = time.process_time()
    for piece in pieces:
        piece.apply(engine)
    fold_s = (time.process_time() - started_s) / len(records)
    birth = Birth(1, engine, Start(kind=StartKind.FIRST, snapshot=None, positions={place: 0}), 1, None)
    tenure = Tenure(birth, config, Takes(), WallClock(), measured, Threads())  # type: ignore[arg-type]
    time.sleep(2.0)  # all lists are written
    tenure._gather()  # noqa: SLF001 - what a tenure does between two pieces of work is timed part by part
    tenure.drop()
    counters = engine.counters()
    status = OwnerStatus("owner", "bench", 1, 1, counters, {}, None, {"events": {str(n): 0 for n in range(4)}})
    page = MetricsPage(WorkerCollector(lambda: (measured, status)))
    nothing = Work(runs=[(place, POLL, 1)])

    def piece_of_nothing() -> None:
        tenure._queue.append(nothing)  # noqa: SLF001
        tenure._apply_next()  # noqa: SLF001

    def look() -> None:
        engine.state.counter_C[:5] += POLL  # as if events had come: a sample of every stream is taken
        tenure._measure()  # noqa: SLF001

    piece_s, look_s, scrape_s = cost_s(piece_of_nothing, 2_000), cost_s(look, 500), cost_s(lambda: page(""), 20)
    events_a_second = 0.5 / fold_s  # the fold half busy
    shares = {
        f"bookkeeping of a piece of {POLL} events": (piece_s, piece_s * events_a_second / POLL),
        f"counters, quality and drift, every {LOOK_EVERY_S:g} s": (look_s, look_s / LOOK_EVERY_S),
        f"the page of {page('')[1].count(b'streamer_')} lines, every {SCRAPE_EVERY_S:g} s": (
            scrape_s,
            scrape_s / SCRAPE_EVERY_S,
        ),
    }
    print(f"fold: {fold_s * 1e6:.1f} us an event; at {events_a_second:,.0f} events/s it takes half a core, and beside that:")
    for what, (each_s, share) in shares.items():
        print(f"  {what}: {each_s * 1e6:,.0f} us each, {share:.4%} of a core, {share / 0.5:.4%} of the fold")
    print(f"  together {sum(share for _, share in shares.values()) / 0.5:.3%} of the fold")


if __name__ == "__main__":
    main()
