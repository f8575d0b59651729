"""A Prometheus as a child process, asked over HTTP, for tests that need a real one."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka_server import _die_with_parent
from line import wait_until

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="needs Prometheus (on Debian: apt-get install --no-install-recommends prometheus)",
)
CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: streamer
    honor_labels: true
    file_sd_configs: [{{files: [{targets}], refresh_interval: 1s}}]
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Prometheus:
    """Scrapes ports of this machine, by namespace, every second."""

    def __init__(self, folder: Path, targets: Mapping[str, Collection[int]], *, rules: str | None = None) -> None:
        folder.mkdir()
        (folder / "rules.yml").write_text(rules or RULES.read_text())
        groups = [
            {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": name}}
            for name, ports in targets.items()
        ]
        (folder / "targets.json").write_text(json.dumps(groups))
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(rules=folder / "rules.yml", targets=folder / "targets.json"))
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "log"
        with self.log.open("wb") as out:
            self._popen = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one call into libc, which takes no lock of ours
            )
        wait_until(self._ready, f"Prometheus is ready: {self.log}")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of now."""
        data = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        result: list[dict[str, Any]] = data["result"]
        return result

    def values(self, expression: str) -> list[float]:
        return [float(sample["value"][1]) for sample in self.query(expression)]

    def alerts(self, namespace: str | None = None) -> dict[str, str]:
        """State (pending, firing) by name, of one namespace or of all."""
        found = [alert for alert in self._get("alerts")["alerts"] if namespace in {None, alert["labels"].get("namespace")}]
        return {alert["labels"]["alertname"]: alert["state"] for alert in found}

    def annotations(self) -> list[dict[str, str]]:
        return [alert["annotations"] for alert in self._get("alerts")["alerts"]]

    def close(self) -> None:
        self._popen.send_signal(signal.SIGTERM)
        self._popen.wait(30)

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{urllib.parse.unquote_plus(path)}: {error.read().decode()}") from None

    def _ready(self) -> bool:
        assert self._popen.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
        return False


def durations_cut(rules: str, for_s: int, range_s: int) -> str:
    """The rules with every ``for`` and every range but those of days cut to so many seconds."""
    rules = re.sub(r"for: \d+[smh]\n", f"for: {for_s}s\n", rules)
    return re.sub(r"\[\d+[smh]\]", f"[{range_s}s]", rules)
