"""What a list costs, and what re-ranking and the count of exposure add: `python -m benchmarks.rerank_cost [--events 1500000]`. CPU time, medians.

The state is that of so many synthetic events of 10,000 items by PROVIDERS: after 1,500,000 most windows of who comes are full. The lists, of 20,
are those of the users seen last.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from statistics import median

import msgspec
import numpy as np

from benchmarks import traffic
from streamer.config.tree import Config
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.codec import decode_events
from streamer.events.model import ItemDocument

POLL = 500
PROVIDERS, CATEGORIES = 5_000, 50
LISTS = 128
"""In a portion, as a worker has them."""
ROUNDS = 41


def folded(events: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Fold tables, and rows of the users seen last."""
    shape, engine = traffic.Shape(events), Engine(Config())
    after_ms = traffic.FIRST_MS + int(2_000 * events / traffic.EVENTS_PER_S)  # no event is ahead of the log
    for item in range(shape.items):
        named = ItemDocument(
            item_id=f"item-{item:06d}", provider=f"provider-{item % PROVIDERS}", categories=(f"category-{item % CATEGORIES}",)
        )
        engine.apply_item(named)
    values = (value for _, value in traffic.events(shape))
    while part := list(itertools.islice(values, POLL)):
        engine.apply(columns_of(decode_events(part), [after_ms] * len(part), 0))
    last_U = np.argsort(-engine.state.users.last_ms_U[: engine.user_rows], kind="stable")
    return {name: table.copy() for name, table in engine.fold_tables().items()}, last_U[:LISTS].copy()


def list_us(call: Callable[[], object]) -> float:
    """Microseconds of CPU a list, where a call makes LISTS."""

    def once() -> float:
        started_s = time.process_time()
        call()
        return 1e6 * (time.process_time() - started_s) / LISTS

    once()
    return median(once() for _ in range(ROUNDS))


def engine_with(tables: dict[str, np.ndarray], user_U: np.ndarray, **ranking: float) -> Engine:
    """An engine in that state, with some lists shown."""
    config = Config(ranking=msgspec.structs.replace(Config().ranking, **ranking))
    engine = Engine(config, {name: table.copy() for name, table in tables.items()})
    engine.note_shown(engine.rank(user_U, entries=config.ranking.list_items))
    return engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    tables, user_U = folded(parser.parse_args().events)
    entries = Config().ranking.list_items
    settings: tuple[dict[str, float], ...] = ({}, {"provider_exposure_min": 0.5}, {"diversity": 0.3})
    plain_us = 0.0
    for ranking in settings:
        engine = engine_with(tables, user_U, **ranking)
        found_us = list_us(lambda engine=engine: engine.rank(user_U, entries=entries))  # type: ignore[misc]
        plain_us = plain_us or found_us
        told = ", ".join(f"ranking.{name} = {value}" for name, value in ranking.items()) or "both off"
        print(f"{told:40} {found_us:7.1f} us a list, {found_us - plain_us:+6.1f}")
    lists = engine.rank(user_U, entries=entries)
    print(f"{'exposure of a list noted':40} {list_us(lambda: engine.note_shown(lists)):7.2f} us a list")
    shares_us = LISTS * list_us(lambda: engine.exposed.shares(engine.belonging))
    print(f"{f'shares and Gini of {PROVIDERS:,} providers':40} {shares_us:7.0f} us, once a second")


if __name__ == "__main__":
    main()
