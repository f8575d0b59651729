"""Compiles every kernel and leaves it in the cache: ``python -m streamer.engine.warm``, once after an installation."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Lock

import numpy as np
from numba.core.caching import IndexDataCacheFile

from streamer.config.tree import Config
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.model import DecodedEvents, EventType
from streamer.ranking.lists import NOBODY
from streamer.tables.compile import cache_folder

logger = logging.getLogger(__name__)


def warm() -> None:
    """Runs a tiny stream through every kernel."""
    engine = _folded()
    engine.render(engine.rank(engine.published.take(100), entries=5), version="0", written_ms=0)
    engine.published.stale(1, 0, 1)
    _fold(Engine(Config(), {name: table.copy() for name, table in engine.fold_tables().items()}))


def _folded() -> Engine:
    engine = Engine(Config())
    engine.apply_vectors("i0", np.ones(4, np.float16), np.ones(400, np.float16))
    _fold(engine)
    return engine


def _ranked() -> None:
    Engine(Config()).rank(np.array([NOBODY], np.int32), entries=5)


def _fold(engine: Engine) -> None:
    events = 600
    decoded = DecodedEvents(
        positions=list(range(events)),
        types=[int(EventType.CLICK)] * events,
        timestamps_ms=[1_700_000_000_000 + 1_000 * n for n in range(events)],
        event_ids=[f"e{n}" for n in range(events)],
        user_ids=[f"u{n % 7}" for n in range(events)],
        item_ids=[f"i{n % 31}" for n in range(events)],
        item_counts=[1] * events,
        rejects=[],
    )
    engine.apply(columns_of(decoded, decoded.timestamps_ms, 0))


def main() -> None:
    """Compiles in two processes: most of what ranks is not what folds."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logger.info("compiling kernels into %s (a minute or two the first time)", cache_folder())
    spawn = multiprocessing.get_context("spawn")
    keeping = spawn.Lock()
    halves = [spawn.Process(target=_keep_one_at_a_time, args=(keeping, half)) for half in (_folded, _ranked)]
    for one in halves:
        one.start()
    for one in halves:
        one.join()
    warm()  # what neither has compiled, or could not
    logger.info("kernels are ready")


def _keep_one_at_a_time(keeping: Lock, half: Callable[[], object]) -> None:
    """Numba numbers what it keeps of a function by what is there: two processes must not do that at once."""
    keep = IndexDataCacheFile.save

    def kept(self: IndexDataCacheFile, key: object, data: object) -> None:
        with keeping:
            keep(self, key, data)

    IndexDataCacheFile.save = kept
    half()


if __name__ == "__main__":
    main()
