"""Small recorded streams for tests of the backtest."""

from __future__ import annotations

import random
from collections.abc import Sequence

from streamer.evaluate.stream import Document, Stream, StreamBuilder
from streamer.events.model import DecodedEvents, EventType

T0 = 1_700_000_000_000
Row = tuple[int, str, Sequence[str], EventType]
"""Seconds after T0, user, items, type."""


def stream_of(rows: Sequence[Row], documents: Sequence[Document] = ()) -> Stream:
    """The stream of a file with these events in its order."""
    builder = StreamBuilder()
    decoded = DecodedEvents(
        positions=list(range(len(rows))),
        types=[int(row[3]) for row in rows],
        timestamps_ms=[T0 + 1_000 * row[0] for row in rows],
        event_ids=[""] * len(rows),
        user_ids=[row[1] for row in rows],
        item_ids=[item for row in rows for item in row[2]],
        item_counts=[len(row[2]) for row in rows],
        rejects=[],
    )
    builder.add(decoded, list(range(len(rows))))
    return builder.finish(documents)


def random_rows(seed: int, count: int, *, users: int = 9, items: int = 40, ties: bool = True) -> list[Row]:
    """Users who walk along the items with jumps, some of them twice at one time, all types of events."""
    rng = random.Random(seed)
    at = [rng.randrange(items) for _ in range(users)]
    second, rows = 0, []
    for _ in range(count):
        second += rng.choice((0, 0, 1, 40, 2_000)) if ties else rng.choice((1, 40, 2_000))
        user = int(users * rng.random() ** 2)
        at[user] = (at[user] + 1) % items if rng.random() < 0.6 else rng.randrange(items)
        kind = rng.choice((EventType.CLICK, EventType.CLICK, EventType.VIEW, EventType.PURCHASE, EventType.IMPRESSION))
        shown = (
            [f"i{at[user]}"] if kind in (EventType.CLICK, EventType.VIEW) else [f"i{(at[user] + n) % items}" for n in range(2)]
        )
        rows.append((second, f"u{user}", shown, kind))
    return rows
