"""Parts of the line by themselves: ranking, rendering, the store, snapshots."""

from __future__ import annotations

import contextlib
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.figures import Figures
from benchmarks.world import World
from consumers.compose import open_snapshots, open_store
from consumers.reader import version_text
from streamer.engine.engine import Engine
from streamer.snapshots import FolderStore, list_snapshots, read_snapshot, write_snapshot

AT_ONCE = 256
"""Lists ranked, rendered and written together, as the owner does."""
LISTS_MAX = 10_000


def lists(world: World, engine: Engine, namespace: str, figures: Figures) -> None:
    """Microseconds a list: ranked, rendered, and written to the store."""
    config = world.config(namespace)
    users = min(engine.sizes()["users"], LISTS_MAX)
    payloads: list[bytes] = []
    user_ids: list[bytes] = []
    rank_s = render_s = 0.0
    for first in range(0, users, AT_ONCE):
        user_T = np.arange(first, min(first + AT_ONCE, users), dtype=np.int32)
        started_s = perf_counter()
        ranked = engine.rank(user_T, entries=config.ranking.list_items)
        ranked_s = perf_counter()
        payloads += engine.render(ranked, version=version_text(1, 1), written_ms=1)
        user_ids += engine.user_ids(user_T)
        render_s += perf_counter() - ranked_s
        rank_s += ranked_s - started_s
    figures.add("rank", "us/list", rank_s / users * 1e6)
    figures.add("render", "us/list", render_s / users * 1e6)
    with contextlib.closing(open_store(config, world.valkey.url)) as store:
        started_s = perf_counter()
        for first in range(0, users, AT_ONCE):
            store.write_lists(user_ids[first : first + AT_ONCE], payloads[first : first + AT_ONCE])
        figures.add("store", "lists/s", users / (perf_counter() - started_s))
        store.delete_namespace()
    figures.add("list_bytes", "bytes", sum(map(len, payloads)) / users)


def gather(engine: Engine, figures: Figures) -> None:
    """How long the fold stands still while all tables are copied."""
    started_s = perf_counter()
    tables = engine.fold_tables() | engine.publisher_tables()
    copies = [table.copy() for table in tables.values()]
    figures.add("snapshot_gather", "ms", (perf_counter() - started_s) * 1e3)
    figures.add("snapshot_size", "MB", sum(table.nbytes for table in copies) / 1e6)


def snapshot(world: World, namespace: str, folder: Path, figures: Figures) -> None:
    """What a run of the whole line left: read and made an engine again, then written whole into an empty folder."""
    config = world.config(namespace)
    kept = open_snapshots(config)
    manifest = list_snapshots(kept)[0]
    started_s = perf_counter()
    read, fold, publisher = read_snapshot(kept, manifest.name)
    Engine(config, fold, publisher)
    figures.add("snapshot_restore", "s", perf_counter() - started_s)
    size = sum(table.nbytes for table in (*fold.values(), *publisher.values()))
    started_s = perf_counter()
    write_snapshot(FolderStore(folder), read, fold, publisher, known=set())
    figures.add("snapshot_write", "MB/s", size / 1e6 / (perf_counter() - started_s))
