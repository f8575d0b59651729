"""A console over numbers that a test makes up: no log, no fold; a store and snapshots in memory and in a folder."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from memory_store import MemoryStore

from consumers.console.site import Console
from consumers.health import HealthServer
from consumers.measurements import Measurements
from consumers.metrics import WorkerCollector
from consumers.runtime import WallClock
from streamer.config import load
from streamer.ports import OwnerStatus
from streamer.snapshots.folder import FolderStore

EPOCH = 1_795_485_458_344
TOKEN = "0123456789abcdef-test"
APPLIED: dict[str, object] = {"applied": {"click": 1_000}, "lost": 0}


class Worker:
    """What a console reads of a worker."""

    def __init__(self, role: str = "owner") -> None:
        self.role = role
        self.snapshot: str | None = None
        self.measured = Measurements()
        self.questions: Any = None

    def status(self) -> OwnerStatus:
        owns = self.role == "owner"
        return OwnerStatus(
            role=self.role,
            namespace="shop",
            epoch=EPOCH if owns else None,
            generation=3 if owns else None,
            counters=APPLIED if owns else None,
            offsets={},
            snapshot=self.snapshot,
        )


class Site:
    """The server and who asks it."""

    def __init__(self, server: HealthServer, console: Console, worker: Worker) -> None:
        self.server, self.console, self.worker = server, console, worker

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, Any, str]:
        """Status, headers, body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)) as connection:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def json(self, path: str, **more: Any) -> Any:
        return json.loads(self.ask(path, **more)[2])

    def act(self, name: str, what: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
        given = {"Content_Type": "application/json", "Authorization": f"Bearer {TOKEN}"} | headers
        status, _, body = self.ask(f"/console/{name}", "POST", json.dumps(what or {}), **given)
        return status, json.loads(body)


@contextlib.contextmanager
def site(folder: Path, role: str = "owner", *, also: Callable[[Worker], None] | None = None, **settings: str) -> Iterator[Site]:
    """A console that listens."""
    environment = {"STREAMER_NAMESPACE": "shop", "STREAMER_LOG__KIND": "embedded", "STREAMER_LOG__ROOT": str(folder / "log")}
    config = load(None, environment | settings)
    worker = Worker(role)
    if also is not None:
        also(worker)
    owner: Any = worker
    console = Console(owner, worker.measured, MemoryStore(), FolderStore(folder / "snapshots"), config, WallClock())
    collector = WorkerCollector(lambda: (worker.measured, worker.status()))
    server = HealthServer(config.http.host, 0, status=worker.status, collector=collector, pages=console.pages)
    console.start()
    try:
        yield Site(server, console, worker)
    finally:
        console.close()
        server.close()
