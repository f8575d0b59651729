"""The parts of one campaign: a broker, a Valkey server, workers as processes, and what the folder of snapshots ever held."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from kafka_server import KafkaServer
from line import Line, Process, line_settings, wait_until

from streamer.embedded.valkey import ValkeyProcess
from streamer.snapshots import FolderStore, Manifest, read_manifest

LATENESS_MS_MAX = 60_000
FOLDER_FULL_BYTES = 393_216
"""No file of a worker may grow beyond it: chunks of a megabyte can't be written, its log still can."""
SETTINGS = {
    "STREAMER_KAFKA__SESSION_TIMEOUT_MS": "4000",
    "STREAMER_SNAPSHOTS__INTERVAL_MS": "1000",
    "STREAMER_SNAPSHOTS__KEEP": "40",
    "STREAMER_WINDOWS__LATENESS_MS_MAX": str(LATENESS_MS_MAX),
}


class Worker:
    """A worker with a name; ``disturbed`` while a fault keeps it from answering."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self.disturbed = False
        self.stopped_at_s = 0.0

    def stall(self) -> None:
        self.disturbed = True
        self.process.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.signal(signal.SIGCONT)
        self.disturbed = False

    def kill(self) -> None:
        self.disturbed = True
        self.process.kill()

    def terminate(self, *, deadline_s: float = 90.0) -> float:
        """SIGTERM; seconds until it ended."""
        self.disturbed = True
        started_s = time.monotonic()
        self.process.signal(signal.SIGTERM)
        status = self.process.end(deadline_s=deadline_s)
        assert status == 0, f"{self.name} ended with {status} at SIGTERM:\n{self.process.text[-3000:]}"
        return time.monotonic() - started_s

    @property
    def status(self) -> dict:
        return self.process.get("/status")[1]


class Parts:
    """Everything that runs, in one folder; ``close`` ends it all."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        """Held while workers come and go, and while the store is exchanged."""
        self.workers: list[Worker] = []
        self.all_workers: list[Worker] = []
        self._older: Path | None = None
        self._manifests: dict[str, Manifest] = {}
        self._stack = contextlib.ExitStack()
        self.broker = KafkaServer(folder / "kafka")
        self.broker.start()
        self._stack.callback(self.broker.stop)
        options = {"auto-aof-rewrite-percentage": "0"}
        self.valkey = self._stack.enter_context(contextlib.closing(ValkeyProcess(folder / "valkey", options=options)))
        settings = line_settings(folder, "kafka") | SETTINGS
        settings["STREAMER_KAFKA__BOOTSTRAP_SERVERS"] = self.broker.bootstrap
        settings["STREAMER_KAFKA__PARTITIONS"] = str(partitions)
        settings["STREAMER_REDIS__URL"] = self.valkey.url
        self.line = self._stack.enter_context(contextlib.closing(Line(settings))).create_topics()
        self.config = self.line.config
        self._snapshots = Path(self.config.snapshots.root) / self.config.namespace
        self._archive = folder / "archive"
        (self._archive / "manifests").mkdir(parents=True)

    def close(self) -> None:
        self._stack.close()

    # -- workers ------------------------------------------------------------------------------------------------------------

    def start(self, *arguments: str) -> Worker:
        with self.lock:
            worker = Worker(f"w{len(self.all_workers)}", self.line.start("worker", *arguments))
            self.workers.append(worker)
            self.all_workers.append(worker)
        return worker

    def forget(self, worker: Worker) -> None:
        """It has ended and will not be looked at again."""
        with self.lock:
            self.workers.remove(worker)

    def owner(self) -> Worker | None:
        """Of the workers that answer, the one of the highest generation that says it owns the log."""
        with self.lock:
            answering = [worker for worker in self.workers if not worker.disturbed]
        owners = [(status["generation"], worker) for worker in answering if (status := worker.status).get("role") == "owner"]
        return max(owners, key=lambda pair: pair[0])[1] if owners else None

    def wait_owner(self, *, deadline_s: float = 120.0) -> Worker:
        wait_until(self.owner, "a worker that owns the log", deadline_s=deadline_s)
        owner = self.owner()
        return owner if owner is not None else self.wait_owner(deadline_s=deadline_s)

    def standby(self, owner: Worker) -> Worker | None:
        with self.lock:
            return next((worker for worker in self.workers if worker is not owner), None)

    # -- snapshots ----------------------------------------------------------------------------------------------------------

    def archive(self) -> None:
        """Keeps a copy of every manifest, whatever becomes of the snapshots."""
        kept = self._archive / "manifests"
        for path in self.manifest_files():
            target = kept / path.name
            if not target.exists():
                with contextlib.suppress(OSError):
                    shutil.copyfile(path, target.with_suffix(".part"))
                    target.with_suffix(".part").replace(target)

    def manifest_files(self) -> list[Path]:
        """Complete ones, oldest first."""
        return sorted(path for path in (self._snapshots / "manifests").glob("*.json") if not path.name.startswith("."))

    def manifests(self) -> dict[str, Manifest]:
        """Of all snapshots that were ever seen."""
        names = [path.name.removesuffix(".json") for path in (self._archive / "manifests").glob("*.json")]
        for name in names:
            if name not in self._manifests:
                self._manifests[name] = read_manifest(FolderStore(self._archive), name)
        return self._manifests

    @property
    def store(self) -> FolderStore:
        return FolderStore(self._snapshots)

    @contextlib.contextmanager
    def snapshots_away(self) -> Iterator[None]:
        """A file stands where the folder was: nothing can be read or written."""
        aside = self._snapshots.with_name("aside")
        self._snapshots.rename(aside)
        self._snapshots.write_text("")
        try:
            yield
        finally:
            self._snapshots.unlink()
            aside.rename(self._snapshots)

    @contextlib.contextmanager
    def folder_full(self) -> Iterator[None]:
        """Workers can write no larger file."""
        with self.lock:
            pids = [worker.process.pid for worker in self.workers]
        for pid in pids:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (FOLDER_FULL_BYTES, hard))
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    # -- the store of lists -------------------------------------------------------------------------------------------------

    def kill_valkey(self) -> None:
        os.kill(self.valkey.pid, signal.SIGKILL)
        server = self.valkey._server
        if server is not None:
            server.wait(10)

    def copy_valkey(self) -> None:
        """Keeps the store as it is now, to fail over to later."""
        self._older = self.folder / "valkey-copy"
        shutil.rmtree(self._older, ignore_errors=True)
        shutil.copytree(self._append_only, self._older)

    def fail_over(self) -> None:
        """The server is killed, and an older copy of it takes its place."""
        assert self._older is not None
        self.kill_valkey()
        shutil.rmtree(self._append_only)
        shutil.copytree(self._older, self._append_only)
        self.valkey.ensure()

    def empty_valkey_folder(self) -> None:
        """While it is down."""
        shutil.rmtree(self._append_only, ignore_errors=True)

    @property
    def _append_only(self) -> Path:
        return self.folder / "valkey" / "appendonlydir"
