"""``streamer doctor``: what is there, what is missing, what to do."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import click

from consumers.compose import open_admin, open_snapshots, redis_url, require_snapshots, snapshots_folder, snapshots_place
from streamer import __version__
from streamer.cli.common import config_option, json_option, prepare, say_json
from streamer.cli.snapshots import committed_names, fault_of
from streamer.cli.status import ask, worker_url
from streamer.cli.topics import full_name, missing_topics
from streamer.config import Config
from streamer.embedded.valkey import ValkeyError, find_binary, running_url
from streamer.ports import ALL_TOPICS, LogError, StoreError
from streamer.snapshots.chunks import told_apart

# What takes long to import is imported by its own check.
# ruff: noqa: PLC0415

DISK_FREE_BYTES_LOW = 1_073_741_824
LIBRARIES = ("numpy", "numba", "torch", "kafka-python", "redis", "msgspec")


class Finding(NamedTuple):
    """One line of the report."""

    check: str
    level: Literal["ok", "warn", "fail"]
    text: str


Check = Callable[[Config], Iterator[Finding]]


@click.command()
@config_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, config_path: Path | None, *, as_json: bool) -> None:
    """Say what is there, what is missing, and what to do; exit status 1 where something fails."""
    config = prepare(config_path)
    found: list[Finding] = []
    for check in CHECKS:
        for finding in check(config):
            click.echo(f"{finding.level:4s}  {finding.check}: {finding.text}")
            found.append(finding)
    failed = sum(finding.level == "fail" for finding in found)
    warned = sum(finding.level == "warn" for finding in found)
    click.echo(f"{failed} failed, {warned} warnings")
    if as_json:
        say_json({"ok": not failed, "checks": [finding._asdict() for finding in found]})
    ctx.exit(1 if failed else 0)


def configuration(config: Config) -> Iterator[Finding]:
    """It was loaded, or this would not run."""
    yield Finding("config", "ok", f"namespace {config.namespace}, log {config.log.kind}, group {config.group}")


def versions(config: Config) -> Iterator[Finding]:
    """What runs here."""
    _ = config
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    yield Finding("versions", "ok", f"streamer {__version__}, Python {platform.python_version()}, {libraries}")


def log(config: Config) -> Iterator[Finding]:
    """Whether the log answers, and has its topics."""
    where = config.log.root if config.log.kind == "embedded" else f"Kafka at {config.kafka.bootstrap_servers}"
    try:
        with contextlib.closing(open_admin(config)) as admin:
            topics = admin.topics()
    except LogError as error:
        yield Finding("log", "fail", str(error))
        return
    yield Finding("log", "ok", f"{where} answers")
    if missing := missing_topics(topics):
        names = ", ".join(full_name(config, topic) for topic in missing)
        yield Finding("topics", "fail", f"missing: {names}; make them with: streamer topics create")
    else:
        yield Finding("topics", "ok", f"all {len(ALL_TOPICS)} are there")
    for info in topics.values():
        yield from (Finding("topics", "warn", warning) for warning in info.warnings)


def lists(config: Config) -> Iterator[Finding]:
    """Whether there is somewhere to write lists."""
    if config.redis.url is None and config.log.kind == "embedded" and running_url(Path(config.redis.root)) is None:
        try:
            yield Finding("redis", "ok", f"no Valkey runs yet; the worker starts {find_binary()} in {config.redis.root}")
        except ValkeyError as error:
            yield Finding("redis", "fail", str(error))
        return
    from consumers.probe import server_facts

    try:
        facts = server_facts(redis_url(config), config.redis.timeout_ms)
    except StoreError as error:
        yield Finding("redis", "fail", str(error))
        return
    yield Finding("redis", "ok", f"{facts.version} answers")
    if facts.evicts_by is not None:
        text = (
            f"maxmemory-policy is {facts.evicts_by}: the server may drop lists; expected noeviction, or a server of their own"
        )
        yield Finding("redis", "warn", text)


def snapshots(config: Config) -> Iterator[Finding]:
    """Whether state can be kept."""
    folder = snapshots_folder(config)
    if folder is None:
        yield _object_store(config)
        return
    root = folder.parent
    present = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    try:
        if present != root.absolute() and not os.access(present, os.W_OK | os.X_OK):
            raise PermissionError(f"{present} may not be written")
        if present == root.absolute():
            _try_writing(root)
        free = shutil.disk_usage(present).free
    except OSError as error:
        advice = "check snapshots.root (STREAMER_SNAPSHOTS__ROOT), its permissions and its disk"
        yield Finding("snapshots", "fail", f"{root} cannot be written: {error.strerror or error}; {advice}")
        return
    low = free < DISK_FREE_BYTES_LOW
    text = f"{root} {'is writable' if present == root.absolute() else 'will be made'}, {free / 2**30:.1f} GiB free"
    yield Finding("snapshots", "warn" if low else "ok", f"{text}: free some" if low else text)


def committed(config: Config) -> Iterator[Finding]:
    """Whether a worker can start from the snapshot that the committed offsets name."""
    try:
        store = open_snapshots(config)
        named = committed_names(config)
        fault = fault_of(store, named[0]) if len(named) == 1 else None
        incomplete = told_apart(store)[1]
    except (LogError, OSError):
        return  # said by the checks of these
    if fault is not None:
        yield Finding("committed", "fail", fault)
    elif len(named) == 1:
        yield Finding("committed", "ok", f"snapshot {named[0]} is there and whole")
    else:
        text = f"the committed offsets name {len(named)} snapshots" if named else "no committed offsets name a snapshot yet"
        yield Finding("committed", "warn" if named else "ok", text)
    for name, why in incomplete:
        if name not in named:
            yield Finding("committed", "warn", f"snapshot {name} is not complete: {why}")


def _object_store(config: Config) -> Finding:
    try:
        require_snapshots(config, open_snapshots(config))
    except OSError as error:
        return Finding("snapshots", "fail", str(error))
    return Finding("snapshots", "ok", f"{snapshots_place(config)} answers and is writable")


def _try_writing(folder: Path) -> None:
    probe = folder / f".tmp-doctor-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"doctor")
    finally:
        probe.unlink(missing_ok=True)


def head(config: Config) -> Iterator[Finding]:
    """Whether the head can learn where it is told to."""
    from streamer.head.device import DeviceUnavailable, require_device

    try:
        require_device(config.head.device)
    except DeviceUnavailable as error:
        yield Finding("head", "fail", str(error))
    else:
        yield Finding("head", "ok", f"learns on {config.head.device}")


def encoder(config: Config) -> Iterator[Finding]:
    """Whether the models are on this machine, and the image root; nothing is fetched."""
    from streamer.encoders.image import find_image_model
    from streamer.encoders.locate import locate

    yield _model(config.encoder.text_model, locate)
    if config.encoder.image_model is not None:
        yield _model(config.encoder.image_model, lambda model: find_image_model(model).where)
    root = config.encoder.image_root
    if root is not None and not Path(root).is_dir():
        yield Finding(
            "encoder",
            "fail",
            f"encoder.image_root is {root!r}, and there is no such folder: correct the path, or mount the volume",
        )


def _model(model: str, find: Callable[[str], Path]) -> Finding:
    from streamer.encoders.errors import EncoderUnavailable

    if model.count("/") == 1 and not Path(model).expanduser().is_dir() and not model.startswith((".", "~", "/")):
        text = f"{model} is a hub id: taken from the hub's cache, or fetched when `streamer encoder` starts"
        return Finding("encoder", "warn", f"{text}; give a folder or an installed package to be independent of the hub")
    try:
        return Finding("encoder", "ok", f"{model} is in {find(model)}")
    except EncoderUnavailable as error:
        return Finding("encoder", "fail", str(error))


def kernels(config: Config) -> Iterator[Finding]:
    """Whether the compiled kernels of these sources are in the cache."""
    _ = config
    from streamer.engine.warm import is_warm
    from streamer.tables.compile import cache_folder

    if is_warm():
        yield Finding("kernels", "ok", f"compiled, in {cache_folder()}")
    else:
        text = "not all compiled for these sources and this processor yet: the first start takes a minute or two longer"
        yield Finding("kernels", "warn", f"{text}; compile them with: python -m streamer.engine.warm")


def http(config: Config) -> Iterator[Finding]:
    """Whether the worker's port is free, or a worker's."""
    if config.http.port == 0:
        yield Finding("http", "ok", "http.port is 0: any free port")
        return
    url = worker_url(config)
    try:
        found = ask(url)
        yield Finding("http", "ok", f"{url} answers: {found['role']} of namespace {found['namespace']}")
    except click.ClickException:
        if _taken(config):
            text = "something else listens there: end it, or set http.port (STREAMER_HTTP__PORT) to another port"
            yield Finding("http", "fail", f"{url}: {text}")
        else:
            yield Finding("http", "ok", f"{url} is free, no worker runs there")


def _taken(config: Config) -> bool:
    host = config.http.host
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, config.http.port))
        except OSError:
            return True
    return False


CHECKS: tuple[Check, ...] = (configuration, versions, log, lists, snapshots, committed, head, encoder, kernels, http)
