"""User events of Google Cloud's Retail API (Vertex AI Search for commerce), as its imports take them.

https://cloud.google.com/retail/docs/reference/rest/v2/projects.locations.catalogs.userEvents has the fields.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from producers.formats.base import NotOursError, Row
from producers.formats.reader import Fields, Format, JsonReader, each_event, names_of
from producers.formats.values import Id, Number, made_id, number, of_items, required, short, text_of, time_ms, unique
from streamer.events.model import Event, EventTypeName

NAME = "google-retail"
KINDS: dict[str, EventTypeName] = {
    "search": "impression",
    "category-page-view": "impression",
    "detail-page-view": "view",
    "add-to-cart": "cart",
    "purchase-complete": "purchase",
}


class _Product(msgspec.Struct, gc=False):
    id: Id | None = None
    name: str | None = None

    @property
    def item(self) -> str:
        """Its id, or the last part of its full resource name."""
        return text_of(self.id) or (self.name or "").rpartition("/")[2]


class _Detail(msgspec.Struct, gc=False):
    product: _Product | None = None
    quantity: Number | None = None


class _User(msgspec.Struct, gc=False):
    userId: Id | None = None


class _UserEvent(msgspec.Struct, gc=False):
    eventType: str
    eventTime: str | None = None
    visitorId: Id | None = None
    sessionId: Id | None = None
    attributionToken: str | None = None
    userInfo: _User | None = None
    productDetails: list[_Detail] | None = None


_EVENT = msgspec.json.Decoder(_UserEvent)


def _recognise(fields: Fields) -> str | None:
    return "Google Retail's user events with eventType and visitorId" if {"eventType", "visitorId"} <= set(fields) else None


def _events(row: Row) -> Iterator[Event]:
    found = _EVENT.decode(row.raw)
    kind = KINDS.get(found.eventType)
    if kind is None:
        raise NotOursError(f"event {found.eventType}")
    details = found.productDetails or []
    items = unique(one.product.item for one in details if one.product)
    if not items and kind == "impression":
        raise NotOursError(f"{found.eventType} without products")
    if not items:
        raise ValueError(f"productDetails[].product.id is missing, expected the products of {found.eventType}: send them")
    user = required("visitorId (or userInfo.userId)", found.userInfo.userId if found.userInfo else None, found.visitorId)
    yield from of_items(
        kind,
        items,
        event_id=made_id(NAME, found.visitorId, found.eventTime, found.eventType, row.line),
        user_id=user,
        timestamp=time_ms("eventTime", found.eventTime),
        session_id=short(found.sessionId),
        request_id=short(found.attributionToken),
        quantity=number(details[0].quantity),
    )


FORMAT = Format(
    name=NAME,
    title="Google Retail (Vertex AI Search for commerce) user events, JSON",
    source="https://cloud.google.com/retail/docs/reference/rest/v2/projects.locations.catalogs.userEvents",
    becomes=names_of(KINDS),
    users="`userInfo.userId`, else `visitorId`",
    ids="`visitorId`, `eventTime`, `eventType` and line",
    notes="Searches and category pages count as impressions where they name the products shown, and are left out otherwise. `attributionToken` becomes the request.",
    events=(JsonReader(_recognise, each_event(_events)),),
)
