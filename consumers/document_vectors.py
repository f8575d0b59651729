"""Vectors of item documents, text and image, each encoded once whatever the documents that share it."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from consumers.picture_files import PictureFiles
from consumers.picture_urls import PictureUrls
from consumers.picture_vectors import PictureVectors
from consumers.vector_source import EncoderCounters, VectorSource, picture_source, text_source
from streamer.config.tree import Encoder
from streamer.encoders import (
    ImageEncoder,
    PictureFault,
    TextEncoder,
    VectorCache,
    load_image_encoder,
    load_text_encoder,
)
from streamer.events.items import text_of
from streamer.events.model import ItemDocument, Reject, RejectReason

Clock = Callable[[], float]
Between = Callable[[], None]


class Made(NamedTuple):
    """Vectors of one document as float16 bytes, None where it has no such content or that could not be used; why in ``rejects``."""

    text: bytes | None
    image: bytes | None
    rejects: tuple[Reject, ...]
    failed: bool
    """An encoder broke at the text: what the item had before should stay."""


class DocumentVectors:
    """Both encoders and their cache behind one call."""

    def __init__(
        self, counters: EncoderCounters, texts: VectorSource[str], pictures: PictureVectors | None, fingerprint: str
    ) -> None:
        self.counters = counters
        self.fingerprint = fingerprint
        """Of both encoders: it changes when either does."""
        self._texts = texts
        self._pictures = pictures

    def made(self, documents: Sequence[ItemDocument], between: Between) -> Iterator[tuple[int, Made]]:
        """A pair of place and vectors for each document, as soon as all of its own is known.

        ``between`` is called about every second; what it raises ends the work. Raises whatever an encoder raised where it can
        encode nothing at all.
        """
        texts, images = self._contents(documents)
        pictured = {place for places in images.values() for place in places}
        made: dict[int, Made] = {}
        worded = {place for _, places in texts.values() for place in places}
        for place in range(len(documents)):
            if place not in worded:
                made[place] = Made(None, None, (), failed=False)
                if place not in pictured:
                    yield place, made[place]
        for key, outcome in self._texts.vectors({key: text for key, (text, _) in texts.items()}, between):
            for place in texts[key][1]:
                made[place] = self._with_text(outcome)
                if place not in pictured:
                    yield place, made[place]
        if self._pictures is not None and images:
            for reference, outcome in self._pictures.vectors(list(images), between):
                yield from ((place, self._with_image(made[place], outcome)) for place in images[reference])

    def _contents(self, documents: Sequence[ItemDocument]) -> tuple[dict[str, tuple[str, list[int]]], dict[str, list[int]]]:
        """Texts by their hash and references of images, each with the places of its documents."""
        texts: dict[str, tuple[str, list[int]]] = {}
        images: dict[str, list[int]] = {}
        for place, document in enumerate(documents):
            text = text_of(document)
            if text.strip():
                texts.setdefault(hashlib.sha256(text.encode()).hexdigest(), (text, []))[1].append(place)
            if document.image and self._pictures is not None:
                images.setdefault(document.image, []).append(place)
        return texts, images

    def _with_text(self, outcome: bytes | Exception) -> Made:
        if isinstance(outcome, bytes):
            return Made(outcome, None, (), failed=False)
        self.counters.failed += 1
        found = f"the text encoder failed: {type(outcome).__name__}: {outcome}"
        return Made(None, None, (Reject(RejectReason.ENGINE_ERROR, found),), failed=True)

    def _with_image(self, made: Made, outcome: bytes | Exception) -> Made:
        if isinstance(outcome, bytes):
            return made._replace(image=outcome)
        if isinstance(outcome, PictureFault):
            self.counters.images_unusable += 1
            return made._replace(rejects=(*made.rejects, outcome.reject))
        self.counters.failed += 1
        found = f"the image encoder failed: {type(outcome).__name__}: {outcome}"
        return made._replace(rejects=(*made.rejects, Reject(RejectReason.ENGINE_ERROR, found)))


def joint_fingerprint(texts: TextEncoder, images: ImageEncoder | None) -> str:
    """The name of both encoders together; the text encoder's own where there is no other."""
    return texts.fingerprint if images is None else f"{texts.fingerprint}+{images.fingerprint}"


@contextlib.contextmanager
def document_vectors(
    texts: TextEncoder, images: ImageEncoder | None, cache: VectorCache, config: Encoder, files: PictureFiles, clock: Clock
) -> Iterator[DocumentVectors]:
    """Both encoders with their cache, closed afterwards (but for the cache)."""
    counters = EncoderCounters()
    source = text_source(texts, cache, counters, config, clock)
    with contextlib.ExitStack() as stack:
        pictures: PictureVectors | None = None
        if images is not None:
            pictures = PictureVectors(files, picture_source(images, cache, counters, config, clock), time.sleep)
            stack.enter_context(contextlib.closing(pictures))
        yield DocumentVectors(counters, source, pictures, joint_fingerprint(texts, images))


@contextlib.contextmanager
def opened_vectors(config: Encoder, roots: tuple[Path, ...], clock: Clock = time.monotonic) -> Iterator[DocumentVectors]:
    """The configured encoders and their cache; ``roots``: folders under which paths of images may lead.

    Raises EncoderUnavailable, CacheError.
    """
    texts, images = load_text_encoder(config), load_image_encoder(config)
    with contextlib.ExitStack() as stack:
        cache = VectorCache(Path(config.cache_root), vectors_max=config.cache_vectors_max)
        stack.enter_context(contextlib.closing(cache))
        urls = stack.enter_context(contextlib.closing(PictureUrls(config.image_hosts)))
        yield stack.enter_context(document_vectors(texts, images, cache, config, PictureFiles(roots, urls), clock))


def roots_of(config: Encoder) -> tuple[Path, ...]:
    """The folder under which the log's documents may name images, none where none is configured."""
    return () if config.image_root is None else (Path(config.image_root),)
