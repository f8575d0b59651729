"""The console's watch: once a second it reads the worker's numbers, keeps the history and what happened, and tells every page that listens.

A thread of its own, off the hot path. Pages get the newest frame and no others: whoever is slow misses some, and nobody waits for him.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumers.console.families import FAMILIES, summed
from consumers.console.history import SPANS, History, Reading, recent_ndcg
from consumers.console.looks import Weights, weights
from consumers.console.verdict import DRIFTS, LOOKED_BACK_S, Finding, Sight, drift_words, verdict
from consumers.measurements import Durations, Measurements
from consumers.owner import Owner
from consumers.questions import NoAnswer
from streamer import __version__
from streamer.config.tree import Config
from streamer.events.model import EVENTS
from streamer.ports import Clock
from streamer.ranking.scratch import TERMS

logger = logging.getLogger(__name__)

LISTENERS_MAX = 8
"""Pages that are told at once; one more is refused."""
EVERY_S = 1.0
WEIGHTS_TIMEOUT_S = 0.5
JOURNAL_MAX = 100
HEARTBEAT_S = 5.0


class Happened(NamedTuple):
    """Something that changed, and when."""

    at_ms: int
    level: str
    text: str


class Listening:
    """A stream of a page that listens, until it is closed."""

    def __init__(self, parts: Iterator[bytes], left: Callable[[], None]) -> None:
        self._parts = parts
        self._left: Callable[[], None] | None = left

    def __iter__(self) -> Iterator[bytes]:
        """Its parts."""
        return self._parts

    def close(self) -> None:
        """It listens no more."""
        left, self._left = self._left, None
        if left is not None:
            left()


class Watch:
    """From ``start`` to ``close``. ``frame``, ``rows`` and ``listen`` are for any thread."""

    def __init__(
        self, owner: Owner, measurements: Measurements, config: Config, clock: Clock, more: Callable[[], dict[str, Any]] = dict
    ) -> None:
        """``more`` is said in every frame beside what is watched."""
        self.history = History(FAMILIES)
        self._owner = owner
        self._measured = measurements
        self._config = config
        self._clock = clock
        self._more = more
        self._journal: deque[Happened] = deque(maxlen=JOURNAL_MAX)
        self._before: dict[str, Any] = {}
        self._lately: deque[NDArray[np.int64]] = deque(maxlen=LOOKED_BACK_S)
        """The histogram of freshness, of each look within the last minute."""
        self._since_ms = self._started_ms = clock.now_ms()
        self._weights: list[Weights] = []
        self._frame = b""
        self._number = 0
        self._listeners = 0
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._look()
        self._thread.start()

    def close(self) -> None:
        """Ends the watch, and every stream."""
        self._stop.set()
        with self._news:
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def frame(self) -> bytes:
        """The newest, as JSON."""
        return self._frame

    def listen(self) -> Listening | None:
        """A stream of server-sent events, from the present frame on; None where as many listen as may."""
        with self._news:
            if self._listeners >= LISTENERS_MAX:
                return None
            self._listeners += 1
        return Listening(self._events(), self._left)

    def _left(self) -> None:
        with self._news:
            self._listeners -= 1

    def _events(self) -> Iterator[bytes]:
        seen = -1
        yield b"retry: 3000\n\n"
        while not self._stop.is_set():
            with self._news:
                if self._number == seen:
                    self._news.wait(HEARTBEAT_S)
                number, frame = self._number, self._frame
            if number == seen:
                yield b": heartbeat\n\n"
            else:
                seen = number
                yield b"event: state\ndata: " + frame + b"\n\n"

    def _run(self) -> None:
        next_s = time.monotonic() + EVERY_S
        while not self._stop.wait(max(0.0, next_s - time.monotonic())):
            next_s = max(next_s + EVERY_S, time.monotonic())
            try:
                self._look()
            except Exception:
                logger.exception("the console could not read the worker's numbers; it tries again")

    def _look(self) -> None:
        now_ms = self._clock.now_ms()
        status = self._owner.status()
        self._ask_weights()
        reading = self._reading(now_ms, status.role == "owner", dict(status.lag).get(EVENTS), status.counters)
        self.history.add(reading)
        self._note_changes(now_ms, status.role, status.generation, status.epoch)
        frame = msgspec.json.encode(self._said(now_ms, reading))
        with self._news:
            self._frame, self._number = frame, self._number + 1
            self._news.notify_all()

    def _ask_weights(self) -> None:
        questions = self._owner.questions
        if questions is None:
            self._weights = []
            return
        try:
            self._weights = questions.ask(weights, WEIGHTS_TIMEOUT_S)
        except NoAnswer:
            logger.debug("the fold was busy: the gate's weights are those of before")

    def _reading(self, now_ms: int, owns: bool, lag: dict[str, int] | None, counters: dict[str, object] | None) -> Reading:
        measured = self._measured
        applied = (counters or {}).get("applied")
        known = next((one for one in self._weights if one.who == "with a full window"), None)
        return Reading(
            at_ms=now_ms,
            applied=sum(applied.values()) if isinstance(applied, dict) else None,
            dead=sum(dict(measured.rejected).values()),
            freshness_B=np.array(measured.freshness.count_B),
            lag=sum(lag.values()) if owns and lag is not None else None,
            unpublished=measured.lists_unpublished if owns else None,
            event_time_ms=measured.event_time_ms,
            quality=dict(measured.quality) if owns else {},
            served=dict(measured.served) if owns else {},
            term_T=np.array(measured.term_T),
            weights=summed(known.weight) if known else {},
            snapshot_ms=measured.snapshot_ms,
        )

    def _note_changes(self, now_ms: int, role: str, generation: int | None, epoch: int | None) -> None:
        measured = self._measured
        now = {
            "role": role,
            "generation": generation if role == "owner" else None,
            "epoch": epoch if role == "owner" else None,
            "store": measured.store_fault is not None,
            "log": measured.log_fault is not None,
            "frozen": (measured.frozen or {}).get("by"),
            "falls_back": measured.falls_back,
            "went_back": measured.went_back,
            "snapshot_failures": measured.snapshot_failures,
            **{f"drift of {name}": drift.alarms for name, drift in dict(measured.drift).items()},
        }
        before, self._before = self._before or dict.fromkeys(now), now
        for name, value in now.items():
            if value != before.get(name):
                said = self._in_words(name, value, before.get(name))
                if said is not None:
                    self._journal.appendleft(Happened(now_ms, *said))
        if now["role"] != before.get("role"):
            self._since_ms = now_ms

    def _in_words(self, name: str, now: Any, before: Any) -> tuple[str, str] | None:
        measured = self._measured
        match name:
            case "role":
                words = {
                    "starting": "this process started",
                    "owner": f"became the owner (it took {measured.restore_s:.1f} s to restore)",
                    "standby": "stands by: another worker owns the stream",
                    "restoring": "owns the stream and restores its state",
                }
                return ("note", words.get(now, f"{now}"))
            case "generation" if now is not None and before is not None:
                return ("note", f"owns the stream anew, under generation {now}")
            case "epoch" if now is not None and before is not None:
                return (
                    "note",
                    "a new epoch: what was learned was rolled back, or the store held newer lists; every list is written anew",
                )
            case "store":
                return (
                    ("bad", f"the store fails: {measured.store_fault}")
                    if now
                    else ("good", "the store takes lists again")
                    if before
                    else None
                )
            case "log":
                return (
                    ("bad", f"the log fails: {measured.log_fault}")
                    if now
                    else ("good", "the log answers again")
                    if before
                    else None
                )
            case "frozen":
                return ("warn", f"learning was frozen, by {now}") if now else ("good", "learning goes on")
            case "falls_back":
                return (
                    ("warn", "lists come from fixed weights")
                    if now
                    else ("good", "lists come from learned weights again")
                    if before
                    else None
                )
            case "went_back" if now:
                return ("warn", "the fold failed at a record and went back to the last snapshot to leave it out")
            case "snapshot_failures" if now:
                return ("warn", "a snapshot could not be written or committed")
            case _ if now and name.startswith("drift of "):
                stream = name.removeprefix("drift of ")
                return ("note", f"drift: {drift_words(stream, measured.drift[stream])}")
        return None

    def _fresh_lately(self, count_B: NDArray[np.int64]) -> tuple[float, float] | None:
        """From an event to its list, half and 99 %, of lists written within the last minute; None where none was."""
        self._lately.append(count_B)
        lately = Durations()
        lately.count_B = count_B - self._lately[0]
        return (lately.quantile(0.5), lately.quantile(0.99)) if lately.count_B.sum() else None

    def _said(self, now_ms: int, reading: Reading) -> dict[str, Any]:
        """A frame."""
        status, measured = self._owner.status(), self._measured
        rows = self.history.rows(SPANS[0].name)[-LOOKED_BACK_S:]
        fresh_s = self._fresh_lately(reading.freshness_B)
        found = verdict(Sight(status, measured, self._config, rows, now_ms, self._since_ms, fresh_s))
        return {
            "now_ms": now_ms,
            "started_ms": self._started_ms,
            "version": __version__,
            "namespace": status.namespace,
            "role": status.role,
            "generation": status.generation,
            "epoch": status.epoch,
            "verdict": {
                "level": found.level,
                "title": found.title,
                "text": found.text,
                "findings": list(map(_finding, found.findings)),
            },
            "row": self.history.newest(),
            "fresh_s": fresh_s,
            "counters": status.counters,
            "lag": status.lag,
            "lag_s": measured.lag_s(now_ms) if status.role == "owner" else None,
            "drift": [
                {"stream": name, "what": DRIFTS.get(name, f"{name}s"), **dataclasses.asdict(drift)}
                for name, drift in dict(measured.drift).items()
            ],
            "exposure": {kind: shares._asdict() for kind, shares in dict(measured.shares).items()},
            "lists": status.lists,
            "lists_written": measured.lists_written,
            "refresh_ms_max": self._config.ranking.refresh_ms_max,
            "quality": _quality(reading),
            "served": reading.served,
            "weights": [one._asdict() for one in self._weights],
            "terms": TERMS,
            "rejected": dict(measured.rejected),
            "users": measured.users,
            "items": measured.items,
            "head_steps": measured.head_steps,
            "frozen": measured.frozen,
            "takeovers": measured.takeovers,
            "snapshot": {
                "name": status.snapshot,
                "written_ms": measured.snapshot_ms or None,
                "bytes": measured.snapshot_bytes,
                "write_s": measured.snapshot_write_s,
                "pause_s": measured.snapshot_pause.quantile(0.99),
                "failures": measured.snapshot_failures,
                "interval_ms": self._config.snapshots.interval_ms,
            },
            "journal": [one._asdict() for one in self._journal],
            **self._more(),
        }


def _finding(one: Finding) -> dict[str, str]:
    return {"level": one.level, "what": one.what, "todo": one.todo}


def _quality(reading: Reading) -> dict[str, dict[str, float | None]]:
    """By method: since the beginning, and lately."""
    return {
        method: {
            "judged": sums.get("judged", 0.0),
            "hr": sums["hits"] / sums["judged"] if sums.get("judged") else None,
            "ndcg": sums["ndcg"] / sums["judged"] if sums.get("judged") else None,
            "recent": recent_ndcg(sums),
        }
        for method, sums in reading.quality.items()
    }
