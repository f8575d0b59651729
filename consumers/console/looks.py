"""What the state holds of a user, of an item and of the gate, as plain values. Each function is a question: it only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.catalog.items import HAS_DOCUMENT, WITHDRAWN
from streamer.engine.engine import Engine
from streamer.engine.published import CLEAN
from streamer.engine.state import INTERACTIONS, REPEATS
from streamer.events.model import EVENT_TYPE_NAMES
from streamer.head.gate import fill_phi
from streamer.signals.pairs import Pairs
from streamer.signals.trends import HALF_LIVES, RATES
from streamer.tables.compile import uncompiled
from streamer.tables.ids import row_of_text, text_of_row
from streamer.windows.group import NOBODY, USER
from streamer.windows.journal import APPENDED, NOTHING, SIZE_MAX, users_and_items
from streamer.windows.users import GONE, WINDOW

NEIGHBOURS = 10
LISTED = 20
RECENT_ENTRIES = 2_000
"""Of the journal, looked through for the users and items of just now."""
SIMILAR_ROWS_MAX = 50_000
"""A larger catalogue is not searched for similar items: the fold would wait for longer than a few milliseconds."""


class Weights(NamedTuple):
    """The gate's weight of each term, of one kind of user; ``fixed`` are those of the start."""

    who: str
    weight: list[float]


KINDS: tuple[tuple[str, int, int], ...] = (
    ("who comes for the first time", 0, 0),
    ("after his first choice", 1, 30_000),
    ("with a full window", WINDOW, 30_000),
)
"""Kinds of users whose weights are shown: interactions in the window, and ms since the last."""


def weights(engine: Engine) -> list[Weights]:
    """The weights of now for each of ``KINDS``, and of the start."""
    gate = engine.state.gate
    stream = engine.state.stream
    repeats = float(stream[REPEATS]) / max(float(stream[INTERACTIONS]), 1.0)
    found = []
    for who, length, elapsed_ms in KINDS:
        phi_K = np.zeros(gate.weight_FK.shape[1], np.float32)
        # as plain Python: for types of their own a kernel would be compiled now, while the fold waits
        uncompiled(fill_phi)(phi_K, length, WINDOW, elapsed_ms, repeats if length else 0.0)
        found.append(Weights(who, _plain(gate.weight_FK @ phi_K)))
    return [*found, Weights("at the start, and the yardstick", _plain(gate.fixed_F))]


def user(user_id: str) -> Callable[[Engine], dict[str, Any] | None]:
    """The question what is known of a user; its answer is None where he is unknown."""

    def look(engine: Engine) -> dict[str, Any] | None:
        row = row_of_text(engine.state.users.ids, user_id)
        if row < 0:
            return None
        users, published = engine.state.users, engine.published
        ranked = engine.rank(np.array([row]), entries=LISTED)
        return {
            "interactions": int(users.pushed_U[row]),
            "last_ms": int(users.last_ms_U[row]),
            "repeats_ratio": float(users.repeats_U[row]),
            "items_remembered": int(engine.state.history.rows.length_R[row]),
            "window": list(_window(engine, row)),
            "open_group": int(engine.state.group.state[USER]) == row,
            "list_waits": bool(published.mark_U[row] != CLEAN),
            "list_written_ms": int(published.written_ms_U[row]),
            "log_had_ms": int(published.append_ms_U[row]),
            "now": [text_of_row(engine.state.items.ids, int(one)) for one in ranked.item_UK[0, : ranked.count_U[0]]],
            "head_step": engine.head_step,
            "fixed_weights": engine.falls_back,
        }

    return look


def _window(engine: Engine, row: int) -> Iterator[dict[str, Any]]:
    """The user's window, newest first."""
    users = engine.state.users
    pushed = int(users.pushed_U[row])
    for n in range(min(pushed, WINDOW)):
        place = (pushed - 1 - n) % WINDOW
        item = int(users.item_UW[row, place])
        yield {
            "item_id": None if item == GONE else text_of_row(engine.state.items.ids, item),
            "type": EVENT_TYPE_NAMES[int(users.type_UW[row, place])],
            "time_ms": int(users.time_UW[row, place]),
        }


def item(item_id: str) -> Callable[[Engine], dict[str, Any] | None]:
    """The question what is known of an item; its answer is None where it is unknown."""

    def look(engine: Engine) -> dict[str, Any] | None:
        row = row_of_text(engine.state.items.ids, item_id)
        if row < 0:
            return None
        state = engine.state
        flags = int(state.items.flags_I[row])
        return {
            "document": bool(flags & HAS_DOCUMENT),
            "withdrawn": bool(flags & WITHDRAWN),
            "vector": int(state.items.vector_I[row]) >= 0,
            "trends": list(_trends(engine, row)),
            "after": _neighbours(engine, state.forward, row),
            "before": _neighbours(engine, state.reverse, row),
            "similar": _similar(engine, row),
        }

    return look


def _trends(engine: Engine, row: int) -> Iterator[dict[str, Any]]:
    """The item's users a half-life (in interactions of the whole stream), and its rank among the strongest, None beyond them."""
    trends = engine.state.trends
    age = int(trends.tick[0] - trends.tick_I[row])
    for half, half_life in enumerate(HALF_LIVES):
        top_T = trends.top_HT[half, : trends.length_H[half]]
        places = np.flatnonzero(top_T == row)
        yield {
            "half_life": half_life if np.isfinite(half_life) else None,
            "users": float(trends.value_IH[row, half]) * 2.0 ** (-age * float(RATES[half])),
            "rank": int(places[0]) + 1 if len(places) else None,
            "ranked": len(top_T),
        }


def _neighbours(engine: Engine, pairs: Pairs, row: int) -> list[dict[str, Any]]:
    """The strongest items of a row of pairs: shares of what followed at once, and of what followed within the window."""
    start = int(pairs.rows.start_R[row])
    stop = start + min(int(pairs.rows.length_R[row]), NEIGHBOURS)
    near, wide = float(pairs.near_total_I[row]), float(pairs.wide_total_I[row])
    return [
        {
            "item_id": text_of_row(engine.state.items.ids, int(pairs.item_P[at])),
            "near_ratio": float(pairs.near_P[at]) / near if near else 0.0,
            "wide_ratio": float(pairs.wide_P[at]) / wide if wide else 0.0,
        }
        for at in range(start, stop)
    ]


def _similar(engine: Engine, row: int) -> list[dict[str, Any]] | None:
    """The items whose fused vectors are nearest by cosine; None where there are too many to look at all."""
    rows = engine.item_rows
    if rows > SIMILAR_ROWS_MAX:
        return None
    fused_ID = engine.state.head.fused_ID[:rows]
    length_I = np.sqrt(np.einsum("id,id->i", fused_ID, fused_ID))
    cosine_I = (fused_ID @ fused_ID[row]) / np.maximum(length_I * length_I[row], 1e-12)
    cosine_I[row] = -np.inf
    cosine_I[engine.state.items.ids.size_R[:rows] == 0] = -np.inf  # freed rows
    near_T = np.argsort(-cosine_I, kind="stable")[:NEIGHBOURS]
    return [
        {"item_id": text_of_row(engine.state.items.ids, int(one)), "cosine": float(cosine_I[one])}
        for one in near_T
        if cosine_I[one] > 0.0
    ]


def recent(engine: Engine) -> dict[str, list[str]]:
    """Users and items of the newest interactions, newest first: something to look up."""
    journal = engine.state.journal
    appended, size_max = int(journal.extent[APPENDED]), int(journal.extent[SIZE_MAX])
    newest_T = np.arange(appended - 1, max(0, appended - min(RECENT_ENTRIES, size_max)) - 1, -1) % size_max
    user_T, item_T = users_and_items(journal.what_J[newest_T])
    open_user = int(engine.state.group.state[USER])
    users = dict.fromkeys([open_user] * (open_user != NOBODY) + user_T[user_T != NOTHING].tolist())
    items = dict.fromkeys(item_T[item_T != NOTHING].tolist())
    user_ids, item_ids = engine.state.users.ids, engine.state.items.ids
    return {
        "users": [text_of_row(user_ids, one) for one in list(users)[:NEIGHBOURS]],
        "items": [text_of_row(item_ids, one) for one in list(items)[:NEIGHBOURS]],
    }


def _plain(values: NDArray[np.float32] | Sequence[float]) -> list[float]:
    return [round(float(value), 4) for value in values]
