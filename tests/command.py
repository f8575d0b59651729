"""The command with the settings of one test, in this process or as the executable, and what tests ask of a log."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from consumers.compose import open_admin, open_log
from streamer.cli.main import main
from streamer.config import Config, load
from streamer.events.model import EVENTS
from streamer.ports import TopicPartition

EXECUTABLE = Path(sys.executable).parent / "streamer"
DEADLINE_S = 120.0
T0 = 1_795_485_458_344


class Here:
    """The command with settings of one test: in this process, or as the executable."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.config: Config = load(None, settings)

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(main, [str(one) for one in arguments], env=self.settings)

    def json(self, *arguments: object) -> Any:
        """What --json says; the command must succeed."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, f"{result.output} {result.exception!r}"
        return json.loads(result.stdout.splitlines()[-1])

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
        return subprocess.Popen(
            [EXECUTABLE, *map(str, arguments)],
            env=environment | self.settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def ends(config: Config) -> dict[str, int]:
    """Records a topic."""
    with contextlib.closing(open_admin(config)) as admin:
        found: dict[str, int] = {}
        for (topic, _), (_, end) in admin.bounds().items():
            found[topic] = found.get(topic, 0) + end
    return found


def read_events(config: Config) -> list[bytes | None]:
    """All values of the topic of events, read by a group of this test."""
    deadline = time.monotonic() + DEADLINE_S
    with contextlib.closing(open_log(config, group="reading", topics=[EVENTS])) as log:
        while log.poll(100).generation is None:
            assert time.monotonic() < deadline
        log.seek({place: 0 for place, _ in bounds(config) if place.topic == EVENTS})
        wanted, values = ends(config)[EVENTS], []
        while len(values) < wanted:
            assert time.monotonic() < deadline
            values += [value for batch in log.poll(100).batches for value in batch.values]
    return values


def bounds(config: Config) -> list[tuple[TopicPartition, tuple[int, int]]]:
    with contextlib.closing(open_admin(config)) as admin:
        return list(admin.bounds().items())
