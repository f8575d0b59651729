"""Vectors of the pictures that documents name: fetched, decoded and encoded side by side, tried three times where a fault may pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import NamedTuple, TypeVar

from consumers.picture_files import PictureFiles
from consumers.vector_source import VectorSource
from streamer.encoders import Picture, PictureDecoder, PictureFault

TRIES = 3
PAUSE_S = 0.5
"""Between two tries: long enough for a file that is still being written."""
AT_ONCE = 16
"""Pictures fetched at once; at 10 MB each, twice so many are held."""
FETCHERS = 8
WAIT_S = 0.5
"""Of a wait for threads: the membership is kept in between."""

Found = TypeVar("Found")
Outcome = bytes | Exception
Between = Callable[[], None]


class _Decoded(NamedTuple):
    """Pictures by content hash, faults by content hash, and the references of each hash."""

    pictures: dict[str, Picture]
    faults: dict[str, PictureFault]
    references: dict[str, list[str]]


class PictureVectors:
    """Encodes each picture once, whatever the names under which it comes. One thread uses it; closing it ends the decoder's process."""

    def __init__(self, files: PictureFiles, source: VectorSource[Picture], pause: Callable[[float], object]) -> None:
        """``pause`` waits so many seconds."""
        self._files = files
        self._source = source
        self._pause = pause
        self._decoder = PictureDecoder()
        self._fetchers = ThreadPoolExecutor(FETCHERS, "image-fetch")
        self._decoding = ThreadPoolExecutor(1, "image-decode")

    def close(self) -> None:
        """Waits for the picture at hand."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._decoding.shutdown(cancel_futures=True)
        self._decoder.close()

    def vectors(self, references: Sequence[str], between: Between) -> Iterator[tuple[str, Outcome]]:
        """A pair for each reference, as soon as it is known: float16 bytes, a PictureFault, or why the encoder cannot read the picture.

        ``between`` is called about every second; what it raises ends the work. Raises whatever the encoder raised where it can
        encode nothing at all.
        """
        for attempt in range(1, TRIES + 1):
            again: list[str] = []
            for reference, outcome in self._tried(references, between):
                if isinstance(outcome, PictureFault) and outcome.passing and attempt < TRIES:
                    again.append(reference)
                else:
                    yield reference, outcome
            if not again:
                return
            references = again
            self._pause(PAUSE_S)
            between()

    def _tried(self, references: Sequence[str], between: Between) -> Iterator[tuple[str, Outcome]]:
        """One try of each: while pictures are encoded, the next are decoded, and those after them fetched."""
        chunks = [references[start : start + AT_ONCE] for start in range(0, len(references), AT_ONCE)]
        fetching = self._fetch(chunks[0]) if chunks else []
        decoding: Future[_Decoded] | None = None
        for number in range(len(chunks)):
            fetched = [(reference, _waited(future, between)) for reference, future in fetching]
            fetching = self._fetch(chunks[number + 1]) if number + 1 < len(chunks) else []
            before, decoding = decoding, None
            yield from ((reference, got) for reference, got in fetched if isinstance(got, PictureFault))
            hashed = _by_hash((reference, got) for reference, got in fetched if isinstance(got, bytes))
            known = self._source.cached(list(hashed))
            yield from ((reference, vector) for key, vector in known.items() for reference, _ in hashed[key])
            decoding = self._decoding.submit(self._decode, {key: some for key, some in hashed.items() if key not in known})
            if before is not None:
                yield from self._encoded(_waited(before, between), between)
        if decoding is not None:
            yield from self._encoded(_waited(decoding, between), between)

    def _fetch(self, references: Sequence[str]) -> list[tuple[str, Future[bytes | PictureFault]]]:
        return [(reference, self._fetchers.submit(self._read, reference)) for reference in references]

    def _read(self, reference: str) -> bytes | PictureFault:
        try:
            return self._files.read(reference)
        except PictureFault as fault:
            return fault

    def _decode(self, hashed: dict[str, list[tuple[str, bytes]]]) -> _Decoded:
        decoded = _Decoded({}, {}, {key: [reference for reference, _ in some] for key, some in hashed.items()})
        for key, some in hashed.items():
            try:
                decoded.pictures[key] = self._decoder.decode(some[0][1])
            except PictureFault as fault:
                decoded.faults[key] = fault
        return decoded

    def _encoded(self, decoded: _Decoded, between: Between) -> Iterator[tuple[str, Outcome]]:
        outcomes: Iterator[tuple[str, Outcome]] = self._source.encoded(decoded.pictures, between)
        for key, outcome in (*decoded.faults.items(), *outcomes):
            yield from ((reference, outcome) for reference in decoded.references[key])


def _by_hash(fetched: Iterator[tuple[str, bytes]]) -> dict[str, list[tuple[str, bytes]]]:
    found: dict[str, list[tuple[str, bytes]]] = {}
    for reference, data in fetched:
        found.setdefault(hashlib.sha256(data).hexdigest(), []).append((reference, data))
    return found


def _waited(future: Future[Found], between: Between) -> Found:
    while True:
        try:
            return future.result(WAIT_S)
        except FutureTimeoutError:
            if future.done():
                raise
            between()
