"""Readable references: what kernels and the fold do, in plain Python, one record at a time, for tests to compare with."""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from dataclasses import dataclass, field

from streamer.config.tree import Config
from streamer.head.bilinear import EXTRA_TARGETS
from streamer.signals.neighbours import PLACE_DECAY, POSTINGS, QUERY_DECAY, REACH, SESSIONS
from streamer.signals.pairs import CONTEXT, FADE_HALF_LIFE, WIDE_DECAY
from streamer.signals.trends import HALF_LIVES, SOON
from streamer.windows.group import TARGETS
from streamer.windows.history import COUNT_HALF_LIFE
from streamer.windows.journal import NOTHING
from streamer.windows.users import HOUR_MS, WINDOW

NEVER = -(1 << 62)


class ReferenceDedup:
    """Two sets of ids, and per generation the watermark that each partition had when it began."""

    def __init__(self, ids_min: int, lateness_ms_max: int) -> None:
        self.ids_min = ids_min
        self.lateness_ms_max = lateness_ms_max
        self.current: set[object] = set()
        self.older: set[object] = set()
        self.current_began_ms: dict[int, int] = {}
        self.older_began_ms: dict[int, int] = {}
        self.rotations = 0
        self.watermark_ms: dict[int, int] = {}

    def rotate(self) -> None:
        """At a block boundary."""
        if len(self.current) >= self.ids_min:
            self.older, self.current = self.current, set()
            self.older_began_ms, self.current_began_ms = self.current_began_ms, dict(self.watermark_ms)
            self.rotations += 1

    def judged(self, key: object | None, partition: int, time_ms: int) -> str:
        """What the event is; changes nothing."""
        if key is not None and (key in self.current or key in self.older):
            return "duplicate"
        too_late = time_ms < self.watermark_ms.get(partition, NEVER) - self.lateness_ms_max
        unknowable = key is not None and self.rotations > 1 and time_ms <= self.older_began_ms.get(partition, NEVER)
        return "late" if too_late or unknowable else "applied"

    def note(self, key: object | None, partition: int, time_ms: int) -> None:
        """An event that is applied."""
        if key is not None:
            self.current.add(key)
        self.watermark_ms[partition] = max(self.watermark_ms.get(partition, NEVER), time_ms)

    def outcome(self, key: object | None, partition: int, time_ms: int) -> str:
        """What the event is, noted where it is applied."""
        judged = self.judged(key, partition, time_ms)
        if judged == "applied":
            self.note(key, partition, time_ms)
        return judged


class ReferenceHistory:
    """Distinct items of one user; the least recent one goes where there are too many."""

    def __init__(self, items_max: int) -> None:
        self.items_max = items_max
        self.turn: dict[int, int] = {}
        self.count: dict[int, float] = {}
        self.moved: dict[int, tuple[int, int]] = {}
        """The trends' clock and the type of event, as the caller notes them."""

    def touch(self, item: int, turn: int) -> bool:
        """Whether the item was there already."""
        known = item in self.turn
        if known:
            self.count[item] = self.count[item] * 2.0 ** (-(turn - self.turn[item]) / COUNT_HALF_LIFE) + 1.0
        else:
            if len(self.turn) >= self.items_max:
                oldest = min(self.turn, key=self.turn.__getitem__)
                del self.turn[oldest], self.count[oldest], self.moved[oldest]
            self.count[item] = 1.0
            self.moved[item] = (0, 0)
        self.turn[item] = turn
        return known

    def entries(self) -> dict[int, tuple[int, float, int, int]]:
        return {item: (self.turn[item], self.count[item], *self.moved[item]) for item in self.turn}


class ReferencePairs:
    """One direction of pairs as a dict of dicts, unbounded. Each addition to a row fades what the row holds."""

    def __init__(self) -> None:
        self.near: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        self.wide: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, row: int, item: int, near: float, wide: float) -> None:
        fade = 2.0 ** (-1.0 / FADE_HALF_LIFE)
        for counts, addition in ((self.near[row], near), (self.wide[row], wide)):
            for other in counts:
                counts[other] *= fade
            counts[item] += addition


def count_pairs(forward: ReferencePairs, reverse: ReferencePairs, context: list[int], item: int, weight: float) -> None:
    """Counts an interaction with those before it, newest first."""
    for distance, other in enumerate(context[:CONTEXT]):
        if other != item:
            near = weight if distance == 0 else 0.0
            wide = weight * WIDE_DECAY**distance
            forward.add(other, item, near, wide)
            reverse.add(item, other, near, wide)


class ReferenceTrends:
    """What each interaction added at each half-life, all kept; popularity is summed anew at each question."""

    def __init__(self) -> None:
        self.clock = 0
        self.added: list[tuple[int, object, list[float]]] = []
        self.held: dict[tuple[object, object], tuple[float, int]] = {}

    def count(self, user: object, item: object, weight: float) -> None:
        """An interaction fills up what its user holds of the item; the clock stands still for one that comes at once again."""
        held, touched = self.held.get((user, item), (0.0, 0))
        if held == 0.0 or self.clock - touched >= SOON:
            self.clock += 1
        kept = [held * 2.0 ** (-(self.clock - touched) / half_life) for half_life in HALF_LIVES]
        self.added.append((self.clock, item, [max(weight - part, 0.0) for part in kept]))
        self.held[user, item] = (max(held, weight), self.clock)

    def values(self, half: int) -> dict[object, float]:
        """The decayed count of every item, now."""
        values: dict[object, float] = defaultdict(float)
        for tick, item, added in self.added:
            values[item] += added[half] * 2.0 ** (-(self.clock - tick) / HALF_LIVES[half])
        return values


def reference_neighbours(entries: list[tuple[int, int]], context: list[int], user: int) -> dict[int, tuple[float, float]]:
    """What neighbour sessions say after and before their matches, by item; ``entries`` are (user, item), oldest first, NOTHING for what is gone."""
    likeness: dict[int, float] = {}
    match: dict[int, int] = {}
    for n, wanted in enumerate(context):
        postings = [at for at in reversed(range(len(entries))) if entries[at][1] == wanted][:POSTINGS]
        for at in postings:
            other = entries[at][0]
            if other != user:
                likeness[other] = likeness.get(other, 0.0) + QUERY_DECAY**n
                match.setdefault(other, at)
    most_like = sorted(likeness, key=lambda other: -likeness[other])[:SESSIONS]
    total = sum(likeness[other] for other in most_like)
    found: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for other in most_like:
        sequence = [at for at in range(len(entries)) if entries[at][0] == other]
        middle = sequence.index(match[other])
        around = (sequence[middle + 1 : middle + 1 + REACH], sequence[max(0, middle - REACH) : middle][::-1])
        for side, places in enumerate(around):
            for d, at in enumerate(places):
                if entries[at][1] != NOTHING:
                    found[entries[at][1]][side] += likeness[other] / total * PLACE_DECAY**d
    return {item: (after, before) for item, (after, before) in found.items()}


@dataclass
class ReferenceUser:
    window: deque[tuple[str, int, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    hour: int = 0
    taken: int = 0


class ReferenceFold:
    """Counters, windows and dedup of the fold: records as they come off the log, JSON and all."""

    TYPES = ("impression", "view", "click", "cart", "purchase")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.applied = dict.fromkeys(self.TYPES, 0)
        self.other = dict.fromkeys(("duplicate", "late", "rejected", "lost", "clamped", "capped", "forgotten"), 0)
        self.users: dict[str, ReferenceUser] = {}
        self.forgotten_ms: dict[str, int] = {}
        self.dedup = ReferenceDedup(config.windows.dedup_ids_min, config.windows.lateness_ms_max)
        self.blocks = 0
        self._block = [0, 0, 0]  # records, examples, time of the first
        self._group: tuple[str, int] | None = None
        self._group_moves: list[bool] = []
        self._group_length = 0

    def counters(self) -> dict[str, object]:
        return {"applied": self.applied, **self.other}

    def take(self, topic: str, partition: int, key: bytes, value: bytes | None, append_ms: int) -> None:
        """Folds one record."""
        if topic == "events":
            self._event(partition, value, append_ms)
        elif topic == "forget":
            self._forget(key.decode(), json.loads(value)["timestamp"] if value else append_ms)

    def _event(self, partition: int, value: bytes | None, append_ms: int) -> None:
        try:
            event = json.loads(value or b"")
        except ValueError:
            self.other["rejected"] += 1
            return
        time_ms, user = event["timestamp"], event["user_id"]
        clamped = time_ms > append_ms + self.config.windows.clock_ahead_ms_max
        time_ms = append_ms if clamped else time_ms
        key = (user, event["event_id"]) if "event_id" in event else None
        outcome = "forgotten" if time_ms <= self.forgotten_ms.get(user, NEVER) else self.dedup.judged(key, partition, time_ms)
        if outcome == "applied" and self._block_is_due(time_ms):
            self._close_block()
            outcome = self.dedup.judged(key, partition, time_ms)
        if outcome != "applied":
            self.other[outcome] += 1
            return
        self.other["clamped"] += clamped
        self.dedup.note(key, partition, time_ms)
        self._apply(event, user, time_ms)

    def _apply(self, event: dict, user: str, time_ms: int) -> None:
        kind = self.TYPES.index(event["type"])
        self.applied[event["type"]] += 1
        if self._block[0] == 0:
            self._block[2] = time_ms
        self._block[0] += 1
        if event["type"] == "impression":
            if user in self.users:
                self._moves(self.users[user], time_ms)
            return
        items = event["item_ids"] if event["type"] == "purchase" and "item_ids" in event else [event["item_id"]]
        state = self.users.setdefault(user, ReferenceUser())
        for item in items:
            if self._group is not None and (self._group != (user, time_ms) or len(self._group_moves) == TARGETS):
                self._close_group()
            if self._group is None:
                self._group, self._group_length = (user, time_ms), len(state.window)
            self._group_moves.append(self._moves(state, time_ms))
            state.window.append((item, kind, time_ms))

    def _moves(self, state: ReferenceUser, time_ms: int) -> bool:
        if time_ms // HOUR_MS > state.hour:
            state.hour, state.taken = time_ms // HOUR_MS, 0
        moves = state.taken < self.config.signals.user_contributions_per_hour_max
        state.taken += moves
        self.other["capped"] += not moves
        return moves

    def _close_group(self) -> None:
        room = self.config.head.block_records + EXTRA_TARGETS
        for at, moves in enumerate(self._group_moves):
            if moves and self._group_length + at > 0 and self._block[1] < room:
                self._block[1] += 1
        self._group, self._group_moves = None, []

    def _block_is_due(self, time_ms: int) -> bool:
        records, examples, first_ms = self._block
        full = max(records, examples) >= self.config.head.block_records
        return records > 0 and (full or time_ms > first_ms + self.config.head.block_ms_max)

    def _close_block(self) -> None:
        self._block = [0, 0, 0]
        self.blocks += 1
        self.dedup.rotate()

    def _forget(self, user: str, until_ms: int) -> None:
        self.forgotten_ms[user] = max(self.forgotten_ms.get(user, NEVER), until_ms)
        self.users.pop(user, None)
        if self._group is not None and self._group[0] == user:
            self._group, self._group_moves = None, []


def log_likelihood_of_gate(logits: list[float], wanted: list[int]) -> float:
    """Mean log-probability of the targets under the softmax of the candidates."""
    top = max(logits)
    total = top + math.log(sum(math.exp(logit - top) for logit in logits))
    return sum(logits[place] - total for place in wanted) / len(wanted)
