"""How much memory and disk a state takes, beside the formula of docs/operations.md: ``python -m benchmarks.size``.

Each size is folded in a process of its own. Memory is that of the process: interpreter, libraries, tables with the room that they grow
into, and the copy from which a snapshot is written.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from benchmarks import traffic
from benchmarks.million import PIECE
from benchmarks.recovery import say
from consumers.copies import Copies, touched
from streamer.config.tree import Config
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.codec import decode_events
from streamer.tables.arrays import Array
from streamer.tables.rings import PLACES

ID_BYTES = len("user-00000000")
WIDTH = 384
"""Dimensions of the default text encoder."""
PLACE_BYTES, MODALITY_BYTES = 320, 128
"""Of every item once one has content, and again for each modality of which there is one."""
MIB = 2**20
PARTS = ("users", "history", "items", "pairs", "vectors", "journal", "dedup", "published")
BY_PREFIX = {
    "forward": "pairs",
    "reverse": "pairs",
    "trends": "items",
    "head": "items",
    "likeness": "vectors",
    "belonging": "items",
}
BY_NAME = {
    "items.vectors": "vectors",
    "head.fused_ID": "vectors",
    "head.text_ID": "vectors",
    "head.image_ID": "vectors",
    "journal.postings": "items",
}


class Size(NamedTuple):
    """Of one state."""

    users: int
    items: int
    events: int


SIZES = (
    Size(50_000, 10_000, 200_000),
    Size(200_000, 20_000, 500_000),
    Size(200_000, 200_000, 500_000),
    Size(500_000, 50_000, 1_000_000),
)


@dataclass(frozen=True)
class Held:
    """What a state holds: bytes of its live tables by part, entries of the two pools, and the process with and without the copy."""

    parts: dict[str, int]
    history: int
    pairs: int
    places: int
    """Of what the journal's entries are found by."""
    before_bytes: int
    bare_bytes: int
    copied_bytes: int
    events_per_s: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.size", description=__doc__)
    parser.add_argument("--size", nargs=3, type=int, action="append", metavar=("USERS", "ITEMS", "EVENTS"))
    wanted = [Size(*given) for given in parser.parse_args().size or SIZES]
    logging.basicConfig(level=logging.ERROR)
    context = multiprocessing.get_context("spawn")
    for size in wanted:
        with context.Pool(1) as pool:
            show(size, pool.apply(held, (size,)))
    return 0


def show(size: Size, found: Held) -> None:
    live, expected = sum(found.parts.values()), sum(formula(size, found).values())
    say(f"{size.users:,} users, {size.items:,} items, {size.events:,} events ({found.events_per_s:,.0f} a second):")
    for part, reckoned in formula(size, found).items():
        say(f"  {part:10} {found.parts[part] / MIB:8.1f} MiB, formula {reckoned / MIB:8.1f}")
    say(
        f"  {'tables':10} {live / MIB:8.1f} MiB, formula {expected / MIB:8.1f}; history {found.history / size.users:.1f} entries a "
        f"user, pairs {found.pairs / size.items:.1f} an item"
    )
    grew, copied = found.bare_bytes - found.before_bytes, found.copied_bytes - found.before_bytes
    say(
        f"  process {found.before_bytes / MIB:.0f} MiB before, {found.bare_bytes / MIB:.0f} with the state ({grew / live:.2f} x tables), "
        f"{found.copied_bytes / MIB:.0f} with a copy ({copied / live:.2f} x)"
    )


def formula(size: Size, found: Held) -> dict[str, float]:
    """Bytes by part, as docs/operations.md reckons them."""
    return {
        "users": size.users * (332 + ID_BYTES),
        "history": size.users * 13 + found.history * 19,
        "items": size.items * (236 + ID_BYTES),
        "pairs": size.items * 50 + found.pairs * 14,
        "vectors": size.items * (2 * WIDTH + PLACE_BYTES + MODALITY_BYTES),
        "journal": 8 * (min(size.events, Config().signals.journal_interactions_max) + found.places),
        "dedup": 8 * min(size.events, 2 * Config().windows.dedup_ids_min),
        "published": size.users * 57,
    }


def held(size: Size) -> Held:
    """Folds a stream in which every user and every item comes up."""
    vector_E = np.ones(WIDTH, np.float16)
    warm_up = Engine(Config())
    warm_up.apply(columns_of(decode_events([value(0, 0, 0)]), [traffic.FIRST_MS], 0))
    before_bytes = resident_bytes()
    engine = Engine(Config())
    for item in range(size.items):
        engine.apply_vectors(f"item-{item:08d}", vector_E)
    started_s = perf_counter()
    for values in pieces(size):
        engine.apply(columns_of(decode_events(values), [traffic.FIRST_MS] * len(values), 0))
    elapsed_s = perf_counter() - started_s
    tables = engine.fold_tables() | engine.publisher_tables()
    parts = parts_of(engine)
    places = sum(int(rings.pool[PLACES]) for rings in (engine.state.journal.sequences, engine.state.journal.postings))
    pairs = len(tables["forward.item"]) + len(tables["reverse.item"])
    history, bare_bytes = len(tables["history.item"]), resident_bytes()
    copies = Copies()
    copies.take(touched(copies.lacking(tables)))
    copies.of(tables)
    return Held(parts, history, pairs, places, before_bytes, bare_bytes, resident_bytes(), size.events / elapsed_s)


def distinct(tables: Mapping[str, Array]) -> dict[str, Array]:
    """Without those whose memory is that of one before them."""
    seen: dict[int, str] = {}
    for name, table in tables.items():
        seen.setdefault(table.ctypes.data if table.size else -1 - len(seen), name)
    return {name: tables[name] for name in seen.values()}


def parts_of(engine: Engine) -> dict[str, int]:
    """Bytes of a state by part: its live tables, and what is made from the journal beside them, by which its entries are found."""
    parts = by_part(engine.fold_tables() | engine.publisher_tables())
    journal = engine.state.journal
    parts["items"] += journal.live_I[: engine.item_rows].nbytes
    for name, rows, rings in (
        ("users", engine.user_rows, journal.sequences),
        ("items", engine.item_rows, journal.postings),
    ):
        parts[name] += rings.row_RF[:rows].nbytes
        parts["journal"] += 2 * rings.first_P[: int(rings.pool[PLACES])].nbytes
    return parts


def by_part(tables: Mapping[str, Array]) -> dict[str, int]:
    """Bytes of the tables that grow with users, items or events, by part; the others belong to none."""
    parts = dict.fromkeys(PARTS, 0)
    for name, table in distinct(tables).items():
        prefix = name.partition(".")[0]
        part = BY_NAME.get(name) or BY_PREFIX.get(prefix, prefix)
        if part in parts:
            parts[part] += table.nbytes
    return parts


def pieces(size: Size) -> Iterator[list[bytes]]:
    """Values of events, in portions: users by turns and as it comes, items likewise, so that all of them are there."""
    random = np.random.default_rng(7)
    user_N = np.concatenate((random.permutation(size.users), traffic.zipf(random, size.users, 0.8, size.events)))[: size.events]
    item_N = np.concatenate((random.permutation(size.items), traffic.zipf(random, size.items, 0.9, size.events)))[: size.events]
    random.shuffle(user_N)
    for first in range(0, size.events, PIECE):
        here = range(first, min(first + PIECE, size.events))
        yield [value(int(user_N[n]), int(item_N[n]), n) for n in here]


def value(user: int, item: int, n: int) -> bytes:
    time_ms = traffic.FIRST_MS + 200 * n
    return (
        f'{{"event_id":"{n:026x}","type":"click","user_id":"user-{user:08d}","item_id":"item-{item:08d}","timestamp":{time_ms}}}'
    ).encode()


def resident_bytes(pid: int | None = None) -> int:
    """Of a process now, this one unless named."""
    with Path(f"/proc/{'self' if pid is None else pid}/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
