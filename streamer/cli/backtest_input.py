"""Reading what a backtest runs on: events of any known format, item documents with the vectors of their texts."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consumers.vector_source import EncoderCounters, VectorSource
from producers.formats import RecordingError, choose, choose_items, read_events, read_items
from producers.formats.base import Recorded
from producers.formats.lines import read_lines
from streamer.config import Config
from streamer.encoders import VectorCache, load_text_encoder
from streamer.evaluate.stream import Document, Stream, StreamBuilder
from streamer.events.codec import decode_events
from streamer.events.items import content_hash, decode_item, text_of
from streamer.events.model import ItemDocument, Reject

CHUNK = 4_096
NAMED_PROBLEMS_MAX = 10
"""Rejected records that are told one by one; the others are counted."""

Told = Callable[[int], None]


@dataclass
class Problems:
    """Records that could not be used: a few in words, all counted by reason."""

    by_reason: dict[str, int] = field(default_factory=dict)
    named: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.by_reason.values())

    def note(self, path: Path, line: int, reject: Reject, why: str | None) -> None:
        """Counts one; ``line`` from 1, ``why`` what the format said of it."""
        self.by_reason[reject.reason] = self.by_reason.get(reject.reason, 0) + 1
        if len(self.named) < NAMED_PROBLEMS_MAX:
            self.named.append(f"{path}, line {line}: {reject.reason}: {why or reject.error}")


@dataclass
class Read:
    """A stream with what is to be said of the files it came from."""

    stream: Stream
    format: str
    problems: Problems
    in_order: bool
    """Whether the events stood in the order of their times."""
    repeated_ids: int


def read_stream(events: Path, items: Path | None, format_name: str, config: Config, *, reading: Told, encoding: Told) -> Read:
    """The recorded stream of a file, sorted by (time, line), with its items' documents and vectors.

    ``reading`` and ``encoding`` are told how many records are read and texts are encoded. Raises RecordingError,
    EncoderUnavailable, CacheError.
    """
    problems = Problems()
    chosen = choose(events, format_name)
    builder, in_order, reached = StreamBuilder(), True, 0
    header, records = _without_header(events, read_events(events, format_name))
    for chunk in _chunks(records, CHUNK):
        decoded = decode_events([record.value for record in chunk])
        for place, reject in decoded.rejects:
            problems.note(events, chunk[place].line, reject, chunk[place].error)
        builder.add(decoded, [record.line - 1 - header for record in chunk])
        in_order = in_order and all(a <= b for a, b in itertools.pairwise([reached, *decoded.timestamps_ms]))
        reached = max([reached, *decoded.timestamps_ms])
        reading(len(chunk))
    documents = [] if items is None else _documents(items, problems, config, encoding)
    stream = builder.finish(documents)
    if not stream.events:
        first = f"; the first: {problems.named[0]}" if problems.named else ""
        raise RecordingError(f"{events}: holds no event that can be used, {problems.count} were rejected{first}")
    return Read(stream, chosen.NAME, problems, in_order, builder.repeated_ids)


def sha256_of(path: Path) -> str:
    """Of a file's bytes as they are, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_header(path: Path, records: Iterator[Recorded]) -> tuple[int, Iterator[Recorded]]:
    """How many lines a header takes, and the records; a line that is not blank before the first record is one."""
    first = next(records, None)
    if first is None:
        return 0, records
    header = 0
    if first.line > 1:
        header = sum(bool(line.strip()) for line in itertools.islice(read_lines(path), first.line - 1))
    return header, itertools.chain((first,), records)


def _chunks(records: Iterable[Recorded], size: int) -> Iterator[list[Recorded]]:
    records = iter(records)
    while chunk := list(itertools.islice(records, size)):
        yield chunk


def _documents(path: Path, problems: Problems, config: Config, encoding: Told) -> list[Document]:
    """The documents of a file that can be used, each with the vector of its text."""
    choose_items(path)
    documents: list[ItemDocument] = []
    for record in read_items(path):
        found = decode_item(record.key, record.value)
        if isinstance(found, ItemDocument):
            documents.append(found)
        elif isinstance(found, Reject):
            problems.note(path, record.line, found, record.error)
    vectors = _vectors(documents, config, encoding)
    return [Document(one.timestamp_ms or 0, one, vectors.get(content_hash(one))) for one in documents]


def _vectors(documents: Sequence[ItemDocument], config: Config, encoding: Told) -> dict[str, bytes]:
    """Vectors of texts by content hash, from the cache where it has them; a text that breaks the encoder has none."""
    texts = {content_hash(one): text for one in documents if (text := text_of(one)).strip()}
    if not texts:
        return {}
    encoder = load_text_encoder(config.encoder)
    cache = VectorCache(Path(config.encoder.cache_root), vectors_max=config.encoder.cache_vectors_max)
    found: dict[str, bytes] = {}
    with contextlib.closing(cache):
        source = VectorSource(encoder, cache, EncoderCounters(), config.encoder, time.monotonic)
        for content, vector in source.vectors(texts, lambda: None):
            encoding(1)
            if isinstance(vector, bytes):
                found[content] = vector
    return found
