"""Ports of one life of an owner, over a log, a store and snapshots that outlive it: they fail, or the process dies, where a plan says."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from memory_log import MemoryAdmin, MemoryBroker, MemoryLog, MemoryWriter
from memory_store import MemoryStore

from consumers.owner import Ports
from consumers.reader import version_of
from consumers.work import OWNER_TOPICS
from streamer.ports import LogError, StoreError

CRASH_AT = {"poll": 40, "commit": 3, "flush": 3, "put": 200, "get": 120, "write_lists": 6, "seek": 1, "committed": 1}
"""Operations at which a process may die, and up to which call."""
PASSING = {
    "poll": LogError("the log is away", retriable=True),
    "commit": LogError("the log is away", retriable=True),
    "committed": LogError("the log is away", retriable=True),
    "bounds": LogError("the log is away", retriable=True),
    "flush": LogError("the log is away", retriable=True),
    "put": OSError(28, "No space left on device"),
}
SPEED = 10.0
"""Seconds of the simulated clock a real one."""
POLLED_MAX = 25
GROUP = "g"


class Crash(Exception):  # noqa: N818 - the end of a process is no error of its own
    """The process is dead: no call of its has any effect any more."""


@dataclass(frozen=True)
class Plan:
    """What goes wrong in one life. Calls are counted from 1; of a crash or a fault ``after``, the call has had its effect."""

    crash: tuple[str, int] | None = None
    crash_after: bool = False
    fault: tuple[str, int] | None = None
    fault_after: bool = False
    expelled_at_poll: int = 0
    store_away: range = range(0)
    """Calls of the store that fail."""


def random_plan(rng: random.Random) -> Plan:
    crash_at, fault_at = rng.choice(list(CRASH_AT)), rng.choice(list(PASSING))
    away_from = rng.randint(1, 5)
    return Plan(
        crash=(crash_at, rng.randint(1, CRASH_AT[crash_at])) if rng.random() < 0.75 else None,
        crash_after=rng.random() < 0.5,
        fault=(fault_at, rng.randint(1, CRASH_AT.get(fault_at, 2))) if rng.random() < 0.3 else None,
        fault_after=rng.random() < 0.5,
        expelled_at_poll=rng.randint(2, 30) if rng.random() < 0.2 else 0,
        store_away=range(away_from, away_from + rng.randint(1, 8)) if rng.random() < 0.3 else range(0),
    )


class Clock:
    """A wall clock that starts where it is told, and runs faster."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms, self._started_s = start_ms, time.monotonic()

    def monotonic_s(self) -> float:
        return (time.monotonic() - self._started_s) * SPEED

    def now_ms(self) -> int:
        return self._start_ms + int(self.monotonic_s() * 1_000)


class SmallCuts(random.Random):
    """Cuts polls short."""

    def randint(self, a: int, b: int) -> int:
        return super().randint(a, min(b, POLLED_MAX))


@dataclass
class MemorySnapshots:
    """A SnapshotStore in a dict."""

    blobs: dict[str, bytes] = field(default_factory=dict)

    def put(self, name: str, data: bytes) -> None:
        self.blobs[name] = bytes(data)

    def get(self, name: str) -> bytes:
        return self.blobs[name]

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in list(self.blobs) if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self.blobs.pop(name, None)

    def remove_leftovers(self) -> int:
        return 0


class WatchedStore(MemoryStore):
    """Notes each key whose version went back."""

    def __init__(self) -> None:
        super().__init__()
        self.went_back: list[bytes] = []

    def _write(self, key: bytes, payload: bytes) -> bool:
        old = self.payloads.get(key)
        accepted = super()._write(key, payload)
        if old is not None and version_of(self.payloads[key]) < version_of(old):
            self.went_back.append(key)
        return accepted


class Life:
    """One process: counts its calls and does what the plan says at each."""

    def __init__(
        self, plan: Plan, broker: MemoryBroker, store: MemoryStore, snapshots: MemorySnapshots, clock: Clock, seed: int
    ) -> None:
        self.plan = plan
        self.dead = False
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._broker = broker
        self.member = MemoryLog(broker, group=GROUP, topics=OWNER_TOPICS, exclusive=True, cuts=SmallCuts(seed))
        self.ports = Ports(
            log=_Port(self, self.member),
            admin=_Port(self, MemoryAdmin(broker)),
            dead_letters=_Port(self, MemoryWriter(broker)),
            store=_Port(self, store),
            snapshots=_Port(self, snapshots),
            clock=clock,
        )

    def call(self, operation: str, effect: Callable[[], Any]) -> Any:
        with self._lock:
            self._calls[operation] += 1
            place = (operation, self._calls[operation])
        if self.dead:
            raise Crash
        if place == ("poll", self.plan.expelled_at_poll):
            self._broker.expel(self.member)
        if operation == "write_lists" and place[1] in self.plan.store_away:
            raise StoreError("the store is away")
        if place == self.plan.crash and not self.plan.crash_after:
            self._die()
        if place == self.plan.fault and not self.plan.fault_after:
            raise PASSING[operation]
        result = effect()
        if place == self.plan.crash:
            self._die()
        if place == self.plan.fault and operation != "poll":  # what was polled and lost would be a bug of the log
            raise PASSING[operation]
        return result

    def _die(self) -> None:
        self.dead = True
        raise Crash

    def bury(self) -> None:
        """What the group does once the heartbeats of a dead process fail."""
        self._broker.expel(self.member)


class _Port:
    """Any port, each of its calls through the life."""

    def __init__(self, life: Life, inner: Any) -> None:
        self._life, self._inner = life, inner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)
        return lambda *args, **named: self._life.call(name, lambda: method(*args, **named))


def killed_lives(seed: int, most: int) -> Sequence[Plan]:
    rng = random.Random(seed)
    return [random_plan(rng) for _ in range(rng.randint(1, most))]
