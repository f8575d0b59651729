"""Where a replay goes: a namespace of its own, a named one, or the configured one; and why it may not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from producers.checks import Checked, shown
from producers.registration import Run
from streamer.config import Config

OWN_NAME_MAX = 40
OWN_IDENTITY_MAX = 8


def apart(namespace: str | None) -> dict[str, object]:
    """The settings of a namespace whose topics are its own; those configured without one."""
    return {} if namespace is None else {"namespace": namespace, "kafka.topic_prefix": f"{namespace}."}


@dataclass(frozen=True, slots=True)
class Target:
    """What the options say: a namespace's name, the configured one, or neither; and the one that may be live."""

    namespace: str | None
    configured: bool
    live: str | None
    config_path: Path | None

    @property
    def own(self) -> bool:
        """Whether the replay goes into a namespace of its own."""
        return self.namespace is None and not self.configured

    def require_possible(self, config: Config) -> None:
        """Raises UsageError for options that do not go together; ``config`` is that of the target where it is named."""
        if self.namespace is not None and self.configured:
            message = "--namespace and --configured name two targets: give one of them"
            raise click.UsageError(message)
        if self.live is None:
            return
        if self.own:
            message = "--live NAMESPACE says a second time where to: give --namespace NAMESPACE or --configured as well"
            raise click.UsageError(message)
        if self.live != config.namespace:
            message = f"--live names {self.live!r}, but the replay goes to {config.namespace!r}: name the same twice"
            raise click.UsageError(message)

    def overrides(self, own_name: str | None = None) -> dict[str, object]:
        """The settings of the target, over those configured: a namespace has topics with its name and a dot in front."""
        return apart(own_name or self.namespace)

    def require_not_live(self, config: Config, strangers: int) -> None:
        """Raises ClickException where records lie there that no replay put there, and the target was not named twice."""
        if not strangers or self.live is not None:
            return
        topic = f"{config.kafka.topic_prefix}events"
        again = "--configured" if self.configured else f"--namespace {config.namespace}"
        message = (
            f"{topic} is live: it holds {strangers:,} records that no replay is known to have put there (of one that is over, the log "
            "remembers that for as long as it keeps the offsets of groups without members). To mix the recording with them, "
            f"name it twice: {again} --live {config.namespace}"
        )
        raise click.ClickException(message)

    def require_not_played(self, config: Config, run: Run | None) -> None:
        """Raises ClickException where the recording was played onto this topic to its end."""
        if run is None or run.ends is None:
            return
        refused = f", {run.note.refused:,} more were refused" if run.note.refused else ""
        message = (
            f"{run.files} was played onto {config.kafka.topic_prefix}events before ({run.note.events:,} events, done "
            f"{shown(run.note.at_ms)}{refused}): nothing was sent. Read it with: {self.worker_command(config)}; to have every event "
            "there once more add --again"
        )
        raise click.ClickException(message)

    def worker_command(self, config: Config) -> str:
        """The command that folds all that the target holds."""
        command = "streamer worker --bounded"
        if self.config_path is not None:
            command += f" --config {shlex.quote(str(self.config_path))}"
        if self.configured:
            return command
        return f"STREAMER_NAMESPACE={config.namespace} STREAMER_KAFKA__TOPIC_PREFIX={config.kafka.topic_prefix} {command}"


def own_namespace(files: Sequence[Path], recording: Checked) -> str:
    """The name of a recording's own namespace: that of its first file, and what it holds; the same each time."""
    stem = re.sub(r"[^a-z0-9]+", "-", files[0].name.partition(".")[0].lower()).strip("-")[:OWN_NAME_MAX].strip("-")
    return f"{stem or 'recording'}-{recording.identity[:OWN_IDENTITY_MAX]}"


def require_same_partitions(config: Config, run: Run, partitions: int) -> None:
    """Raises ClickException where the partitions are no longer those among which a run's records were spread."""
    if len(run.starts) != partitions:
        message = (
            f"{config.kafka.topic_prefix}events has {partitions} partitions, and had {len(run.starts)} when the replay of {run.files} began: "
            "its records lie elsewhere now, so it cannot go on; play it into another --namespace"
        )
        raise click.ClickException(message)
