"""Rejected records as they are kept on topic ``events.dead``, and the marks that say which of them were sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec

from streamer.events.model import DEAD_VALUE_BYTES_MAX, DeadLetter, Reject, RejectReason

ERROR_BYTES_MAX = 2_048
ATTEMPTS = "attempts"
"""Header of a letter, and of a record that is sent again: how often it was rejected."""
REDRIVEN = "redriven"
"""Header of a mark: a record among the letters that names rejected records that were sent again."""
ATTEMPTS_DIGITS_MAX = 6
LEFT_OUT = Reject(RejectReason.ENGINE_ERROR, "left out: an operator said so (streamer reset --leave-out)")
"""Of records that are not applied because an operator named their offsets."""

Headers = Sequence[tuple[str, bytes]]
_Offset = Annotated[int, msgspec.Meta(ge=0, le=10**18)]
OFFSET_DIGITS_MAX = 18


class Place(NamedTuple):
    """Where a record lies, as ``streamer reset --leave-out`` takes it."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """As in ``events[0]:17``."""
        return f"{self.topic}[{self.partition}]:{self.offset}"


class Identity(NamedTuple):
    """A rejected record: the id of its topic, partition, offset; without an id, those of the letter itself."""

    topic_id: str
    partition: _Offset
    offset: _Offset


class Letter(NamedTuple):
    """A rejected record as found on ``events.dead``; what its headers do not tell is empty, or -1."""

    at: Place
    """Of the letter itself."""
    append_ms: int
    reason: str
    error: str
    topic: str
    """Logical name of the topic of origin, "" where the letter has only its id."""
    topic_id: str
    partition: int
    offset: int
    attempts: int
    sha256: str
    key: bytes | None
    value: bytes | None

    @property
    def cut(self) -> bool:
        """Whether its value is not all of the rejected one."""
        return bool(self.sha256) and sha256_of(self.value) != self.sha256

    @property
    def identity(self) -> Identity:
        """Which rejected record it tells of: one that is read again is rejected again, and has two letters."""
        known = self.topic_id and self.partition >= 0 and self.offset >= 0
        return (
            Identity(self.topic_id, self.partition, self.offset) if known else Identity("", self.at.partition, self.at.offset)
        )

    @property
    def left_out(self) -> bool:
        """Whether the record was rejected because an operator left it out."""
        return (self.reason, self.error) == (LEFT_OUT.reason, LEFT_OUT.error)

    @property
    def origin(self) -> Place:
        """Where the rejected record was."""
        return Place(self.topic, self.partition, self.offset)


class _Marked(msgspec.Struct):
    """The value of a mark."""

    redriven: list[Identity]


_MARK = msgspec.json.Decoder(_Marked)


def encode_dead_letter(letter: DeadLetter) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    """Value and headers of the record that tells of the rejected one.

    The value is the rejected one's first DEAD_VALUE_BYTES_MAX bytes, None where that was null (empty where the key is null too:
    a log takes no record that is nothing); the header ``sha256`` is of
    the whole value, in hex, so that a cut can be told. The key stays the rejected record's own.
    """
    whole = letter.value or b""
    headers = {
        "reason": letter.reject.reason.value,
        "error": letter.reject.error.encode(errors="replace")[:ERROR_BYTES_MAX].decode(errors="ignore"),
        "topic": letter.topic,
        "topic_id": letter.topic_id,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        ATTEMPTS: str(letter.attempts),
        "sha256": sha256_of(whole),
    }
    value = None if letter.value is None and letter.key is not None else whole[:DEAD_VALUE_BYTES_MAX]
    return value, tuple((name, text.encode()) for name, text in headers.items())


def decode_letter(
    at: Place, append_ms: int, key: bytes | None, value: bytes | None, headers: Headers, topics: Mapping[str, str]
) -> Letter | None:
    """A record of ``events.dead`` as a letter, None where it is a mark. Whatever its headers are, nothing raises.

    Args:
        at: its own place.
        append_ms: when the log got it.
        key: its key, which was the rejected record's.
        value: its value.
        headers: its headers.
        topics: logical names of present topics by id: letters of former versions have no name.
    """
    found = dict(headers)
    if REDRIVEN in found:
        return None
    text = {name: content.decode(errors="replace") for name, content in found.items()}
    topic_id = text.get("topic_id", "")
    return Letter(
        at=at,
        append_ms=append_ms,
        reason=text.get("reason", ""),
        error=text.get("error", ""),
        topic=text.get("topic") or topics.get(topic_id, ""),
        topic_id=topic_id,
        partition=_number(text.get("partition", "")),
        offset=_number(text.get("offset", "")),
        attempts=max(1, attempts_before(headers)),
        sha256=text.get("sha256", ""),
        key=key,
        value=value,
    )


def encode_mark(sent: Sequence[Identity]) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """Value and headers of the mark that these were sent again; it belongs on the partition of their letters, behind them."""
    return msgspec.json.encode(_Marked(list(sent))), ((REDRIVEN, str(len(sent)).encode()),)


def decode_mark(value: bytes | None, headers: Headers) -> list[Identity]:
    """What a mark names; [] of any other record."""
    if not any(name == REDRIVEN for name, _ in headers):
        return []
    try:
        return _MARK.decode(value or b"").redriven
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []


def attempts_before(headers: Headers) -> int:
    """How often a record was rejected before, as its header says; 0 where it has none that is a small number."""
    text = next((content for name, content in headers if name == ATTEMPTS), b"")
    return int(text) if text.isdigit() and len(text) <= ATTEMPTS_DIGITS_MAX else 0


def sha256_of(value: bytes | None) -> str:
    """Of a record's value, in hex; null counts as empty."""
    return hashlib.sha256(value or b"").hexdigest()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= OFFSET_DIGITS_MAX else -1
