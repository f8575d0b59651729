"""Records on their way to the log, with users under pseudonyms: what every writer does where a key is configured."""

from __future__ import annotations

from streamer.events.pseudonyms import Pseudonyms
from streamer.ports import Acknowledge, OutRecord


def pseudonymous(
    pseudonyms: Pseudonyms, record: OutRecord, on_done: Acknowledge | None
) -> tuple[OutRecord, Acknowledge | None]:
    """The record as it may be on the log, and a callback that is told of it as it was given. Raises InvalidEventError."""
    key, value = pseudonyms.of_record(record.topic, record.key, record.value)
    if key is record.key and value is record.value:
        return record, on_done
    hidden = OutRecord(record.topic, key, value, record.headers, record.partition)
    return hidden, None if on_done is None else lambda _, error: on_done(record, error)
