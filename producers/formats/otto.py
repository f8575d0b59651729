"""OTTO's sessions: one JSON object a session, with all its events. A session is the user.

https://github.com/otto-de/recsys-dataset describes it. Times are epoch milliseconds. Sessions overlap in time, so that a file is
not in the order of its events: sort it to replay it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from producers.formats.base import NotOursError, Row
from producers.formats.reader import Fields, Format, JsonReader, each_event, names_of
from producers.formats.values import Id, Time, made_id, required, text_of, time_ms
from streamer.events.model import Event, EventTypeName

NAME = "otto"
KINDS: dict[str, EventTypeName] = {"clicks": "click", "carts": "cart", "orders": "purchase"}


class _Event(msgspec.Struct, gc=False):
    aid: Id
    ts: Time
    type: str


class _Session(msgspec.Struct, gc=False):
    session: Id
    events: list[_Event]


_SESSION = msgspec.json.Decoder(_Session)


def _recognise(fields: Fields) -> str | None:
    return "OTTO's sessions with session and events" if {"session", "events"} <= set(fields) else None


def _events(row: Row) -> Iterator[Event]:
    found = _SESSION.decode(row.raw)
    if not found.events:
        raise NotOursError("session without events")
    session = required("session", found.session)
    for place, event in enumerate(found.events):
        kind = KINDS.get(event.type)
        if kind is None:
            raise ValueError(f"events[{place}].type is {event.type[:40]!r}, expected one of {', '.join(KINDS)}")
        yield Event(
            event_id=made_id(NAME, session, event.ts, event.aid, place),
            type=kind,
            user_id=session,
            item_id=text_of(event.aid),
            timestamp=time_ms(f"events[{place}].ts", event.ts),
            session_id=session,
        )


FORMAT = Format(
    name=NAME,
    title="OTTO's sessions, JSON",
    source="https://github.com/otto-de/recsys-dataset",
    becomes=names_of(KINDS),
    users="`session`",
    ids="`session`, `ts`, `aid` and the event's place in its session",
    notes="Sessions overlap in time: sort a file before it is replayed.",
    events=(JsonReader(_recognise, each_event(_events)),),
)
