"""Each signal alone beside the mixture that the gate learned: the same candidates, ranked by one feature.

    python -m benchmarks.single_signals EVENTS [--items FILE]

Test then learn over the whole recording, as `streamer backtest` does; HR@10 and NDCG@10 over 10 to 100 % of the events. Equal
features count at their middle; a target that is no candidate is a miss for all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from producers.formats import AUTO, RecordingError
from streamer.cli.backtest_input import read_stream
from streamer.config import from_environment
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.evaluate.engines import apply_documents
from streamer.evaluate.metrics import LIST, hit, ndcg
from streamer.evaluate.prequential import Visit, visits
from streamer.evaluate.stream import Stream, engine_batches
from streamer.ranking.lists import NOBODY
from streamer.ranking.scratch import TERMS
from streamer.tables.ids import row_of_text

FIRST = 0.1
MIXTURE = "all, as learned"


def ranks(stream: Stream, config: Config) -> NDArray[np.float64]:
    """The rank of each target after the teaching part: by the mixture, then by each signal alone. [targets, 1 + signals]"""
    engine, applied, found = Engine(config), 0, []
    for visit, batch in zip(visits(stream), engine_batches(stream), strict=True):
        engine.settle(visit.time_ms)
        applied = apply_documents(engine, stream.documents, applied, visit.time_ms)
        if visit.events >= FIRST * stream.events and visit.items:
            found += _ranks(engine, stream, visit)
        engine.apply(batch.columns)
    return np.array(found)


def _ranks(engine: Engine, stream: Stream, visit: Visit) -> list[NDArray[np.float64]]:
    user = row_of_text(engine.state.users.ids, stream.user_ids[visit.user])
    engine.rank(np.array([user if user >= 0 else NOBODY]), entries=LIST, at_ms=visit.time_ms)
    scratch, found = engine.scratch, []
    count = int(scratch.found[0])
    score_SC = np.vstack([scratch.logit_C[:count], scratch.feature_FC[:, :count]])
    for item in visit.items:
        row = row_of_text(engine.state.items.ids, stream.item_ids[item])
        place = np.flatnonzero(scratch.item_C[:count] == row)
        if row < 0 or not len(place):
            found.append(np.full(len(score_SC), np.inf))
            continue
        own_S1 = score_SC[:, place]
        found.append((score_SC > own_S1).sum(1) + 0.5 * ((score_SC == own_S1).sum(1) + 1))
    return found


def _silent(count: int) -> None:
    del count


def main() -> int:
    """Prints the table, the best signal first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=Path)
    parser.add_argument("--items", type=Path)
    given = parser.parse_args()
    config = from_environment(None)
    try:
        read = read_stream(given.events, given.items, AUTO, config, reading=_silent, encoding=_silent)
    except RecordingError as error:
        print(error, file=sys.stderr)
        return 2 if error.unreadable else 1
    rank_TS = ranks(read.stream, config)
    names = (MIXTURE, *TERMS)
    gain_S = ndcg(rank_TS).mean(0)
    print(f"{given.events.name}: {len(rank_TS):,} targets, HR@10 / NDCG@10")
    for n in np.argsort(-gain_S):
        print(f"{names[n]:24s} {hit(rank_TS[:, n]).mean():.4f} / {gain_S[n]:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
