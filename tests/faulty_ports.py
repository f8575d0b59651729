"""Ports of one life of an owner, over a log, a store and snapshots that outlive it: they fail, stall, or the process dies, where a plan says."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from memory_log import MemoryAdmin, MemoryBroker, MemoryLog, MemoryReader, MemoryWriter
from memory_store import MemoryStore
from steps import HandClock, Steps

from consumers.owner import Ports
from consumers.reader import version_of
from consumers.work import OWNER_TOPICS
from streamer.ports import LogError, StoreError

CALLS = {"poll": 30, "commit": 3, "flush": 3, "put": 200, "get": 120, "write_lists": 6, "seek": 1, "committed": 1, "bounds": 2}
"""Operations at which something may go wrong, and up to which call."""
AWAY = LogError("the log is away", retriable=True)
PASSING = {
    "poll": AWAY,
    "commit": AWAY,
    "committed": AWAY,
    "bounds": AWAY,
    "flush": AWAY,
    "put": OSError(28, "No space left on device"),
}
SPEED = 10.0
"""Seconds of the simulated clock a real one."""
POLLED_MAX = 25
POLL_S_MAX = 0.05
GROUP = "g"


class Crash(Exception):  # noqa: N818 - the end of a process is no error of its own
    """The process is dead: no call of its has any effect any more."""


@dataclass(frozen=True)
class Plan:
    """What goes wrong in one life. Calls are counted from 1; of a crash or a fault ``after``, the call has had its effect."""

    crash: tuple[str, int] | None = None
    crash_after: bool = False
    stall: tuple[str, int] | None = None
    """Here it sleeps until another has owned the log; then it goes on as if nothing had been."""
    outage: tuple[str, range] | None = None
    fault_after: bool = False
    expelled_at_poll: int = 0
    stopped_at_poll: int = 0
    wiped_at_poll: int = 0
    copied_at_poll: int = 0
    older_at_poll: int = 0
    """The store then is what it was when it was copied."""
    store_away: range = range(0)
    """Calls of the store that fail."""
    put_s: float = 0.0
    """How long a file takes."""

    @property
    def disturbs(self) -> bool:
        """Whether it has anything that goes wrong."""
        return self != Plan()


def random_plan(rng: random.Random) -> Plan:
    def place(operations: list[str]) -> tuple[str, int]:
        operation = rng.choice(operations)
        return operation, rng.randint(1, CALLS[operation])

    def at_poll(share: float) -> int:
        return rng.randint(2, 30) if rng.random() < share else 0

    operation, first = place(list(PASSING))
    away_from, copied = rng.randint(1, 5), at_poll(0.3)
    return Plan(
        crash=place(list(CALLS)) if rng.random() < 0.75 else None,
        crash_after=rng.random() < 0.5,
        stall=place(list(CALLS)) if rng.random() < 0.3 else None,
        outage=(operation, range(first, first + rng.randint(1, 4))) if rng.random() < 0.3 else None,
        fault_after=rng.random() < 0.5,
        expelled_at_poll=at_poll(0.2),
        stopped_at_poll=at_poll(0.1),
        wiped_at_poll=at_poll(0.1),
        copied_at_poll=copied,
        older_at_poll=copied and copied + rng.randint(1, 10),
        store_away=range(away_from, away_from + rng.randint(1, 8)) if rng.random() < 0.3 else range(0),
        put_s=rng.choice([0.0, 0.0, 0.0, 0.001, 0.1]),
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
    """A SnapshotStore in a dict; ``archive`` keeps all that was ever written, whatever becomes of it."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    archive: dict[str, bytes] = field(default_factory=dict)

    def put(self, name: str, data: bytes) -> None:
        self.blobs[name] = self.archive[name] = bytes(data)

    def put_all(self, blobs: Mapping[str, bytes]) -> None:
        for name, data in blobs.items():
            self.put(name, data)

    def get(self, name: str) -> bytes:
        return self.blobs[name]

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.blobs if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self.blobs.pop(name, None)

    def remove_leftovers(self) -> int:
        return 0

    def damage(self, rng: random.Random) -> None:
        """A file is lost, cut, or has a flipped bit."""
        name = rng.choice(sorted(self.blobs))
        data = bytearray(self.blobs[name])
        match rng.choice(["lost", "cut", "flipped"]):
            case "lost":
                del self.blobs[name]
                return
            case "cut":
                del data[rng.randrange(len(data) + 1) :]
            case "flipped" if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        self.blobs[name] = bytes(data)


class WatchedStore(MemoryStore):
    """Notes each key whose version went back, other than by losing what it held."""

    def __init__(self) -> None:
        super().__init__()
        self.went_back: list[bytes] = []
        self._copy: dict[bytes, bytes] = {}

    def _write(self, key: bytes, payload: bytes) -> bool:
        old = self.payloads.get(key)
        accepted = super()._write(key, payload)
        if old is not None and version_of(self.payloads[key]) < version_of(old):
            self.went_back.append(key)
        return accepted

    def copy(self) -> None:
        self._copy = dict(self.payloads)

    def be_the_copy(self) -> None:
        self.payloads = dict(self._copy)


class Life:
    """One process: counts its calls and does what the plan says at each."""

    def __init__(
        self,
        plan: Plan,
        broker: MemoryBroker,
        store: WatchedStore,
        snapshots: MemorySnapshots,
        clock: HandClock,
        seed: int,
        while_stalled: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.met: Counter[str] = Counter()
        """The faults that came about; of a plan, those of calls that were never made did not."""
        self.dead = False
        self.stop = threading.Event()
        self._rng = random.Random(seed)
        self.steps = Steps(self._rng, clock)
        self._calls: Counter[str] = Counter()
        self._broker = broker
        self._store = store
        self._clock = clock
        self._while_stalled = while_stalled
        self.member = MemoryLog(broker, group=GROUP, topics=OWNER_TOPICS, exclusive=True, cuts=SmallCuts(seed))
        self.ports = Ports(
            log=_Port(self, self.member),
            admin=_Port(self, MemoryAdmin(broker)),
            open_reader=lambda: _Port(self, MemoryReader(broker)),
            dead_letters=_Port(self, MemoryWriter(broker)),
            store=_Port(self, store),
            snapshots=_Port(self, snapshots),
            clock=clock,
        )

    def call(self, operation: str, effect: Callable[[], Any]) -> Any:
        self._calls[operation] += 1
        place = (operation, self._calls[operation])
        if self.dead:
            raise Crash
        self._happens(place)
        if place == self.plan.stall:
            self.met["zombies"] += 1
            self._broker.expel(self.member)
            self._while_stalled()
        fails = self.plan.outage is not None and operation == self.plan.outage[0] and place[1] in self.plan.outage[1]
        if place == self.plan.crash and not self.plan.crash_after:
            self._die()
        if fails and not self.plan.fault_after:
            self._fail(operation)
        result = effect()
        if place == self.plan.crash:
            self._die()
        if fails and operation != "poll":  # what was polled and lost would be a bug of the log
            self._fail(operation)
        return result

    def _fail(self, operation: str) -> NoReturn:
        self.met["outage"] += 1
        raise PASSING[operation]

    def _happens(self, place: tuple[str, int]) -> None:
        """What comes from outside at this call."""
        operation, number = place
        plan = self.plan
        if operation == "write_lists" and number in plan.store_away:
            self.met["store away"] += 1
            raise StoreError("the store is away")
        if operation == "put" and plan.put_s:
            self.met["slow files"] = 1
            self._clock.advance(plan.put_s)
        if operation != "poll":
            return
        self._clock.advance(self._rng.random() * POLL_S_MAX)
        self.steps.go_on()
        events = {
            "expelled": (plan.expelled_at_poll, lambda: self._broker.expel(self.member)),
            "stopped": (plan.stopped_at_poll, self.stop.set),
            "wiped": (plan.wiped_at_poll, self._store.payloads.clear),
            "copied": (plan.copied_at_poll, self._store.copy),
            "fallen back": (plan.older_at_poll, self._store.be_the_copy),
        }
        for name, (when, happen) in events.items():
            if number == when:
                self.met[name] += 1
                happen()

    def _die(self) -> NoReturn:
        self.met["crash"] += 1
        self.dead = True
        raise Crash

    def bury(self) -> None:
        """What the group does once the heartbeats of a dead process fail."""
        self._broker.expel(self.member)


class _Port:
    """Any port, each of its calls through the life. A poll waits for nothing: time moves by hand."""

    def __init__(self, life: Life, inner: Any) -> None:
        self._life, self._inner = life, inner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)
        if name == "poll":
            return lambda timeout_ms, *, paused=False: self._life.call(name, lambda: method(0 * timeout_ms, paused=paused))
        if name == "put_all":  # one after the other, so that a process may die between any two
            return lambda blobs: [self.put(blob, data) for blob, data in blobs.items()]
        return lambda *args, **named: self._life.call(name, lambda: method(*args, **named))
