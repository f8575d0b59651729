"""Those who look on: that workers live, that one owns, that lists never go back, and how long takeovers last."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter

import redis
from chaos.feed import USERS
from chaos.parts import Parts, Worker
from line import VERSION

LOOK_EVERY_S = 0.5
USER_IDS = [f"u{n}" for n in range(USERS)]


class Watch:
    """Looks at everything twice a second; what must never be goes to ``violations``."""

    def __init__(self, parts: Parts) -> None:
        self.violations: list[str] = []
        self.looks: Counter[str] = Counter()
        self.versions: dict[str, str] = {}
        self.slowest_probe_s = 0.0
        self.lists_lock = threading.Lock()
        """Held by whoever exchanges what the store holds."""
        self._owners: dict[int, str] = {}
        self._parts = parts
        self._redis = redis.Redis.from_url(parts.valkey.url, socket_timeout=5)
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(look,), daemon=True) for look in (self._workers, self._lists)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)
        self._redis.close()

    def wiped(self) -> None:
        """The store lost what it held; the caller holds ``lists_lock``."""
        self.versions.clear()

    def _run(self, look: object) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            try:
                look()  # type: ignore[operator]
            except Exception as error:  # noqa: BLE001 - a watcher that dies would see nothing more
                self.violations.append(f"the watcher itself failed: {error!r}")

    def _workers(self) -> None:
        self._parts.archive()
        with self._parts.lock:
            workers = list(self._parts.workers)
        for worker in workers:
            self._worker(worker)

    def _worker(self, worker: Worker) -> None:
        if worker.disturbed or "listening on" not in worker.process.text:
            return
        started_s = time.monotonic()
        status, _ = worker.process.get("/livez")
        found = worker.status
        took_s = time.monotonic() - started_s
        if worker.disturbed or worker not in self._parts.workers:
            return
        if status != 200:
            alive = worker.process.alive
            self.violations.append(f"/livez of {worker.name} answered {status} (process alive: {alive})")
            return
        self.looks["livez"] += 1
        self.slowest_probe_s = max(self.slowest_probe_s, took_s)
        if found.get("role") == "owner":
            known = self._owners.setdefault(found["generation"], worker.name)
            if known != worker.name:
                self.violations.append(f"{known} and {worker.name} both own generation {found['generation']}")

    def _lists(self) -> None:
        with self.lists_lock, contextlib.suppress(redis.RedisError):
            for user, version in read_versions(self._redis, self._parts.config.namespace).items():
                before = self.versions.get(user, "")
                if version < before:
                    self.violations.append(f"the list of {user} went back from {before} to {version}")
                self.versions[user] = version
            self.looks["lists"] += 1


def read_versions(client: redis.Redis, namespace: str) -> dict[str, str]:
    """The versions of the lists of all users who have one."""
    payloads = client.mget([f"{namespace}:v1:rec:{user}" for user in USER_IDS])
    found = {}
    for user, payload in zip(USER_IDS, payloads, strict=True):
        if payload is not None:
            match = VERSION.search(payload[:60].decode())
            assert match is not None, payload[:60]
            found[user] = match[0]
    return found
