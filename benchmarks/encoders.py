"""How fast documents become vectors, texts and pictures, beside what the bare models do.

    python -m benchmarks.encoders ITEMS.jsonl [--items 400] [--config streamer.toml]

Bare: each model alone, on texts already cut into words and pictures already decoded, prepared and in memory. The pipeline reads,
decodes, prepares, encodes and keeps. A second start finds all in the cache and encodes nothing, or the run fails.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, perf_counter
from typing import NamedTuple

import msgspec

from benchmarks.machine import machine
from consumers.document_vectors import document_vectors
from consumers.picture_files import PictureFiles
from consumers.picture_urls import PictureUrls
from consumers.vector_source import PROBE_PICTURE, EncoderCounters
from producers.formats import open_items
from streamer.config import from_environment
from streamer.config.tree import Encoder
from streamer.encoders import ImageEncoder, PictureDecoder, TextEncoder, VectorCache, load_image_encoder, load_text_encoder
from streamer.encoders.computing import computing
from streamer.events.items import decode_item, text_of
from streamer.events.model import ItemDocument


def documents_of(path: Path, items: int) -> list[ItemDocument]:
    """The first documents of a file that have both text and picture."""
    found = (decode_item(record.key, record.value) for record in open_items(path))
    both = [one for one in found if isinstance(one, ItemDocument) and one.image and text_of(one)]
    return both[:items]


class Rate(NamedTuple):
    """Items a second of wall clock, and a second of CPU (this process with its threads and its ended children)."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.1f}/s ({self.cpu:.1f} a second of CPU)"


def cpu_s() -> float:
    return sum(sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def rate(items: int, work: Callable[[], object]) -> Rate:
    started, started_cpu = perf_counter(), cpu_s()
    work()
    return Rate(items / (perf_counter() - started), items / (cpu_s() - started_cpu))


def bare_texts(encoder: TextEncoder, texts: Sequence[str]) -> Rate:
    """Tokenizer and model, longest first."""
    encoder.encode(texts[:8])
    return rate(len(texts), lambda: encoder.encode(texts))


def bare_pictures(encoder: ImageEncoder, config: Encoder, paths: Sequence[Path]) -> Rate:
    """The model alone."""
    with PictureDecoder() as decoder:
        pictures = [decoder.decode(path.read_bytes()) for path in paths]
    vision = encoder._load()  # noqa: SLF001 - the bare model is what is measured
    size = config.batch_items_max
    with computing(config.threads):
        batches = [vision.pixels(pictures[start : start + size]).to(config.device) for start in range(0, len(pictures), size)]
        vision.vectors(batches[0])
        return rate(len(pictures), lambda: [vision.vectors(batch).cpu() for batch in batches])


def pipeline(
    texts: TextEncoder, images: ImageEncoder, config: Encoder, documents: Sequence[ItemDocument], root: Path
) -> tuple[Rate, EncoderCounters]:
    """Everything that a worker does with documents but the log; the models are loaded before."""
    counters = EncoderCounters()

    def work() -> None:
        with document_vectors(texts, images, cache, config, files, monotonic) as vectors:
            for _ in vectors.made(documents, lambda: None):
                pass
            nonlocal counters
            counters = vectors.counters

    images.encode([PROBE_PICTURE])
    with contextlib.closing(VectorCache(Path(config.cache_root), vectors_max=config.cache_vectors_max)) as cache:
        files = PictureFiles((root,), PictureUrls(""))
        return rate(len(documents), work), counters


class Encoded(NamedTuple):
    """What was measured of one set of documents."""

    texts: Rate
    pictures: Rate
    bare: Rate
    """Both models, one after the other."""
    first: Rate
    second: Rate


def encoded(config: Encoder, documents: Sequence[ItemDocument], root: Path) -> Encoded:
    """The bare models, then the pipeline with an empty cache, then with a full one. Raises RuntimeError where that encodes anything.

    ``root``: the folder under which the documents' pictures are.
    """
    texts, images = load_text_encoder(config), load_image_encoder(config)
    assert images is not None, "both models are measured"
    with tempfile.TemporaryDirectory() as cache:
        config = msgspec.structs.replace(config, cache_root=cache)
        of_texts = bare_texts(texts, [text_of(one) for one in documents])
        of_pictures = bare_pictures(images, config, [root / str(one.image) for one in documents])
        bare = Rate(*(1.0 / (1.0 / text + 1.0 / picture) for text, picture in zip(of_texts, of_pictures, strict=True)))
        first, _ = pipeline(texts, images, config, documents, root)
        second, again = pipeline(texts, images, config, documents, root)
    if again.encoded or again.images_encoded:
        raise RuntimeError(f"a second start encoded {again.encoded} texts and {again.images_encoded} pictures, expected none")
    return Encoded(of_texts, of_pictures, bare, first, second)


def main() -> None:
    arguments = argparse.ArgumentParser(description="How fast documents become vectors.")
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--items", type=int, default=400)
    arguments.add_argument("--config", type=Path, default=None)
    given = arguments.parse_args()
    documents = documents_of(given.file, given.items)
    if not documents:
        sys.exit(f"{given.file} has no document with both text and image")
    config = from_environment(given.config).encoder
    try:
        texts, pictures, bare, first, second = encoded(config, documents, given.file.resolve().parent)
    except RuntimeError as error:
        sys.exit(str(error))
    about = machine()
    print(
        f"{len(documents)} documents, {config.text_model} and {config.image_model} on {config.device}, {config.threads} threads, {about}"
    )
    print(f"bare models: texts {texts}, pictures {pictures}, one after the other {bare}")
    print(f"pipeline:    {first}: {first.wall / bare.wall:.2f} of bare by the clock, {first.cpu / bare.cpu:.2f} by CPU")
    print(f"second start: {second}, nothing encoded")


if __name__ == "__main__":
    main()
