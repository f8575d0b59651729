"""The name of an encoder: equal for equal weights, tokenizer and settings, whatever the folder is called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
FINGERPRINT_HEX = 32
"""128 bits: enough that two encoders never share a name, short enough to travel in every record."""


def fingerprint(files: Iterable[Path], settings: Mapping[str, object]) -> str:
    """A hash of the files' names and bytes and of the settings that change a vector; reads each file once.

    Versions of libraries and the device are left out: they move the last bits of a vector, not its meaning.
    """
    contents = sorted((path.name, _sha256(path)) for path in files)
    canonical = msgspec.json.encode([contents, dict(settings)], order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:FINGERPRINT_HEX]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
