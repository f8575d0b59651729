"""Adapters made from the configuration: which log, which store, which folder. The one place that chooses between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from streamer.config.masking import masked
from streamer.config.tree import Config
from streamer.embedded import EmbeddedAdmin, EmbeddedAtomicWriter, EmbeddedLog, EmbeddedReader, EmbeddedWriter, ValkeyProcess
from streamer.embedded.valkey import running_url
from streamer.events.model import INPUT_TOPICS
from streamer.events.pseudonyms import Pseudonyms, pseudonyms_of
from streamer.ports import (
    AtomicWriter,
    Committed,
    EventLog,
    LogAdmin,
    LogReader,
    LogWriter,
    SnapshotStore,
    StoreError,
    TopicPartition,
)
from streamer.snapshots.folder import FolderStore

if TYPE_CHECKING:
    from consumers.redis_store import RedisStore

# Clients are imported where they are used: an embedded run loads no Kafka client, and a command that reads a list only Redis.
# ruff: noqa: PLC0415

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"
LOCAL_URLS = ("file://", "local://")
PROBE = "probe"
"""The blob by which a start finds out whether snapshots can be written."""


def open_log(config: Config, *, group: str, topics: Sequence[str] = INPUT_TOPICS, exclusive: bool = True) -> EventLog:
    """A member of ``group`` on the configured log; it joins at its first poll."""
    if config.log.kind == "embedded":
        return EmbeddedLog(config, group=group, topics=topics, exclusive=exclusive)
    from consumers.kafka_log import KafkaLog

    return KafkaLog(config, group=group, topics=topics, exclusive=exclusive)


def open_reader(config: Config) -> LogReader:
    """What reads the configured log outside every group; it connects at its first call."""
    if config.log.kind == "embedded":
        return EmbeddedReader(config)
    from consumers.kafka_reader import KafkaReader

    return KafkaReader(config)


def open_admin(config: Config) -> LogAdmin:
    """What makes and inspects the topics; it connects at its first call."""
    if config.log.kind == "embedded":
        return EmbeddedAdmin(config)
    from consumers.kafka_admin import KafkaAdmin

    return KafkaAdmin(config)


def open_writer(config: Config, *, close_timeout_s: float | None = None) -> LogWriter:
    """What appends records; it connects at its first record. ``close_timeout_s``: how long closing waits for a broker at most."""
    if config.log.kind == "embedded":
        return EmbeddedWriter(config)
    from producers.sender import KafkaWriter

    return KafkaWriter(config, close_timeout_s=close_timeout_s)


def open_atomic_writer(config: Config, name: str) -> AtomicWriter:
    """What appends groups of records whole under a name; it connects at ``open``."""
    if config.log.kind == "embedded":
        return EmbeddedAtomicWriter(config, name)
    from consumers.kafka_atomic import KafkaAtomicWriter

    return KafkaAtomicWriter(config, name)


def open_snapshots(config: Config) -> SnapshotStore:
    """The snapshots of this namespace: in a folder, or where the URL points. Raises OSError for a URL without a backend."""
    folder = snapshots_folder(config)
    if folder is not None:
        return FolderStore(folder)
    from streamer.snapshots.url_store import UrlStore

    return UrlStore(_snapshots_url(config))


def snapshots_folder(config: Config) -> Path | None:
    """The folder of this namespace's snapshots, None where ``snapshots.root`` is the URL of another kind of store.

    A ``file://`` URL is a folder too: no backend of fsspec has its fsyncs and renames.
    """
    root = config.snapshots.root
    if root.startswith(LOCAL_URLS):
        root = unquote(urlsplit(root).path)
    return None if "://" in root else Path(root) / config.namespace


def snapshots_place(config: Config) -> str:
    """Where the snapshots of this namespace are, as it may be shown."""
    folder = snapshots_folder(config)
    return str(masked("root", _snapshots_url(config))) if folder is None else str(folder)


def require_snapshots(config: Config, store: SnapshotStore) -> None:
    """Raises OSError where snapshots cannot be written to ``store``: better at the start than when the first one is due."""
    try:
        store.put(PROBE, b"probe")
        store.delete(PROBE)
    except OSError as error:
        raise OSError(
            f"snapshots cannot be written to {snapshots_place(config)} (snapshots.root, STREAMER_SNAPSHOTS__ROOT): "
            f"{error.strerror or error}; give a place that this process may write to"
        ) from error


def _snapshots_url(config: Config) -> str:
    return f"{config.snapshots.root.rstrip('/')}/{config.namespace}"


def committed_offsets(config: Config, group: str) -> dict[TopicPartition, Committed]:
    """What ``group`` has committed, asked from outside the group. Raises LogError where the log is away."""
    with contextlib.closing(open_admin(config)) as admin:
        return admin.committed(group)


def redis_url(config: Config) -> str:
    """Where lists are served from: ``redis.url``, else the worker's Valkey with the embedded log, else the default.

    Raises StoreError where that Valkey does not run.
    """
    if config.redis.url is not None:
        return config.redis.url
    if config.log.kind == "kafka":
        return DEFAULT_REDIS_URL
    found = running_url(Path(config.redis.root))
    if found is None:
        raise StoreError(
            f"no Valkey server runs in {config.redis.root} (redis.root), where the worker on this embedded log keeps its lists: "
            "start `streamer worker`, or set redis.url (STREAMER_REDIS__URL)"
        )
    return found


@contextlib.contextmanager
def serving_url(config: Config) -> Iterator[str]:
    """As ``redis_url``; where an embedded worker has ended and left its lists, they are served meanwhile.

    Raises StoreError where there are none.
    """
    root = Path(config.redis.root)
    embedded = config.redis.url is None and config.log.kind == "embedded"
    if embedded and running_url(root) is None and (root / "appendonlydir").is_dir():
        with contextlib.closing(ValkeyProcess(root)) as server:
            yield server.url
    else:
        yield redis_url(config)


def open_store(config: Config, url: str) -> RedisStore:
    """The lists of this namespace at ``url``; it connects at its first call. Raises StoreError where the URL is none."""
    from consumers.redis_store import RedisStore as Store

    redis = config.redis
    return Store(
        url,
        config.namespace,
        ttl_s=redis.ttl_s,
        timeout_ms=redis.timeout_ms,
        batch_lists_max=redis.batch_lists_max,
        pseudonyms=user_pseudonyms(config),
    )


def user_pseudonyms(config: Config) -> Pseudonyms | None:
    """Those under which users are on the log, None where they are there by their ids."""
    return pseudonyms_of(config.privacy.user_key, config.privacy.user_key_id)
