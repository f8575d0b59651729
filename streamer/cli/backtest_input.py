"""Reading what a backtest runs on: events of any known format, item documents with the vectors of their texts."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from consumers.document_vectors import Made, opened_vectors, roots_of
from producers.formats import Reading, Recorded, RecordingError, open_events, open_items
from streamer.config import Config
from streamer.evaluate.stream import Document, Stream, StreamBuilder
from streamer.events.codec import decode_events
from streamer.events.items import decode_item, text_of
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
    contents: list[str] = field(default_factory=list)
    """Texts and images that have no vector: a few in words, all counted."""
    contents_count: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.by_reason.values())

    def note(self, reading: Reading, record: Recorded, reject: Reject) -> None:
        """Counts one."""
        self.by_reason[reject.reason] = self.by_reason.get(reject.reason, 0) + 1
        if len(self.named) < NAMED_PROBLEMS_MAX:
            where = f"{reading.path}, {reading.unit} {record.line}"
            self.named.append(f"{where}: {reject.reason}: {reading.fault(record, reject)}")

    def note_content(self, document: ItemDocument, reject: Reject) -> None:
        """Tells of a document whose text or image has no vector; the document itself is used."""
        if len(self.contents) < NAMED_PROBLEMS_MAX:
            self.contents.append(f"item {document.item_id}: {reject.reason}: {reject.error}")
        self.contents_count += 1


@dataclass
class Read:
    """A stream with what is to be said of the files it came from."""

    stream: Stream
    format: str
    problems: Problems
    in_order: bool
    """Whether the events stood in the order of their times."""
    repeated_ids: int
    left_out: dict[str, int]
    """Records of the events' file that are no interactions by its format, by kind."""


def read_stream(events: Path, items: Path | None, format_name: str, config: Config, *, reading: Told, encoding: Told) -> Read:
    """The recorded stream of a file, sorted by (time, line), with its items' documents and vectors.

    ``reading`` and ``encoding`` are told how many records are read and documents are encoded. Raises RecordingError,
    EncoderUnavailable, CacheError.
    """
    problems = Problems()
    recording = open_events(events, format_name)
    builder, in_order, reached = StreamBuilder(), True, 0
    for chunk in _chunks(recording, CHUNK):
        decoded = decode_events([record.value for record in chunk])
        for place, reject in decoded.rejects:
            problems.note(recording, chunk[place], reject)
        builder.add(decoded, [record.line - 1 - recording.header_lines for record in chunk])
        in_order = in_order and all(a <= b for a, b in itertools.pairwise([reached, *decoded.timestamps_ms]))
        reached = max([reached, *decoded.timestamps_ms])
        reading(len(chunk))
    documents = [] if items is None else _documents(items, problems, config, encoding)
    stream = builder.finish(documents)
    if not stream.events:
        first = f"; the first: {problems.named[0]}" if problems.named else ""
        raise RecordingError(f"{events}: holds no event that can be used, {problems.count} were rejected{first}")
    return Read(stream, recording.format.name, problems, in_order, builder.repeated_ids, recording.left_out.by_kind)


def with_providers_of_categories(read: Read) -> tuple[Read, int]:
    """The same with the first category as the provider of each document that names none; and how many those are."""
    named = [
        one._replace(document=msgspec.structs.replace(one.document, provider=one.document.categories[0]))
        if one.document.categories and not one.document.provider
        else one
        for one in read.stream.documents
    ]
    count = sum(one is not before for one, before in zip(named, read.stream.documents, strict=True))
    return replace(read, stream=read.stream._replace(documents=named)), count


def sha256_of(path: Path) -> str:
    """Of a file's bytes as they are, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(records: Iterable[Recorded], size: int) -> Iterator[list[Recorded]]:
    records = iter(records)
    while chunk := list(itertools.islice(records, size)):
        yield chunk


def _documents(path: Path, problems: Problems, config: Config, encoding: Told) -> list[Document]:
    """The documents of a file that can be used, each with the vector of its text."""
    reading = open_items(path)
    documents: list[ItemDocument] = []
    for record in reading:
        found = decode_item(record.key, record.value)
        if isinstance(found, ItemDocument):
            documents.append(found)
        elif isinstance(found, Reject):
            problems.note(reading, record, found)
    made = _made(documents, path.resolve().parent, config, encoding, problems)
    return [
        Document(one.timestamp_ms or 0, one, vectors.text, vectors.image) for one, vectors in zip(documents, made, strict=True)
    ]


def _made(documents: Sequence[ItemDocument], folder: Path, config: Config, encoding: Told, problems: Problems) -> list[Made]:
    """Vectors of texts and images, from the cache where it has them; what an encoder cannot use has none.

    Paths of images start at the file's folder and stay under it, or are absolute under ``encoder.image_root``.
    """
    made = [Made(None, None, (), failed=False)] * len(documents)
    if not any(text_of(one) or one.image for one in documents):
        return made
    with opened_vectors(config.encoder, (folder, *roots_of(config.encoder))) as vectors:
        for place, found in vectors.made(documents, lambda: None):
            encoding(1)
            made[place] = found
            for reject in found.rejects:
                problems.note_content(documents[place], reject)
    return made
