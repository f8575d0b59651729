"""Compiles every kernel and leaves it in the cache: ``python -m streamer.engine.warm``, once after an installation."""

from __future__ import annotations

import logging

import numpy as np

from streamer.config.tree import Config
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.model import DecodedEvents, EventType
from streamer.tables.compile import cache_folder

logger = logging.getLogger(__name__)


def warm() -> None:
    """Runs a tiny stream through every kernel."""
    engine = Engine(Config())
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
    engine.apply_vectors("i0", np.ones(4, np.float16), np.ones(400, np.float16))
    engine.apply(columns_of(decoded, decoded.timestamps_ms, 0))
    engine.render(engine.rank(engine.published.take(100), entries=5), version="0", written_ms=0)
    engine.published.stale(1, 0, 1)
    Engine(Config(), {name: table.copy() for name, table in engine.fold_tables().items()}).apply(
        columns_of(decoded, decoded.timestamps_ms, 0)
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logger.info("compiling kernels into %s (a minute or two the first time)", cache_folder())
    warm()
    logger.info("kernels are ready")
