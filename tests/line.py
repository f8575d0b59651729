"""The whole line on real parts: a log, a Valkey server, and workers as processes, each with the settings of one test."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from command import EXECUTABLE, Here
from kafka_server import _die_with_parent

from consumers.compose import open_admin, open_writer
from consumers.work import OWNER_TOPICS
from producers.formats import Recorded, in_time_order, read_events, read_items
from producers.recordings import movielens_100k
from producers.replay import replay_records
from streamer.events.model import EVENTS

DEADLINE_S = 120.0
LOOK_S = 0.01
VERSION = re.compile(r"[0-9]{13}-[0-9]{20}")


@functools.cache
def movielens_events() -> list[Recorded]:
    """100,000 real events in the order of their times."""
    return in_time_order(read_events(movielens_100k().events))


@functools.cache
def movielens_items() -> list[Recorded]:
    return list(read_items(movielens_100k().items))


def users_of(records: Iterable[Recorded]) -> set[str]:
    return {record.key.decode() for record in records if record.key}


def wait_until(condition: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S) -> float:
    """Seconds until the condition held."""
    started = time.monotonic()
    pause = threading.Event()
    while not condition():
        assert time.monotonic() - started < deadline_s, f"not within {deadline_s:.0f} s: {what}"
        pause.wait(LOOK_S)
    return time.monotonic() - started


class Process:
    """A worker or encoder as people start it; its log is a file."""

    def __init__(self, arguments: Sequence[str], settings: dict[str, str], log: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                [EXECUTABLE, *arguments],
                env=environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call into libc, which takes no lock of ours
            )
        self._place: tuple[str, int] | None = None

    @property
    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def get(self, page: str) -> tuple[int, Any]:
        """Status and JSON of a page; (0, {}) while nothing listens."""
        status, text = self.page(page)
        return status, json.loads(text) if status else {}

    def page(self, page: str) -> tuple[int, str]:
        """Status and text of a page; (0, "") while nothing listens."""
        if self._place is None:
            found = re.search(r"listening on (http://\S+)", self.text)
            if found is None:
                return 0, ""
            url = urlsplit(found[1])
            self._place = (url.hostname or "", url.port or 0)
        connection = http.client.HTTPConnection(*self._place, timeout=10)
        with contextlib.closing(connection):
            try:
                connection.request("GET", page)
                reply = connection.getresponse()
                return reply.status, reply.read().decode()
            except (OSError, http.client.HTTPException):
                return 0, ""

    @property
    def role(self) -> str | None:
        role: str | None = self.get("/status")[1].get("role")
        return role

    def position(self, topic: str = EVENTS) -> int:
        """Records of a topic taken in."""
        offsets: dict[str, int] = self.get("/status")[1].get("offsets", {}).get(topic, {})
        return sum(offsets.values())

    @property
    def counters(self) -> dict[str, Any]:
        return self.get("/status")[1].get("counters") or {}

    @property
    def applied(self) -> int:
        return sum(self.counters.get("applied", {}).values())

    def wait(self, condition: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S) -> float:
        """Seconds until the condition held; fails at once where the process ends before."""

        def holds() -> bool:
            assert self.alive, f"ended with {self._popen.returncode} before {what}:\n{self.text[-4000:]}"
            return bool(condition())

        try:
            return wait_until(holds, what, deadline_s=deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.get('/status')}\n{self.text[-4000:]}") from None

    def wait_role(self, role: str) -> float:
        return self.wait(lambda: self.role == role, f"role {role}")

    def wait_position(self, count: int, topic: str = EVENTS) -> float:
        return self.wait(lambda: self.position(topic) >= count, f"{count} records of {topic} taken in")

    def wait_applied(self, count: int) -> float:
        return self.wait(lambda: self.applied >= count, f"{count} events applied")

    def kill(self) -> None:
        """SIGKILL: nothing more is done, nothing is said."""
        self._popen.kill()
        self._popen.wait()

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def end(self, *, deadline_s: float = DEADLINE_S) -> int:
        """Its exit status, once it has ended by itself."""
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline_s:.0f} s:\n{self.text[-4000:]}") from None

    def stop(self) -> float:
        """SIGTERM; seconds until it has ended, which must be in good order."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.end() == 0, self.text[-4000:]
        return time.monotonic() - started

    def close(self) -> None:
        if self.alive:
            self.kill()


def line_settings(folder: Path, kind: str) -> dict[str, str]:
    """A namespace that nobody else has, all its folders under ``folder``."""
    namespace = f"line{uuid.uuid4().hex[:10]}"
    root = folder / namespace
    return {
        "STREAMER_NAMESPACE": namespace,
        "STREAMER_LOG__KIND": kind,
        "STREAMER_LOG__ROOT": str(root / "log"),
        "STREAMER_KAFKA__TOPIC_PREFIX": f"{namespace}.",
        "STREAMER_KAFKA__PARTITIONS": "1",
        # a dead member's partitions are free after that; it beats at a sixth of it, from a thread of its own
        "STREAMER_KAFKA__SESSION_TIMEOUT_MS": "2000",
        "STREAMER_REDIS__ROOT": str(root / "valkey"),
        "STREAMER_SNAPSHOTS__ROOT": str(root / "snapshots"),
        "STREAMER_SNAPSHOTS__INTERVAL_MS": "300",
        "STREAMER_ENCODER__CACHE_ROOT": str(root / "vectors"),
        "STREAMER_HTTP__PORT": "0",
    }


WITHOUT_ENCODER = {"STREAMER_ENCODER__TEXT_MODEL": "none_installed"}
"""Where no items are sent, a worker on an embedded log need not load an encoder: it says so and goes on."""


class Line:
    """Topics, lists and snapshots of one test, and the processes that work on them."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.here = Here(settings)
        self.config = self.here.config
        self._folder = Path(settings["STREAMER_LOG__ROOT"]).parent
        self._folder.mkdir(parents=True, exist_ok=True)
        self._processes: list[Process] = []

    def create_topics(self) -> Line:
        with contextlib.closing(open_admin(self.config)) as admin:
            admin.create_topics()
        return self

    def send(self, records: Iterable[Recorded], topic: str = EVENTS) -> int:
        """Sends records as a producer does; the number acknowledged, which must be all."""
        with contextlib.closing(open_writer(self.config)) as writer:
            report = replay_records(records, writer, topic=topic)
        assert report.sent == report.read, report
        return report.sent

    def start(self, *arguments: str, **settings: str) -> Process:
        """A process of this line."""
        log = self._folder / f"{arguments[0]}-{len(self._processes)}.log"
        process = Process(arguments, self.here.settings | settings, log)
        self._processes.append(process)
        return process

    def snapshot(self) -> dict[str, Any]:
        """What ``streamer snapshots show latest --json`` says."""
        shown: dict[str, Any] = self.here.json("snapshots", "show", "latest")
        return shown

    def ends(self) -> dict[str, int]:
        """Records a topic that the owner reads."""
        with contextlib.closing(open_admin(self.config)) as admin:
            found = dict.fromkeys(OWNER_TOPICS, 0)
            for (topic, _), (_, end) in admin.bounds().items():
                if topic in found:
                    found[topic] += end
        return found

    def close(self) -> None:
        for process in self._processes:
            process.close()


class Lists:
    """What readers find in the store of a namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self._client = redis.Redis.from_url(url)
        self._prefix = f"{namespace}:v1:"

    def users(self) -> set[str]:
        """Who has a list."""
        skip = len(f"{self._prefix}rec:")
        return {key.decode()[skip:] for key in self._client.scan_iter(f"{self._prefix}rec:*", count=1_000)}

    def read(self, users: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The lists of those of these users who have one."""
        wanted = sorted(users)
        payloads = self._client.mget([f"{self._prefix}rec:{user}" for user in wanted])
        return {user: json.loads(payload) for user, payload in zip(wanted, payloads, strict=True) if payload}

    def versions(self, users: Iterable[str]) -> dict[str, str]:
        return {user: payload["version"] for user, payload in self.read(users).items()}

    def shared(self, name: str) -> dict[str, Any] | None:
        payload = self._client.get(f"{self._prefix}{name}")
        return json.loads(payload) if payload else None

    def close(self) -> None:
        self._client.close()
