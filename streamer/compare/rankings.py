"""The lists that two states give the same users at the same time, and why they differ: term by term of the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from streamer.compare.tables import Side
from streamer.compare.values import Found, Told, moved, overlap, rank_biased_overlap
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.ranking.scratch import NEURAL, TERMS, TREND
from streamer.snapshots import read_snapshot
from streamer.tables.ids import row_of_text, text_of_row

LIST = 20
USERS_SHOWN = 10
"""Users whose lists differ most, told item by item."""
ITEMS_SHOWN = 5
"""Items told a user: of those that came and of those that went."""
TERMS_SHOWN = 3
"""Terms told an item, those that changed most."""
USERS_AT_ONCE = 64
TRENDS = "trends"
"""The name of all trends together: they say the same at several half-lives."""
SHOWN_TERMS = (*TERMS[:TREND], TRENDS, *TERMS[NEURAL:])

Terms = dict[str, float]


class Item(NamedTuple):
    """A candidate of a user: its place among all (from 1), its score, the terms that make it up."""

    place: int
    score: float
    terms: Terms


def config_under(config: Config, structural: Mapping[str, Any]) -> Config:
    """The configuration with what shaped a snapshot's state as that snapshot says, and without exploring, which is drawn anew each block."""
    changed: dict[str, Any] = {}
    for name, value in structural.items():
        section, _, field = name.rpartition(".")
        if not section:
            changed[field] = value
        elif hasattr(config, section):
            changed[section] = msgspec.structs.replace(changed.get(section, getattr(config, section)), **{field: value})
    changed["ranking"] = msgspec.structs.replace(config.ranking, explore=False)
    return msgspec.structs.replace(config, **changed)


def users_in_both(a: Side, b: Side, users_max: int) -> tuple[list[str], int]:
    """Users that both states know, at most so many, and how many there are: those with the smallest hashes, so always the same."""
    ids_a, ids_b = a.ids()["users"], b.ids()["users"]
    shared, row_a, row_b = np.intersect1d(ids_a.hash_R, ids_b.hash_R, return_indices=True)
    first = int(np.searchsorted(shared, np.uint64(1)))  # 0 is the hash of a row that is nobody's
    chosen = [ids_a.name(int(row)) for row in row_a[first : first + users_max]]
    known = {ids_b.name(int(row)) for row in row_b[first : first + users_max]}
    return [user for user in chosen if user in known], len(shared) - first


def compare_rankings(a: Side, b: Side, config: Config, users_max: int, told: Told) -> Found:
    """How alike the lists of users are that both know, and whose differ most, why. One state is in memory at a time.

    Raises SnapshotDamaged, OSError.
    """
    users, in_both = users_in_both(a, b, users_max)
    at_ms = max(a.manifest.event_ms, b.manifest.event_ms)
    asked = _Asked(config, at_ms, 2 * len(users), told)
    lists_a, fixed_a = asked.all_lists(a, users)
    engine = asked.load(b)
    lists_b, fixed_b = asked.lists(engine, users), engine.falls_back
    alike = [overlap(one, other) for one, other in zip(lists_a, lists_b, strict=True)]
    rbo = [rank_biased_overlap(one, other) for one, other in zip(lists_a, lists_b, strict=True)]
    unequal = [n for n in range(len(users)) if lists_a[n] != lists_b[n]]
    worst = sorted(unequal, key=lambda n: (alike[n], rbo[n], users[n]))[:USERS_SHOWN]
    items_b = [asked.items(engine, users[n]) for n in worst]
    del engine
    items_a = asked.all_items(a, [users[n] for n in worst])
    shown = [
        {"user_id": users[n], "overlap": alike[n], "rbo": rbo[n]} | _reasons(lists_a[n], lists_b[n], one, other)
        for n, one, other in zip(worst, items_a, items_b, strict=True)
    ]
    count = max(len(users), 1)
    return {
        "users_in_both": in_both,
        "compared": len(users),
        "at_ms": at_ms,
        "equal": not unequal,
        "equal_share": 1.0 - len(unequal) / count,
        "differing": len(unequal),
        "mean_overlap": sum(alike) / count if users else 1.0,
        "mean_rbo": sum(rbo) / count if users else 1.0,
        "by_fixed_weights": {"a": fixed_a, "b": fixed_b},
        "users": shown,
    }


class _Asked:
    """States asked for lists at one time."""

    def __init__(self, config: Config, at_ms: int, total: int, told: Told) -> None:
        self._config, self._at_ms = config, at_ms
        self._total, self._done, self._told = total, 0, told

    def load(self, side: Side) -> Engine:
        """The engine with a snapshot's state."""
        self._told("ranking users", self._done, self._total)
        manifest, fold, publisher = read_snapshot(side.store, side.manifest.name)
        return Engine(config_under(self._config, manifest.structural), fold, publisher)

    def lists(self, engine: Engine, users: list[str]) -> list[list[str]]:
        """The users' lists, item ids best first."""
        found: list[list[str]] = []
        ids = engine.state.items.ids
        for first in range(0, len(users), USERS_AT_ONCE):
            some = users[first : first + USERS_AT_ONCE]
            row_U = np.array([row_of_text(engine.state.users.ids, user) for user in some], np.int64)
            lists = engine.rank(row_U, entries=LIST, at_ms=self._at_ms)
            for row_K, count in zip(lists.item_UK, lists.count_U.tolist(), strict=True):
                found.append([text_of_row(ids, int(row)) for row in row_K[:count]])
            self._done += len(some)
            self._told("ranking users", self._done, self._total)
        return found

    def all_lists(self, side: Side, users: list[str]) -> tuple[list[list[str]], bool]:
        """The users' lists from a snapshot, and whether it ranks by the weights of the start; its state is not kept."""
        engine = self.load(side)
        return self.lists(engine, users), engine.falls_back

    def all_items(self, side: Side, users: list[str]) -> list[dict[str, Item]]:
        """The candidates of users from a snapshot, which is read only if there are any; its state is not kept."""
        if not users:
            return []
        engine = self.load(side)
        return [self.items(engine, user) for user in users]

    def items(self, engine: Engine, user: str) -> dict[str, Item]:
        """All candidates of a user by id."""
        row = row_of_text(engine.state.users.ids, user)
        lists = engine.rank(np.array([row], np.int64), entries=LIST, at_ms=self._at_ms)
        if not lists.count_U[0]:
            return {}  # his window is empty: nothing was scored, and the scratch is another's
        scratch, ids = engine.scratch, engine.state.items.ids
        count = int(scratch.found[0])
        value_FC = scratch.weight_F[:, None].astype(np.float64) * scratch.feature_FC[:, :count]
        value_TC = np.vstack([value_FC[:TREND], value_FC[TREND:NEURAL].sum(axis=0), value_FC[NEURAL:]])
        logit_C = scratch.logit_C[:count]
        place_C = np.empty(count, np.int64)
        place_C[np.argsort(-logit_C, kind="stable")] = np.arange(1, count + 1)
        return {
            text_of_row(ids, int(scratch.item_C[n])): Item(
                int(place_C[n]), float(logit_C[n]), dict(zip(SHOWN_TERMS, value_TC[:, n].tolist(), strict=True))
            )
            for n in range(count)
        }


def _reasons(list_a: list[str], list_b: list[str], items_a: Mapping[str, Item], items_b: Mapping[str, Item]) -> Found:
    """What went and what came, each with its scores and the terms that changed most; where only the order differs, what moved."""
    went, came = moved(list_a, list_b)
    order = [] if went or came else [item for item, other in zip(list_a, list_b, strict=False) if item != other]

    def told(items: list[str]) -> list[Found]:
        return [_reason(item, items_a.get(item), items_b.get(item)) for item in items[:ITEMS_SHOWN]]

    return {
        "items_went": len(went),
        "items_came": len(came),
        "went": told(went),
        "came": told(came),
        "moved": told(order),
    }


def _reason(item_id: str, a: Item | None, b: Item | None) -> Found:
    terms = [
        {"term": term, "a": value_a, "b": value_b}
        for term in SHOWN_TERMS
        for value_a, value_b in [(0.0 if a is None else a.terms[term], 0.0 if b is None else b.terms[term])]
        if value_a != value_b
    ]
    terms.sort(key=lambda one: -abs(float(one["b"]) - float(one["a"])))  # type: ignore[arg-type]
    return {
        "item_id": item_id,
        "place": {"a": a and a.place, "b": b and b.place},
        "score": {"a": a and a.score, "b": b and b.score},
        "terms": terms[:TERMS_SHOWN],
    }
