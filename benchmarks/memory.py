"""What a million users and a million items take: live tables in the worker, lists in the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from redis import Redis

from benchmarks.bounds import LISTS_BYTES_MAX, MILLION, TABLES_BYTES_MAX, Bound
from benchmarks.measured import Measured
from benchmarks.parts import AT_ONCE
from benchmarks.size import by_part, distinct, parts_of
from consumers.compose import open_store
from consumers.reader import version_text
from streamer.config.tree import Config
from streamer.engine.engine import Engine

OF_USERS = ("users", "history", "published")
OF_ITEMS = ("items", "pairs", "vectors")


class Tables(NamedTuple):
    """Bytes of live tables."""

    user: float
    """Of each user."""
    item: float
    """Of each item."""
    rest: int
    """Of what has a size of its own: the journal, event ids, what is learned of no single item."""

    @property
    def of_a_million(self) -> float:
        """With a million users and a million items."""
        return MILLION * (self.user + self.item) + self.rest


def tables_of(engine: Engine) -> Tables:
    """What a state takes."""
    tables = distinct(engine.fold_tables() | engine.publisher_tables())
    parts, sizes = parts_of(engine), engine.sizes()
    users, items = sum(parts[name] for name in OF_USERS), sum(parts[name] for name in OF_ITEMS)
    of_none = sum(table.nbytes for table in tables.values()) - sum(by_part(tables).values())
    rest = of_none + sum(parts.values()) - users - items
    return Tables(users / sizes["users"], items / sizes["items"], rest)


def payloads(engine: Engine, lists: int, entries: int, seed: int = 1) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Ids and lists of users drawn at random, each once, as the worker renders them."""
    user_T = np.random.default_rng(seed).permutation(engine.user_rows)[:lists].astype(np.int32)
    for first in range(0, len(user_T), AT_ONCE):
        here_T = user_T[first : first + AT_ONCE]
        ranked = engine.rank(here_T, entries=entries)
        yield engine.user_ids(here_T), engine.render(ranked, version=version_text(1, 1), written_ms=engine.event_ms)


def store_bytes(url: str, config: Config, written: Iterator[tuple[list[bytes], list[bytes]]]) -> float:
    """Memory that the server takes for each of these lists; they are gone afterwards."""
    lists = 0
    with contextlib.closing(open_store(config, url)) as store, contextlib.closing(Redis.from_url(url)) as client:
        before = used_bytes(client)
        for user_ids, values in written:
            store.write_lists(user_ids, values)
            lists += len(user_ids)
        after = used_bytes(client)
        store.delete_namespace()
    return (after - before) / lists


def used_bytes(client: Redis) -> int:
    """Memory of a server's data."""
    info: Mapping[str, int] = client.info("memory")
    return info["used_memory"]


def memory(found: Measured, engine: Engine, url: str, *, lists: int) -> None:
    """Measures the tables of a state, and the store with lists of its users; the store's figures are scaled to a million lists."""
    tables = tables_of(engine)
    found.figures.add("tables_1m_users", "bytes", MILLION * tables.user)
    found.figures.add("tables_1m_items", "bytes", MILLION * tables.item)
    found.figures.add("tables_rest", "bytes", tables.rest)
    for part, size in parts_of(engine).items():
        found.figures.add(f"tables_{part}", "bytes", size)
    found.figures.add("tables_1m_users_1m_items", "bytes", tables.of_a_million)
    found.bounds["tables_1m_users_1m_items"] = Bound(tables.of_a_million, TABLES_BYTES_MAX)
    config = Config(namespace="memory")
    shipped = list(payloads(engine, lists, config.ranking.list_items))
    found.figures.add("store_1m_lists", "bytes", MILLION * store_bytes(url, config, iter(shipped)))
    if engine.sizes()["users"] >= MILLION:  # fewer users leave more room for each one's reasons
        found.bounds["store_1m_lists"] = Bound(found.figures.median("store_1m_lists"), LISTS_BYTES_MAX)
    found.figures.add("list_bytes", "bytes", float(np.mean([len(value) for _, values in shipped for value in values])))
