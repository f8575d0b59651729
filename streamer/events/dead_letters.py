"""Rejected records as they are kept on topic ``events.dead``."""

from __future__ import annotations

import hashlib

from streamer.events.model import DEAD_VALUE_BYTES_MAX, DeadLetter

ERROR_BYTES_MAX = 2_048


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
        "topic_id": letter.topic_id,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
        "attempts": str(letter.attempts),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }
    value = None if letter.value is None and letter.key is not None else whole[:DEAD_VALUE_BYTES_MAX]
    return value, tuple((name, text.encode()) for name, text in headers.items())
