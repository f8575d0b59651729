"""Vectors of contents: from the cache where it has them, else from the encoder, in slices of a bounded time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from consumers.measurements import Backlog
from streamer.config.tree import Encoder
from streamer.encoders import CacheError, EncoderUnavailable, ImageEncoder, Picture, TextEncoder, VectorCache
from streamer.encoders.text import Vectors

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
Value_contra = TypeVar("Value_contra", contravariant=True)

SLICE_S_LOW = 0.4
SLICE_S_HIGH = 1.5
"""The next slice is larger after one that took less than the first time, and smaller after one that took more than the second."""

SLICE_BATCHES_MAX = 16
"""Batches of the encoder in a slice of texts: it sorts them by length, and equal lengths need no padding."""
SLICE_CHARACTERS_FIRST = 2_000
CHARACTERS_PER_TOKEN = 5
"""Beyond so many for each token allowed, a text costs no more."""
CHARACTERS_LEAST = 10
"""What a text costs at least, in characters."""
SLICE_PICTURES_FIRST = 4

PROBE_TEXT = "probe"
"""A text that any encoder can encode; where it fails, the encoder is broken and not the text."""
PROBE_PICTURE = np.full((64, 64, 3), 128, np.uint8)


@dataclass(slots=True)
class EncoderCounters:
    """What an encoder worker did since it was made; each number grows only. Read by metrics from other threads."""

    encoded: int = 0
    """Texts that went through the encoder."""
    cached: int = 0
    """Texts whose vectors the cache had."""
    images_encoded: int = 0
    images_cached: int = 0
    images_unusable: int = 0
    """Documents whose image could not be had or decoded."""
    written: int = 0
    """Vector records acknowledged by the log, of documents and of deletions."""
    rejected: int = 0
    """Records of ``items`` that are no documents."""
    failed: int = 0
    """Documents that an encoder could not encode."""
    refused: int = 0
    """Records that the log will never take."""
    cache_errors: int = 0
    encode_seconds: float = 0.0
    image_encode_seconds: float = 0.0
    backlog: Backlog = field(default_factory=Backlog)
    """Of ``items``, where it reads a log."""


class FrozenEncoder(Protocol[Value_contra]):
    """What both kinds of encoder do."""

    @property
    def fingerprint(self) -> str:
        """The name of the model with its settings."""
        ...

    def encode(self, values: Sequence[Value_contra], /) -> Vectors:
        """Unit vectors in the order of the values."""
        ...


class Kind(NamedTuple, Generic[Value]):
    """What a slice of one kind of content costs, and how it is counted."""

    cost: Callable[[Value], float]
    cost_first: float
    cost_max: float
    """Of a slice: the first one's, and no slice's is greater."""
    contents_max: int
    probe: Value
    note_encoded: Callable[[EncoderCounters, int, float], None]
    """Adds contents encoded and the seconds that took."""
    note_cached: Callable[[EncoderCounters, int], None]


class VectorSource(Generic[Value]):
    """Encodes each content once. ``clock`` gives seconds that never go back."""

    def __init__(
        self,
        encoder: FrozenEncoder[Value],
        cache: VectorCache,
        counters: EncoderCounters,
        kind: Kind[Value],
        clock: Callable[[], float],
    ) -> None:
        self._encoder = encoder
        self._cache = cache
        self._counters = counters
        self._kind = kind
        self._clock = clock
        self._slice_cost = kind.cost_first

    def vectors(self, values: Mapping[str, Value], between: Callable[[], None]) -> Iterator[tuple[str, bytes | Exception]]:
        """A pair for each content hash, as soon as it is known: float16 bytes, or why the encoder cannot read that content.

        Args:
            values: by content hash.
            between: called between two slices, about every second; what it raises ends the work.

        Raises:
            Exception: whatever the encoder raised where it can encode nothing at all.
        """
        known = self.cached(list(values))
        yield from known.items()
        yield from self.encoded({key: value for key, value in values.items() if key not in known}, between)

    def cached(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """What the cache has of these contents."""
        try:
            known = self._cache.get_many(self._encoder.fingerprint, hashes)
        except CacheError as error:
            self._note(error)
            return {}
        self._kind.note_cached(self._counters, len(known))
        return known

    def encoded(self, values: Mapping[str, Value], between: Callable[[], None]) -> Iterator[tuple[str, bytes | Exception]]:
        """The same as ``vectors`` of contents that the cache does not have."""
        waiting = sorted(
            values.items(), key=lambda one: self._kind.cost(one[1]), reverse=True
        )  # equal costs share a slice: less padding
        while waiting:
            size = self._slice_size(waiting)
            now, waiting = waiting[:size], waiting[size:]
            found = self._encode(now)
            self._keep({key: vector for key, vector in found.items() if isinstance(vector, bytes)})
            yield from found.items()
            if waiting:
                between()

    def _encode(self, contents: Sequence[tuple[str, Value]]) -> dict[str, bytes | Exception]:
        """A slice at once; where that fails, each content by itself, so that one cannot spoil the others."""
        started_s = self._clock()
        try:
            rows = self._encoder.encode([value for _, value in contents])
            if not np.isfinite(rows).all():
                message = "it gave numbers that are not finite"
                raise ValueError(message)  # noqa: TRY301 - handled as any other failure of the model
        except EncoderUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a model raises what it likes
            if len(contents) > 1:
                return {key: vector for one in contents for key, vector in self._encode([one]).items()}
            self._encoder.encode([self._kind.probe])
            return {contents[0][0]: error}
        took_s = self._clock() - started_s
        self._kind.note_encoded(self._counters, len(contents), took_s)
        self._pace(took_s)
        return {key: row.astype("<f2").tobytes() for (key, _), row in zip(contents, rows, strict=True)}

    def _slice_size(self, waiting: Sequence[tuple[str, Value]]) -> int:
        """How many of the contents fit in a slice, one at least: time follows cost, whatever their number."""
        cost, most = 0.0, self._kind.contents_max
        for size, (_, value) in enumerate(waiting[:most]):
            cost += self._kind.cost(value)
            if cost > self._slice_cost:
                return max(1, size)
        return min(len(waiting), most)

    def _pace(self, took_s: float) -> None:
        """Keeps a slice short on any machine and for any model."""
        if took_s > SLICE_S_HIGH:
            self._slice_cost = max(1.0, self._slice_cost / 2)
        elif took_s < SLICE_S_LOW:
            self._slice_cost = min(2 * self._slice_cost, self._kind.cost_max)

    def _keep(self, vectors: Mapping[str, bytes]) -> None:
        try:
            self._cache.put_many(self._encoder.fingerprint, vectors)
        except CacheError as error:
            self._note(error)

    def _note(self, error: CacheError) -> None:
        """The cache saves time and holds nothing else: work goes on without it."""
        self._counters.cache_errors += 1
        logger.warning("encoder worker goes on without its cache: %s", error)


def text_source(
    encoder: TextEncoder, cache: VectorCache, counters: EncoderCounters, config: Encoder, clock: Callable[[], float]
) -> VectorSource[str]:
    """Vectors of texts, none of them blank."""
    characters_max = CHARACTERS_PER_TOKEN * config.text_tokens_max
    texts_max = SLICE_BATCHES_MAX * config.batch_items_max

    def note_encoded(counters: EncoderCounters, texts: int, seconds: float) -> None:
        counters.encoded += texts
        counters.encode_seconds += seconds

    def note_cached(counters: EncoderCounters, texts: int) -> None:
        counters.cached += texts

    kind = Kind(
        cost=lambda text: max(CHARACTERS_LEAST, min(len(text), characters_max)),
        cost_first=SLICE_CHARACTERS_FIRST,
        cost_max=texts_max * characters_max,
        contents_max=texts_max,
        probe=PROBE_TEXT,
        note_encoded=note_encoded,
        note_cached=note_cached,
    )
    return VectorSource(encoder, cache, counters, kind, clock)


def picture_source(
    encoder: ImageEncoder, cache: VectorCache, counters: EncoderCounters, config: Encoder, clock: Callable[[], float]
) -> VectorSource[Picture]:
    """Vectors of decoded pictures, each of which costs the same."""

    def note_encoded(counters: EncoderCounters, pictures: int, seconds: float) -> None:
        counters.images_encoded += pictures
        counters.image_encode_seconds += seconds

    def note_cached(counters: EncoderCounters, pictures: int) -> None:
        counters.images_cached += pictures

    kind = Kind(
        cost=lambda _: 1.0,
        cost_first=SLICE_PICTURES_FIRST,
        cost_max=config.batch_items_max,
        contents_max=config.batch_items_max,
        probe=PROBE_PICTURE,
        note_encoded=note_encoded,
        note_cached=note_cached,
    )
    return VectorSource(encoder, cache, counters, kind, clock)
