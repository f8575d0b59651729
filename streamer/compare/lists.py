"""The lists of two backtests, event by event, as they stand in ``lists.jsonl``: read once, whatever their size."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from streamer.compare.values import Found, RunUnreadable, Told, moved, overlap, rank_biased_overlap

SHOWN = 10
"""Events and users told by name: those whose lists differ most."""
USERS_MAX = 100_000
"""Users whose differing lists are counted one by one: bounds the memory. Later ones are in all other figures."""
TOLD_EVERY = 1_024
"""Lines between two notes of progress."""


class Line(msgspec.Struct, frozen=True):
    """A line of ``lists.jsonl``; files of former releases have neither user nor time."""

    event: int
    items: list[str]
    user_id: str | None = None
    timestamp: int | None = None


class Pair(NamedTuple):
    """The lists of one event; ``equal`` lines have the same bytes and are not decoded."""

    equal: bool
    a: Line | None
    b: Line | None


@dataclass
class Side:
    """One file while it is read."""

    path: Path
    lines: int = 0
    read_bytes: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def raw(self) -> Iterator[bytes]:
        """The lines as they are."""
        with self.path.open("rb") as file:
            for line in file:
                self.lines += 1
                self.read_bytes += len(line)
                self._hash.update(line)
                yield line

    def decoded(self, raw: bytes) -> Line:
        """A line's list. Raises RunUnreadable."""
        try:
            return msgspec.json.decode(raw, type=Line)
        except msgspec.MsgspecError as error:
            raise RunUnreadable(
                f"{self.path}, line {self.lines}: expected a list as `streamer backtest --lists` writes it, found {error}; "
                "run the backtest again"
            ) from error

    @property
    def sha256(self) -> str:
        """Of what was read."""
        return self._hash.hexdigest()


class _Different(NamedTuple):
    """An event whose lists differ, ordered so that the one to drop first is the smallest: it differs least, then comes last."""

    lost: float
    earlier: tuple[int, int]
    a: Line
    b: Line


class _Tally:
    """What is known of the lists so far."""

    def __init__(self) -> None:
        self.compared, self.equal = 0, 0
        self.only = {"a": 0, "b": 0}
        self.overlap, self.rbo = 0.0, 0.0
        self.first: tuple[tuple[int, int], Line, Line] | None = None
        self.most: list[_Different] = []
        self.users: dict[str, tuple[int, float]] = {}
        self.users_left_out = False

    def add(self, pair: Pair) -> None:
        """Counts one event."""
        if pair.a is None or pair.b is None:
            if not pair.equal:
                self.only["a" if pair.b is None else "b"] += 1
                return
            self._same()
            return
        if pair.a.items == pair.b.items:
            self._same()
            return
        self.compared += 1
        alike = overlap(pair.a.items, pair.b.items)
        self.overlap += alike
        self.rbo += rank_biased_overlap(pair.a.items, pair.b.items)
        when = (pair.a.timestamp or 0, pair.a.event)
        if self.first is None or when < self.first[0]:
            self.first = (when, pair.a, pair.b)
        self._note(_Different(1.0 - alike, (-when[0], -when[1]), pair.a, pair.b))
        self._note_user(pair.a.user_id, alike)

    def _same(self) -> None:
        self.compared += 1
        self.equal += 1
        self.overlap += 1.0
        self.rbo += 1.0

    def _note(self, one: _Different) -> None:
        if one.a.timestamp is not None and any(_moment(one.a) == _moment(other.a) for other in self.most):
            return  # events of one user at one time have one list
        if len(self.most) < SHOWN:
            heapq.heappush(self.most, one)
        elif one[:2] > self.most[0][:2]:
            heapq.heapreplace(self.most, one)

    def _note_user(self, user_id: str | None, alike: float) -> None:
        if user_id is None:
            return
        if user_id not in self.users and len(self.users) >= USERS_MAX:
            self.users_left_out = True
            return
        count, total = self.users.get(user_id, (0, 0.0))
        self.users[user_id] = (count + 1, total + alike)


def compare_lists(a: Path, b: Path, told: Told) -> Found:
    """How alike the lists of two files are. Raises RunUnreadable for a line that is no list, OSError."""
    sides = Side(a), Side(b)
    total = a.stat().st_size + b.stat().st_size
    tally = _Tally()
    for n, pair in enumerate(_pairs(*sides), 1):
        tally.add(pair)
        if n % TOLD_EVERY == 0:
            told("comparing lists", sides[0].read_bytes + sides[1].read_bytes, total)
    told("comparing lists", total, total)
    compared = max(tally.compared, 1)
    return {
        "sha256": {"a": sides[0].sha256, "b": sides[1].sha256},
        "equal": sides[0].sha256 == sides[1].sha256 or (tally.equal == tally.compared and not any(tally.only.values())),
        "events": tally.compared,
        "only_in": tally.only,
        "differing": tally.compared - tally.equal,
        "equal_share": tally.equal / compared,
        "mean_overlap": tally.overlap / compared,
        "mean_rbo": tally.rbo / compared,
        "first": None if tally.first is None else _shown(*tally.first[1:]),
        "most": [_shown(one.a, one.b) for one in sorted(tally.most, reverse=True, key=lambda one: one[:2])],
        "users_differing": len(tally.users),
        "users_left_out": tally.users_left_out,
        "users": _users(tally.users),
    }


def _pairs(side_a: Side, side_b: Side) -> Iterator[Pair]:
    """The lists of both files by event; lines that are equal to the byte stay undecoded."""
    raws_a, raws_b = side_a.raw(), side_b.raw()
    raw_a, raw_b = next(raws_a, None), next(raws_b, None)
    while raw_a is not None or raw_b is not None:
        if raw_a == raw_b:
            yield Pair(True, None, None)
            raw_a, raw_b = next(raws_a, None), next(raws_b, None)
            continue
        a = None if raw_a is None else side_a.decoded(raw_a)
        b = None if raw_b is None else side_b.decoded(raw_b)
        takes_a = a is not None and (b is None or a.event <= b.event)
        takes_b = b is not None and (a is None or b.event <= a.event)
        yield Pair(False, a if takes_a else None, b if takes_b else None)
        raw_a = next(raws_a, None) if takes_a else raw_a
        raw_b = next(raws_b, None) if takes_b else raw_b


def _shown(a: Line, b: Line) -> Found:
    went, came = moved(a.items, b.items)
    place = next((n for n, (x, y) in enumerate(zip(a.items, b.items, strict=False), 1) if x != y), None)
    return {
        "event": a.event,
        "user_id": a.user_id,
        "timestamp": a.timestamp,
        "overlap": overlap(a.items, b.items),
        "rbo": rank_biased_overlap(a.items, b.items),
        "first_place": place or min(len(a.items), len(b.items)) + 1,
        "went": went,
        "came": came,
    }


def _moment(line: Line) -> tuple[str | None, int | None]:
    return line.user_id, line.timestamp


def _users(users: dict[str, tuple[int, float]]) -> list[Found]:
    """Those who differ most: by what their lists have lost together, then by id."""
    worst = heapq.nsmallest(SHOWN, users.items(), key=lambda one: (one[1][1] - one[1][0], one[0]))
    return [{"user_id": user_id, "lists": count, "mean_overlap": total / count} for user_id, (count, total) in worst]
