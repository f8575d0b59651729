"""Entry of the ``streamer`` command: what there is, and how errors end."""

from __future__ import annotations

import importlib
import logging
from typing import Any, NamedTuple

import click

from streamer import __version__

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A command: the module that holds it under its own name (with "_" for "-"), and what it does in a few words."""

    module: str
    summary: str


COMMANDS = {
    "demo": Entry("streamer.cli.demo", "Run the main job on a real recorded stream, with nothing else installed."),
    "worker": Entry("streamer.cli.services", "Fold events, learn, publish lists: the main service."),
    "encoder": Entry("streamer.cli.services", "Turn item documents into vectors: the second service."),
    "gateway": Entry("streamer.cli.gateway", "Take events and items over HTTP and serve lists."),
    "topics": Entry("streamer.cli.topics", "Make or check the topics."),
    "doctor": Entry("streamer.cli.doctor", "Say what is there, what is missing, and what to do."),
    "replay": Entry("streamer.cli.replay", "Send recorded events onto the log."),
    "traffic": Entry("streamer.cli.traffic", "Make synthetic traffic, for load tests and demonstrations."),
    "validate": Entry("streamer.cli.validate", "Say what a worker would make of a recording: what it would reject and why."),
    "sort": Entry("streamer.cli.sort", "Put a recording in the order of its times, as replay wants it."),
    "backtest": Entry(
        "streamer.cli.backtest", "Judge the engine beside other methods on a recorded stream, and write a report."
    ),
    "diff": Entry("streamer.cli.diff", "Say what differs between two backtests, or between two snapshots, and why lists do."),
    "recommend": Entry("streamer.cli.recommend", "Show a user's list as it is served."),
    "status": Entry("streamer.cli.status", "Ask a running worker how it is."),
    "freeze": Entry("streamer.cli.control", "Stop learning; counts and lists go on."),
    "unfreeze": Entry("streamer.cli.control", "Learn again."),
    "rollback": Entry("streamer.cli.control", "Bring back what was learned as it was in a snapshot."),
    "reset": Entry("streamer.cli.reset", "Rewind all state to a snapshot or to nothing, and read the log again."),
    "forget": Entry("streamer.cli.forget", "Forget users, and state what was erased and what remains until when."),
    "events": Entry("streamer.cli.events", "Show records of the log, to choose those that a reset leaves out."),
    "dead-letters": Entry("streamer.cli.dead_letters", "Show what was rejected, why, and what of it was sent again."),
    "redrive": Entry("streamer.cli.redrive", "Send rejected records again, each once."),
    "snapshots": Entry("streamer.cli.snapshots", "List snapshots, show one, or verify one by folding the log again."),
}
"""In the order of the help. Modules are imported when their command is called: help and status must not wait for numba."""

EXIT_STATUS = {
    "streamer.config.load.ConfigError": 2,
    "producers.formats.base.RecordingError": 1,
    "streamer.evaluate.methods.MethodKilled": 1,
    "streamer.compare.values.RunUnreadable": 2,
    "streamer.ports.LogError": 1,
    "streamer.ports.StoreError": 1,
    "streamer.snapshots.recovery.RecoveryRefused": 1,
    "streamer.snapshots.manifest.SnapshotDamaged": 1,
    "streamer.snapshots.manifest.StructureDiffers": 1,
    "streamer.snapshots.lineage.AuditImpossible": 1,
    "streamer.encoders.errors.EncoderUnavailable": 1,
    "streamer.encoders.cache.CacheError": 1,
    "streamer.tracking.TrackingUnavailable": 1,
    "streamer.embedded.valkey.ValkeyError": 1,
    "producers.gateway_server.ServerEndedError": 1,
    "consumers.http_server.HttpUnavailable": 1,
    "streamer.engine.engine.CapacityError": 1,
    "streamer.head.device.DeviceUnavailable": 1,
    "builtins.OSError": 1,
}
"""Errors whose message says all; by name, so that nobody imports their modules to catch them. All others show a traceback."""


def exit_status(error: Exception) -> int | None:
    """The exit status for an error that needs no traceback, None for any other."""
    if isinstance(error, BrokenPipeError):
        return None  # whoever read our output went away: click ends in silence
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    status = next((EXIT_STATUS[name] for name in names if name in EXIT_STATUS), None)
    return 2 if status and getattr(error, "unreadable", False) else status


class Failed(click.ClickException):
    """An expected error: its message on stderr, and exit status 1."""


class Misused(Failed):
    """The same with exit status 2: bad usage, or input that cannot be read."""

    exit_code = 2


class Commands(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Their names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command, from its module; None where there is none of this name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found: click.Command = getattr(importlib.import_module(entry.module), cmd_name.replace("-", "_"))
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; an expected error becomes its message and its exit status, with --json a last line of JSON as well."""
        as_json = "--json" in (*ctx._protected_args, *ctx.args)  # noqa: SLF001 - what the command will parse; click shows half of it
        try:
            return self._invoke(ctx)
        except click.ClickException as error:
            if as_json:
                from streamer.cli.common import say_json  # noqa: PLC0415 - help must not wait for it

                say_json({"error": error.format_message(), "status": error.exit_code})
            raise

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            status = exit_status(error)
            if status is None:
                raise
            logger.debug("the command failed", exc_info=True)
            raise (Misused if status == 2 else Failed)(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="streamer", message="%(prog)s %(version)s")
def main() -> None:
    """Streamer: a streaming online-learning recommender.

    Configuration comes from --config FILE (TOML) and from STREAMER_… variables, which win. Long work shows progress on
    stderr; --json prints one line of JSON as the last line of stdout, {"error": …} where the command failed. Exit status:
    0, 1 (failed), 2 (bad usage or input).
    """


if __name__ == "__main__":
    main()
