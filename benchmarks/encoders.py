"""How fast documents become vectors, texts and pictures, beside what the bare models do.

    python -m benchmarks.encoders ITEMS.jsonl [--items 400] [--config streamer.toml]

Bare: each model alone, on texts already cut into words and pictures already decoded, prepared and in memory. The pipeline reads,
decodes, prepares, encodes and keeps. A second start finds all in the cache and encodes nothing, or the run fails.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import msgspec

from benchmarks.machine import machine
from consumers.document_vectors import opened_vectors
from consumers.vector_source import EncoderCounters
from producers.formats import open_items
from streamer.config import from_environment
from streamer.config.tree import Encoder
from streamer.encoders import PictureDecoder, load_image_encoder, load_text_encoder
from streamer.encoders.computing import computing
from streamer.events.items import decode_item, text_of
from streamer.events.model import ItemDocument


def documents_of(path: Path, items: int) -> list[ItemDocument]:
    """The first documents of a file that have both text and picture."""
    found = (decode_item(record.key, record.value) for record in open_items(path))
    both = [one for one in found if isinstance(one, ItemDocument) and one.image and text_of(one)]
    return both[:items]


def bare_texts(config: Encoder, texts: Sequence[str]) -> float:
    """Texts a second through tokenizer and model, longest first."""
    encoder = load_text_encoder(config)
    encoder.encode(texts[:8])
    started = perf_counter()
    encoder.encode(texts)
    return len(texts) / (perf_counter() - started)


def bare_pictures(config: Encoder, paths: Sequence[Path]) -> float:
    """Pictures a second through the model alone."""
    encoder = load_image_encoder(config)
    assert encoder is not None
    with PictureDecoder() as decoder:
        pictures = [decoder.decode(path.read_bytes()) for path in paths]
    vision = encoder._load()  # noqa: SLF001 - the bare model is what is measured
    size = config.batch_items_max
    with computing(config.threads):
        batches = [vision.pixels(pictures[start : start + size]).to(config.device) for start in range(0, len(pictures), size)]
        vision.vectors(batches[0])
        started = perf_counter()
        for batch in batches:
            vision.vectors(batch).cpu()
        return len(pictures) / (perf_counter() - started)


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    took: list[float] = []
    started = perf_counter()
    yield took
    took.append(perf_counter() - started)


def pipeline(config: Encoder, documents: Sequence[ItemDocument], root: Path) -> tuple[float, EncoderCounters]:
    """Documents a second through everything that a worker does with them but the log."""
    with opened_vectors(config, (root,)) as vectors, timed() as took:
        for _ in vectors.made(documents, lambda: None):
            pass
        counters = vectors.counters
    return len(documents) / took[0], counters


def main() -> None:
    arguments = argparse.ArgumentParser(description="How fast documents become vectors.")
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--items", type=int, default=400)
    arguments.add_argument("--config", type=Path, default=None)
    given = arguments.parse_args()
    documents = documents_of(given.file, given.items)
    if not documents:
        sys.exit(f"{given.file} has no document with both text and image")
    root = given.file.resolve().parent
    with tempfile.TemporaryDirectory() as cache:
        config = msgspec.structs.replace(from_environment(given.config).encoder, cache_root=cache)
        texts = bare_texts(config, [text_of(one) for one in documents])
        pictures = bare_pictures(config, [root / str(one.image) for one in documents])
        bare = 1.0 / (1.0 / texts + 1.0 / pictures)
        first, counters = pipeline(config, documents, root)
        second, again = pipeline(config, documents, root)
    if again.encoded or again.images_encoded:
        sys.exit(f"a second start encoded {again.encoded} texts and {again.images_encoded} pictures, expected none")
    about = machine()
    print(
        f"{len(documents)} documents, {config.text_model} and {config.image_model} on {config.device}, {config.threads} threads, {about}"
    )
    print(f"bare models: {texts:.1f} texts/s, {pictures:.1f} pictures/s, one after the other {bare:.1f} items/s")
    print(
        f"pipeline:    {first:.1f} items/s, {first / bare:.2f} of bare ({counters.encoded} texts, {counters.images_encoded} pictures)"
    )
    print(f"second start: {second:.1f} items/s, nothing encoded")


if __name__ == "__main__":
    main()
