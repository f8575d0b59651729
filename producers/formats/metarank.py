"""Metarank's events: rankings and interactions are events here, items are documents, and users are left out.

https://docs.metarank.ai/reference/event-schema has the fields. A ranking's id is the request of what follows it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from producers.formats.base import NotOursError, Row
from producers.formats.reader import Fields, Format, JsonReader, each_event, each_item, member
from producers.formats.values import Id, Time, made_id, of_items, required, short, text_of, time_ms, unique
from streamer.events.model import Event, EventTypeName, ItemDocument

NAME = "metarank"
TYPES: dict[str, EventTypeName] = {
    "view": "view",
    "click": "click",
    "like": "click",
    "cart": "cart",
    "add_to_cart": "cart",
    "purchase": "purchase",
}
"""Types of interactions that are known by name; Metarank leaves naming to its users."""

_TITLES, _TEXTS, _IMAGES = ("title", "name"), ("description", "text", "overview", "plot"), ("image", "image_url", "poster")
_CATEGORIES = ("categories", "category", "genres", "tags")
_NONE = msgspec.Raw(b"[]")
_EVENTS = frozenset({b'"item"', b'"user"', b'"ranking"', b'"interaction"'})


class _Shown(msgspec.Struct, gc=False):
    id: Id | None = None


class _Any(msgspec.Struct, gc=False):
    event: str
    id: Id | None = None
    timestamp: Time | None = None
    user: Id | None = None
    session: Id | None = None
    ranking: Id | None = None
    type: str | None = None
    item: Id | None = None
    items: list[_Shown] | None = None


class _Document(msgspec.Struct, gc=False):
    event: str
    item: Id | None = None
    timestamp: Time | None = None
    fields: msgspec.Raw = _NONE


_ANY = msgspec.json.Decoder(_Any)
_DOCUMENT = msgspec.json.Decoder(_Document)
_FIELDS = msgspec.json.Decoder(list[msgspec.Raw])
_FIELD = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANYTHING = msgspec.json.Decoder()


def _recognise(fields: Fields) -> str | None:
    if {"id", "timestamp", "event"} <= set(fields) and bytes(fields["event"]) in _EVENTS:
        return "Metarank's events with id, timestamp and event"
    return None


def _events(row: Row) -> Iterator[Event]:
    found = _ANY.decode(row.raw)
    if found.event == "ranking":
        kind: EventTypeName = "impression"
        items = unique(text_of(one.id) for one in found.items or ())
        if not items:
            raise ValueError("items[].id is missing, expected the items of a ranking: send them")
    elif found.event == "interaction":
        known = TYPES.get(found.type or "")
        if known is None:
            raise NotOursError(f"interaction {found.type}")
        kind, items = known, [required("item", found.item)]
    else:
        raise NotOursError(f"event {found.event}")
    yield from of_items(
        kind,
        items,
        event_id=text_of(found.id) or made_id(NAME, found.user, found.timestamp, row.line),
        user_id=required("user (or session)", found.user, found.session),
        timestamp=time_ms("timestamp", found.timestamp),
        session_id=short(found.session),
        request_id=short(found.id if found.event == "ranking" else found.ranking),
    )


def _item(row: Row) -> ItemDocument:
    found = _DOCUMENT.decode(row.raw)
    if found.event != "item":
        raise NotOursError(f"event {found.event}")
    fields = dict(_named(found.fields))
    return ItemDocument(
        item_id=required("item", found.item),
        title=_first(fields, _TITLES),
        text=_first(fields, _TEXTS),
        image=_first(fields, _IMAGES),
        categories=tuple(unique(text for name in _CATEGORIES for text in _texts(fields.get(name)))),
        available=fields.get("available") is not False,
        timestamp_ms=time_ms("timestamp", found.timestamp),
    )


def _named(fields: msgspec.Raw) -> Iterator[tuple[str, object]]:
    found = member("fields", _FIELDS, fields)
    for place, one in enumerate(found):
        field = member(f"fields[{place}]", _FIELD, one)
        if "name" in field and "value" in field:
            yield str(_ANYTHING.decode(field["name"])), _ANYTHING.decode(field["value"])


def _first(fields: dict[str, object], names: tuple[str, ...]) -> str | None:
    return next((text for name in names for text in _texts(fields.get(name))), None)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))


FORMAT = Format(
    name=NAME,
    title="Metarank events, JSON",
    source="https://docs.metarank.ai/reference/event-schema",
    becomes=(
        ("ranking", "impression"),
        *((f"interaction {theirs}", ours) for theirs, ours in TYPES.items()),
        ("item", "document"),
    ),
    users="`user`, else `session`",
    ids="`id`",
    notes="A ranking's id is the request of the interactions that name it. Interactions of other types, and users, are left out. A document replaces the one before it as a whole, so an item event should tell all that is known: title (or name), description (or text, overview, plot), image, and categories, genres or tags.",
    events=(JsonReader(_recognise, each_event(_events)),),
    items=(JsonReader(_recognise, each_item(_item)),),
)
