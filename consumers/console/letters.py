"""The newest dead letters: what was rejected, why, and where it lay. Only the tail of the topic is read, however long it is."""

from __future__ import annotations

from typing import Any

from consumers.dead_topic import READ_RECORDS
from consumers.span import batches_between
from streamer.events.dead_letters import Identity, Letter, Place, decode_letter, decode_mark
from streamer.events.model import DEAD
from streamer.ports import LogAdmin, LogReader

TAIL_RECORDS = 500
"""Of each partition."""
VALUE_CHARS_MAX = 4_096
SHOWN_MAX = 50


def newest(reader: LogReader, admin: LogAdmin, reason: str | None) -> dict[str, Any]:
    """The newest letters of a reason (None: of any), and how many of each reason are in the tail. Raises LogError."""
    names = {info.topic_id: topic for topic, info in admin.topics().items()}
    found: list[Letter] = []
    again: set[Identity] = set()
    records = 0
    for place, (beginning, end) in admin.bounds([DEAD]).items():
        records += end - beginning
        for batch in batches_between(reader, place, max(beginning, end - TAIL_RECORDS), end, READ_RECORDS):
            for at, append_ms, key, value in zip(batch.offsets, batch.append_ms, batch.keys, batch.values, strict=True):
                headers = batch.headers.get(at, ())
                again.update(decode_mark(value, headers))  # a mark lies behind its letter, so none is missed
                letter = decode_letter(Place(*place, at), append_ms, key, value, headers, names)
                if letter is not None:
                    found.append(letter)
    found.sort(key=lambda letter: (letter.append_ms, letter.at.offset), reverse=True)
    reasons: dict[str, int] = {}
    for letter in found:
        reasons[letter.reason] = reasons.get(letter.reason, 0) + 1
    shown = [letter for letter in found if reason is None or letter.reason == reason][:SHOWN_MAX]
    return {
        "records": records,
        "looked_at": len(found),
        "reasons": reasons,
        "letters": [_plain(letter, again=letter.identity in again) for letter in shown],
    }


def _plain(letter: Letter, *, again: bool) -> dict[str, Any]:
    text = None if letter.value is None else letter.value.decode(errors="replace")
    return {
        "at_ms": letter.append_ms,
        "reason": letter.reason,
        "error": letter.error,
        "origin": f"{letter.topic or letter.topic_id}[{letter.partition}]:{letter.offset}",
        "letter": str(letter.at),
        "attempts": letter.attempts,
        "redriven": again,
        "key": None if letter.key is None else letter.key.decode(errors="replace")[:256],
        "value": None if text is None else text[:VALUE_CHARS_MAX],
        "bytes": 0 if letter.value is None else len(letter.value),
        "cut": letter.cut or (text is not None and len(text) > VALUE_CHARS_MAX),
    }
