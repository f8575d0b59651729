"""``--fix``: what a format of recordings makes of the values of dead letters."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.redrive import Mend, Mended
from producers.formats import FORMATS
from producers.formats.base import LeftOut, Recorded, Row
from producers.formats.reader import Format, JsonReader
from streamer.events.codec import decode_events
from streamer.events.dead_letters import Letter
from streamer.events.model import EVENTS
from streamer.events.pseudonyms import Pseudonyms

_PARTITION_BITS = 12


def mendable() -> dict[str, Format]:
    """The formats whose events are JSON, one a record, by name: a letter is one record."""
    return {known.name: known for known in FORMATS if _readers(known)}


def mender(known: Format) -> Mend:
    """A function from letters to their events: a pure one, so that a dry run says what would be sent."""
    [reader, *_] = _readers(known)

    def mend(letters: Sequence[Letter]) -> list[Mended]:
        # as the number of the line, what a format makes up an event id of, if it must: the same for the same letter
        rows = [Row(letter.at.offset << _PARTITION_BITS | letter.at.partition, letter.value or b"null") for letter in letters]
        found: dict[int, list[Recorded]] = {}
        for record in reader.read(rows, LeftOut()):
            found.setdefault(record.line, []).append(record)
        return [_mended(known.name, found.get(row.line, [])) for row in rows]

    return mend


def under_pseudonyms(mend: Mend | None, pseudonyms: Pseudonyms | None) -> Mend | None:
    """The same with the users of its events under pseudonyms, where there are such."""
    if mend is None or pseudonyms is None:
        return mend

    def hidden(letters: Sequence[Letter]) -> list[Mended]:
        return [one if isinstance(one, str) else [_hidden(pseudonyms, *event) for event in one] for one in mend(letters)]

    return hidden


def _hidden(pseudonyms: Pseudonyms, key: bytes | None, value: bytes) -> tuple[bytes | None, bytes]:
    hidden_key, hidden_value = pseudonyms.of_record(EVENTS, key, value)
    return hidden_key, hidden_value or b""


def _readers(known: Format) -> list[JsonReader]:
    return [reader for reader in known.events if isinstance(reader, JsonReader)]


def _mended(name: str, records: list[Recorded]) -> Mended:
    if not records:
        return f"{name} leaves it out: it is no interaction with an item"
    error = next((record.error for record in records if record.error is not None), None)
    if error is not None:
        return error
    rejects = decode_events([record.value for record in records]).rejects
    return rejects[0][1].error if rejects else [(record.key, record.value) for record in records]
