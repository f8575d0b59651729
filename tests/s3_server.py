"""An S3 server on loopback as a child process: the object store of the tests, which dies with them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

from kafka_server import _die_with_parent, free_port

START_TIMEOUT_S = 60.0


class S3Server:
    """Buckets in the memory of a child process. ``denies``: every request is refused, as with wrong credentials."""

    def __init__(self, folder: Path, *, denies: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "s3.log"
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        checked = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if denies else {}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", self.endpoint.rpartition(":")[2]],
                env=os.environ | checked,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call into libc, which takes no lock of ours
            )
        self._wait_ready()

    @property
    def environment(self) -> dict[str, str]:
        """What makes the S3 backend of any process find this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            return name

    def stop(self) -> None:
        """Ends it; its port refuses connections from now on."""
        self._process.kill()
        self._process.wait()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.endpoint}/moto-api/data.json", timeout=5):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        tail = self._log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the S3 server at {self.endpoint} did not answer within {START_TIMEOUT_S:.0f} s:\n{tail}")
