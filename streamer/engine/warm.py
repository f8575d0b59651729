"""Compiles every kernel and leaves it in the cache: ``python -m streamer.engine.warm``, once after an installation."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Lock
from pathlib import Path

import numba
import numpy as np
from numba.core.caching import IndexDataCacheFile
from numba.core.registry import cpu_target

from streamer.config.tree import Catalog, Config, Windows
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.model import DecodedEvents, EventType
from streamer.ranking.lists import NOBODY
from streamer.tables.compile import cache_folder

logger = logging.getLogger(__name__)

RECORDS, USERS, ITEMS, FIRST_MS = 600, 7, 31, 1_700_000_000_000


def warm() -> None:
    """Runs tiny streams through every kernel, those of bounds that are reached and of what is forgotten too."""
    engine = _folded()
    engine.render(engine.rank(engine.published.take(100), entries=5), version="0", written_ms=0)
    engine.published.stale(1, 0, 1)
    _fold(Engine(Config(), {name: table.copy() for name, table in engine.fold_tables().items()}), users=USERS, items=ITEMS)
    _mark().touch()


def is_warm() -> bool:
    """Whether every kernel is in the cache, for this compiler and the kind of processor that this is: others are there to no end."""
    return _mark().exists()


def _mark() -> Path:
    """Written once all kernels are there: a few may be of who was ended meanwhile, or of another command."""
    kind = f"{numba.__version__} {cpu_target.target_context.codegen().magic_tuple()}"
    return cache_folder() / f"all-compiled-{hashlib.sha256(kind.encode()).hexdigest()[:16]}"


def _folded() -> Engine:
    _full()
    engine = Engine(Config())
    engine.apply_vectors("i0", np.ones(4, np.float16), np.ones(400, np.float16))
    _fold(engine, users=USERS, items=ITEMS)
    engine.apply_forget("u0", FIRST_MS)
    engine.settle(FIRST_MS)
    return engine


def _full() -> None:
    """More users, and more items, than there may be."""
    bounds = Config(windows=Windows(users_max=USERS), catalog=Catalog(items_max=USERS))
    _fold(Engine(bounds), users=USERS + 1, items=USERS)
    engine = Engine(bounds)
    for n in range(USERS + 1):
        engine.apply_vectors(f"i{n}", np.ones(4, np.float16))


def _ranked() -> None:
    Engine(Config()).rank(np.array([NOBODY], np.int32), entries=5)


def _fold(engine: Engine, *, users: int, items: int) -> None:
    decoded = DecodedEvents(
        positions=list(range(RECORDS)),
        types=[int(EventType.CLICK)] * RECORDS,
        timestamps_ms=[FIRST_MS + 1_000 * n for n in range(RECORDS)],
        event_ids=[f"e{n}" for n in range(RECORDS)],
        user_ids=[f"u{n % users}" for n in range(RECORDS)],
        item_ids=[f"i{n % items}" for n in range(RECORDS)],
        item_counts=[1] * RECORDS,
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
