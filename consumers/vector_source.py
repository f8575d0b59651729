"""Vectors of texts: from the cache where it has them, else from the encoder, in slices of a bounded time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from consumers.measurements import Backlog
from streamer.config.tree import Encoder
from streamer.encoders import CacheError, TextEncoder, VectorCache

logger = logging.getLogger(__name__)

SLICE_CHARACTERS_FIRST = 2_000
SLICE_S_LOW = 0.4
SLICE_S_HIGH = 1.5
"""The next slice is larger after one that took less than the first time, and smaller after one that took more than the second."""

SLICE_BATCHES_MAX = 16
"""Batches of the encoder in a slice: it sorts their texts by length, and equal lengths need no padding."""
CHARACTERS_PER_TOKEN = 5
"""Beyond so many for each token allowed, a text costs no more."""
CHARACTERS_LEAST = 10
"""What a text costs at least, in characters."""

PROBE = "probe"
"""A text that any encoder can encode; where it fails, the encoder is broken and not the text."""


@dataclass(slots=True)
class EncoderCounters:
    """What an encoder worker did since it was made; each number grows only. Read by metrics from other threads."""

    encoded: int = 0
    """Texts that went through the encoder."""
    cached: int = 0
    """Texts whose vectors the cache had."""
    written: int = 0
    """Vector records acknowledged by the log, of documents and of deletions."""
    rejected: int = 0
    """Records of ``items`` that are no documents."""
    failed: int = 0
    """Documents that the encoder could not encode."""
    refused: int = 0
    """Records that the log will never take."""
    cache_errors: int = 0
    encode_seconds: float = 0.0
    backlog: Backlog = field(default_factory=Backlog)
    """Of ``items``, where it reads a log."""


class _Text(NamedTuple):
    content_hash: str
    text: str


class VectorSource:
    """Encodes each content once. ``clock`` gives seconds that never go back."""

    def __init__(
        self, encoder: TextEncoder, cache: VectorCache, counters: EncoderCounters, config: Encoder, clock: Callable[[], float]
    ) -> None:
        self._encoder = encoder
        self._cache = cache
        self._counters = counters
        self._clock = clock
        self._texts_max = SLICE_BATCHES_MAX * config.batch_items_max
        self._characters_max = CHARACTERS_PER_TOKEN * config.text_tokens_max
        self._slice_characters = SLICE_CHARACTERS_FIRST

    def vectors(self, texts: Mapping[str, str], between: Callable[[], None]) -> Iterator[tuple[str, bytes | Exception]]:
        """A pair for each content hash, as soon as it is known: float16 bytes, or why the encoder cannot read that text.

        Args:
            texts: by content hash, none of them blank.
            between: called between two slices, about every second; what it raises ends the work.

        Raises:
            Exception: whatever the encoder raised where it can encode nothing at all.
        """
        known = self._cached(list(texts))
        self._counters.cached += len(known)
        yield from known.items()
        waiting = [_Text(content, text) for content, text in texts.items() if content not in known]
        waiting.sort(key=lambda text: len(text.text), reverse=True)  # texts of one length share a slice: less padding
        while waiting:
            size = self._slice_size(waiting)
            now, waiting = waiting[:size], waiting[size:]
            found = self._encode(now)
            self._keep({content: vector for content, vector in found.items() if isinstance(vector, bytes)})
            yield from found.items()
            if waiting:
                between()

    def _encode(self, texts: Sequence[_Text]) -> dict[str, bytes | Exception]:
        """A slice at once; where that fails, each text by itself, so that one cannot spoil the others."""
        started_s = self._clock()
        try:
            rows = self._encoder.encode([text.text for text in texts])
            if not np.isfinite(rows).all():
                message = "it gave numbers that are not finite"
                raise ValueError(message)  # noqa: TRY301 - handled as any other failure of the model
        except Exception as error:  # noqa: BLE001 - a model raises what it likes
            if len(texts) > 1:
                return {content: vector for text in texts for content, vector in self._encode([text]).items()}
            self._encoder.encode([PROBE])
            return {texts[0].content_hash: error}
        self._counters.encoded += len(texts)
        self._pace(self._clock() - started_s)
        return {text.content_hash: row.astype("<f2").tobytes() for text, row in zip(texts, rows, strict=True)}

    def _slice_size(self, waiting: Sequence[_Text]) -> int:
        """How many of the texts fit in a slice, one at least: time follows characters, whatever their number of texts."""
        characters = 0
        for size, text in enumerate(waiting[: self._texts_max]):
            characters += max(CHARACTERS_LEAST, min(len(text.text), self._characters_max))
            if characters > self._slice_characters:
                return max(1, size)
        return min(len(waiting), self._texts_max)

    def _pace(self, took_s: float) -> None:
        """Keeps a slice short on any machine and for any model."""
        self._counters.encode_seconds += took_s
        if took_s > SLICE_S_HIGH:
            self._slice_characters = max(1, self._slice_characters // 2)
        elif took_s < SLICE_S_LOW:
            self._slice_characters = min(2 * self._slice_characters, self._texts_max * self._characters_max)

    def _cached(self, hashes: Sequence[str]) -> dict[str, bytes]:
        try:
            return self._cache.get_many(self._encoder.fingerprint, hashes)
        except CacheError as error:
            self._note(error)
            return {}

    def _keep(self, vectors: Mapping[str, bytes]) -> None:
        try:
            self._cache.put_many(self._encoder.fingerprint, vectors)
        except CacheError as error:
            self._note(error)

    def _note(self, error: CacheError) -> None:
        """The cache saves time and holds nothing else: work goes on without it."""
        self._counters.cache_errors += 1
        logger.warning("encoder worker goes on without its cache: %s", error)
