"""What is left of users who asked to be forgotten: looked for everywhere, and told with when each remainder goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from consumers.dead_topic import DeadTopic
from consumers.forgetting import Request, users_named
from streamer.config.tree import Config
from streamer.events.model import DEAD, EVENTS, FORGET
from streamer.ports import RecommendationStore, SnapshotStore, StoreError, TopicInfo
from streamer.snapshots import Manifest
from streamer.snapshots.chunks import read_tables
from streamer.snapshots.manifest import SnapshotDamaged, positions_of
from streamer.tables.ids import SEPARATOR, id_table_in, row_of_bytes

DAY_MS = 86_400_000
THINNED_TIMES_HISTORY = 4
"""What is thinned by age is gone at the latest when it is so many times as old as ``snapshots.history_days``."""


class Mark(StrEnum):
    """What is the case at one place."""

    ERASED = "erased"
    """Looked for and not there, or never there."""
    PENDING = "pending"
    """There, and a running worker takes it away by itself."""
    REMAINS = "remains"
    """There until ``gone_ms``; None: until somebody deletes it."""
    UNKNOWN = "unknown"
    """Could not be looked at."""


class Trace(NamedTuple):
    """One place, what is there, and when it is gone at the latest (epoch ms)."""

    place: str
    mark: Mark
    what: str
    gone_ms: int | None = None


@dataclass(slots=True)
class Erased:
    """One user: his newest request (None: the log has none), and what was found of him."""

    user_id: str
    request: Request | None
    traces: list[Trace] = field(default_factory=list)

    @property
    def mark(self) -> Mark:
        """The worst of all places."""
        order = (Mark.UNKNOWN, Mark.PENDING, Mark.REMAINS)
        return next((mark for mark in order if any(trace.mark is mark for trace in self.traces)), Mark.ERASED)


@dataclass(frozen=True, slots=True)
class Statement:
    """All of it, at one moment; ``everybody`` is what holds of each of the users."""

    namespace: str
    made_ms: int
    users: list[Erased]
    everybody: list[Trace]


def has_list(store: RecommendationStore, user_id: str) -> bool:
    """Whether the store has a list of the user's own with entries. Raises StoreError."""
    found = store.read(user_id)
    return found is not None and found.personal and bool(found.items)


def held_by(store: SnapshotStore, manifest: Manifest, user_ids: AbstractSet[bytes]) -> set[bytes]:
    """Which of the users a snapshot holds: in a row, or as one whose list is still to be erased; all, where it can't be read."""
    try:
        tables = read_tables(store, manifest, lambda name: name.startswith("users.ids.") or name == "published.erasing")
    except SnapshotDamaged:
        return set(user_ids)
    ids = id_table_in(tables, "users.ids", 64)
    erasing = bytes(tables.get("published.erasing", np.zeros(0, np.uint8))).split(bytes([SEPARATOR]))
    return {user_id for user_id in user_ids if row_of_bytes(ids, user_id) >= 0 or user_id in erasing}


class Eraser:
    """Looks for users, in each place once for all of them. Ids are as the log has them."""

    def __init__(self, config: Config, user_ids: Sequence[str], requests: Mapping[bytes, Request], made_ms: int) -> None:
        self._config = config
        self._users = [Erased(user_id, requests.get(user_id.encode())) for user_id in user_ids]
        self._by_id = {user.user_id.encode(): user for user in self._users}
        self._made_ms = made_ms

    def look_at_state(self, offsets: Mapping[str, Mapping[str, int]] | None) -> None:
        """In the owner's state, given the next offsets that it says it has applied; None: nobody could be asked."""
        for user in self._users:
            if user.request is None:
                mark, what = Mark.UNKNOWN, "nobody asked to forget this user: nothing is erased"
            elif offsets is None:
                mark, what = (
                    Mark.UNKNOWN,
                    "no owner could be asked; the next one applies the request before it publishes a list",
                )
            elif offsets.get(FORGET, {}).get(str(user.request.place.partition), 0) > user.request.offset:
                mark, what = Mark.ERASED, "the owner has applied the request: window, history, impressions, journal, id"
            else:
                mark, what = Mark.PENDING, "the owner has not come to the request yet"
            user.traces.append(Trace("state", mark, what))

    def look_at_lists(self, store: RecommendationStore) -> None:
        """In the store of lists."""
        for user in self._users:
            place = f"list {self._config.namespace}:v1:rec:{user.user_id}"
            try:
                there = has_list(store, user.user_id)
            except StoreError as error:
                user.traces.append(Trace(place, Mark.UNKNOWN, str(error)))
                continue
            what = "a list is there: the owner erases it once the store takes it" if there else "no list, or an empty one"
            user.traces.append(Trace(place, Mark.PENDING if there else Mark.ERASED, what))

    def no_lists(self, why: str) -> None:
        """The store of lists can't be looked at."""
        for user in self._users:
            user.traces.append(Trace("list", Mark.UNKNOWN, why))

    def look_at_snapshots(
        self, store: SnapshotStore, manifests: Sequence[Manifest], committed: str | None
    ) -> dict[str, set[bytes]]:
        """In every complete snapshot; returns by name whom it holds."""
        holds = {manifest.name: held_by(store, manifest, self._by_id.keys()) for manifest in manifests}
        for user in self._users:
            user_id = user.user_id.encode()
            for manifest in manifests:
                if user_id in holds[manifest.name]:
                    user.traces.append(self._of_snapshot(manifest, user.request, committed))
            if not any(user_id in held for held in holds.values()):
                user.traces.append(Trace("snapshots", Mark.ERASED, f"none of {len(manifests)} holds the id"))
        return holds

    def _of_snapshot(self, manifest: Manifest, request: Request | None, committed: str | None) -> Trace:
        place, snapshots = f"snapshot {manifest.name}", self._config.snapshots
        after = request is not None and positions_of(manifest).get(request.place, 0) > request.offset
        if after:
            return Trace(place, Mark.PENDING, "written after the request: he came back since, or his list waits for the store")
        if manifest.name == committed:
            return Trace(place, Mark.PENDING, "the one in force; a worker that applied the request writes another one")
        days = THINNED_TIMES_HISTORY * snapshots.history_days
        gone_ms = manifest.created_ms + max(days * DAY_MS, snapshots.keep * snapshots.interval_ms)
        what = "older than the request; as long as a worker writes snapshots it goes by then, or now with --drop-snapshots"
        return Trace(place, Mark.REMAINS, what, gone_ms)

    def look_at_letters(self, dead: DeadTopic, topics: Mapping[str, TopicInfo]) -> None:
        """Among dead letters: which nobody can take off the log one by one."""
        letters: Counter[bytes] = Counter()
        newest_ms: dict[bytes, int] = {}
        for letter, _ in dead.letters():
            for user_id in users_named(letter.key, letter.value) & self._by_id.keys():
                letters[user_id] += 1
                newest_ms[user_id] = max(newest_ms.get(user_id, 0), letter.append_ms)
        kept_ms = topics[DEAD].kept_ms if DEAD in topics else None
        for user_id, user in self._by_id.items():
            if not letters[user_id]:
                user.traces.append(Trace("dead letters", Mark.ERASED, "none"))
                continue
            gone_ms = None if kept_ms is None else newest_ms[user_id] + kept_ms
            what = f"{letters[user_id]} on {self._full(DEAD)}: `dead-letters` does not show them, `redrive` does not send them"
            user.traces.append(Trace("dead letters", Mark.REMAINS, what, gone_ms))

    def look_at_log(self, topics: Mapping[str, TopicInfo]) -> None:
        """On the log, where each record stays until retention takes it."""
        kept_ms = topics[EVENTS].kept_ms if EVENTS in topics else None
        for user in self._users:
            arrived_ms = self._made_ms if user.request is None else user.request.append_ms
            gone_ms = None if kept_ms is None else arrived_ms + kept_ms
            what = (
                f"what came for him on {self._full(EVENTS)} before the request; it is applied no more, whatever is read again"
            )
            user.traces.append(Trace("log", Mark.REMAINS, what, gone_ms))

    def statement(self) -> Statement:
        """What was found."""
        return Statement(self._config.namespace, self._made_ms, self._users, self._everybody())

    def _everybody(self) -> list[Trace]:
        forget = (
            f"the request itself, on {self._full(FORGET)} (compacted, key: the id): a state made anew from the log needs it"
        )
        return [
            Trace("request", Mark.REMAINS, forget),
            Trace(
                "hashes",
                Mark.REMAINS,
                "in the state, a hash of the id and the time of the request: older events of his stay out",
            ),
            Trace("event ids", Mark.REMAINS, "in the state, hashes of user and event id: gone after two generations of them"),
            Trace(
                "counts",
                Mark.REMAINS,
                "his part in counts and learned weights of items: sums over all users, which name nobody",
            ),
            Trace(
                "copies",
                Mark.UNKNOWN,
                "backups of snapshots, log and store (AOF, RDB), recordings, logs of processes: look there",
            ),
        ]

    def _full(self, topic: str) -> str:
        return self._config.kafka.topic_prefix + topic
