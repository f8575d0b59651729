"""Synthetic traffic: sessions of Zipf-distributed users and items, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

FIRST_MS = 1_780_000_000_000
TYPES = ("view", "click", "cart", "purchase")
TYPE_SHARES = (0.30, 0.58, 0.08, 0.04)
SESSION_EVENTS_MEAN = 5.0
PAUSE_MS_MEAN = 30_000.0
"""Between two events of a session."""
EVENTS_PER_S = 5.0
"""Of event time, over all users."""
AISLES = 200
"""Items of one aisle are looked at together, so that there is something to learn."""
IN_AISLE_SHARE = 0.7


@dataclass(frozen=True)
class Shape:
    """How much traffic, over how many users and items."""

    events: int
    users: int = 100_000
    items: int = 10_000
    seed: int = 7
    first_ms: int = FIRST_MS
    """Event time at which it begins."""
    crowd: int | None = None
    """Seed of who is active and what is popular, so that parts of one stream can share both; None: drawn with the rest."""


def zipf(random: np.random.Generator, entities: int, exponent: float, count: int) -> NDArray[np.int64]:
    """Draws ``count`` of ``entities`` with chances 1 / rank^exponent."""
    weight_E = 1.0 / np.arange(1, entities + 1) ** exponent
    edge_E = np.cumsum(weight_E)
    drawn: NDArray[np.int64] = np.searchsorted(edge_E, random.random(count) * edge_E[-1])
    return drawn


def events(shape: Shape) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of every event in the order of time; values have about 226 bytes."""
    random = np.random.default_rng(shape.seed)
    crowd = random if shape.crowd is None else np.random.default_rng(shape.crowd)
    session_N, time_N = _sessions(random, shape.events)
    sessions = int(session_N.max()) + 1
    user_S = crowd.permutation(shape.users)[zipf(random, shape.users, 0.8, sessions)]
    aisle_S = zipf(random, AISLES, 0.6, sessions)
    item_N = _items(random, crowd, shape, aisle_S[session_N])
    type_N = random.choice(len(TYPES), shape.events, p=TYPE_SHARES)
    price_N = np.round(random.gamma(2.0, 20.0, shape.events), 2)
    tag_N = random.integers(0, 2**63, shape.events)
    rows = zip(
        range(shape.events),
        session_N.tolist(),
        time_N.tolist(),
        user_S[session_N].tolist(),
        item_N.tolist(),
        type_N.tolist(),
        price_N.tolist(),
        tag_N.tolist(),
        strict=True,
    )
    for n, session, time_ms, user, item, kind, price, tag in rows:
        user_id = f"user-{user:08d}"
        yield (
            user_id.encode(),
            msgspec.json.encode(
                {
                    "event_id": f"{n:010x}{tag:016x}",
                    "type": TYPES[kind],
                    "user_id": user_id,
                    "item_id": f"item-{item:06d}",
                    "timestamp": shape.first_ms + time_ms,
                    "session_id": f"s{session:010x}",
                    "request_id": f"r{tag >> 24:010x}",
                    "price": price,
                    "context": {"page": "home"},
                }
            ),
        )


def _sessions(random: np.random.Generator, events: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Session and time of every event, sorted by time; sessions overlap as they do in live traffic."""
    sessions = int(events / SESSION_EVENTS_MEAN * 1.2) + 8
    length_S = random.geometric(1.0 / SESSION_EVENTS_MEAN, sessions)
    session_N = np.repeat(np.arange(sessions), length_S)
    session_N = np.resize(session_N, events)
    first_S = random.random(sessions) * events / EVENTS_PER_S * 1_000
    pause_N = random.exponential(PAUSE_MS_MEAN, events)
    pause_N[np.flatnonzero(np.diff(session_N, prepend=-1))] = 0.0
    since_N = np.cumsum(pause_N)
    starts_N = np.maximum.accumulate(np.where(pause_N == 0.0, np.arange(events), 0))
    time_N = (first_S[session_N] + since_N - since_N[starts_N]).astype(np.int64)
    order_N = np.argsort(time_N, kind="stable")
    return session_N[order_N], time_N[order_N]


def _items(
    random: np.random.Generator, crowd: np.random.Generator, shape: Shape, aisle_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Popular items of the session's aisle, and now and then popular items of all."""
    per_aisle = max(1, shape.items // AISLES)
    near_N = (aisle_N * per_aisle + zipf(random, per_aisle, 0.9, shape.events)) % shape.items
    shelf_I = crowd.permutation(shape.items)
    anywhere_N = shelf_I[zipf(random, shape.items, 1.0, shape.events)]
    return np.where(random.random(shape.events) < IN_AISLE_SHARE, near_N, anywhere_N)
