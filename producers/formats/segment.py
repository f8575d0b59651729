"""Segment's track calls of its ecommerce spec, one JSON object a call.

https://www.twilio.com/docs/segment/connections/spec/ecommerce/v2 and .../spec/common name the fields. ``timestamp`` is already
corrected for the device's clock.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from producers.formats.base import NotOursError, Row
from producers.formats.reader import Fields, Format, JsonReader, each_event, member, names_of
from producers.formats.values import Id, Number, Time, made_id, number, of_items, required, text_of, time_ms, unique
from streamer.events.model import Event, EventTypeName

NAME = "segment"
KINDS: dict[str, EventTypeName] = {
    "Product List Viewed": "impression",
    "Product List Filtered": "impression",
    "Product Viewed": "view",
    "Product Clicked": "click",
    "Product Added": "cart",
    "Order Completed": "purchase",
}
_NONE = msgspec.Raw(b"{}")
_CALLS = frozenset({b'"track"', b'"page"', b'"identify"', b'"screen"', b'"group"', b'"alias"'})


class _Product(msgspec.Struct, gc=False):
    product_id: Id | None = None
    sku: Id | None = None
    price: Number | None = None
    quantity: Number | None = None

    @property
    def item(self) -> str:
        return text_of(self.product_id) or text_of(self.sku)


class _Properties(_Product, gc=False):
    products: list[_Product] | None = None


class _Call(msgspec.Struct, gc=False):
    type: str = "track"
    event: str | None = None
    messageId: Id | None = None
    userId: Id | None = None
    anonymousId: Id | None = None
    timestamp: Time | None = None
    originalTimestamp: Time | None = None
    properties: msgspec.Raw = _NONE


_CALL = msgspec.json.Decoder(_Call)
_PROPERTIES = msgspec.json.Decoder(_Properties)


def _recognise(fields: Fields) -> str | None:
    named = [name for name in ("messageId", "anonymousId", "userId") if name in fields]
    if named and "type" in fields and bytes(fields["type"]) in _CALLS:
        return f"Segment's calls with type and {named[0]}"
    return (
        f"Segment's track calls with event, properties and {named[0]}"
        if named and {"event", "properties"} <= set(fields)
        else None
    )


def _events(row: Row) -> Iterator[Event]:
    call = _CALL.decode(row.raw)
    if call.type != "track":
        if msgspec.json.encode(call.type) not in _CALLS:
            raise ValueError(
                f"type is {call.type!r}, expected a call of Segment's: track, page, identify, screen, group or alias"
            )
        raise NotOursError(f"call {call.type}")
    if call.event is None:
        raise ValueError("event is missing, expected its name in a track call: send it")
    kind = KINDS.get(call.event)
    if kind is None:
        raise NotOursError(f"event {call.event}")
    found = member("properties", _PROPERTIES, call.properties)
    products = found.products or [found] if kind in {"impression", "purchase"} else [found]
    items = unique(product.item for product in products)
    if not items:
        place = "properties.products[].product_id" if kind in {"impression", "purchase"} else "properties.product_id"
        raise ValueError(f"{place} is missing, expected it in {call.event}: send it, or sku")
    user = required("userId (or anonymousId)", call.userId, call.anonymousId)
    sent = call.timestamp if call.timestamp is not None else call.originalTimestamp
    yield from of_items(
        kind,
        items,
        event_id=text_of(call.messageId) or made_id(NAME, user, sent, call.event, row.line),
        user_id=user,
        timestamp=time_ms("timestamp", sent),
        quantity=number(products[0].quantity),
        price=number(products[0].price),
    )


FORMAT = Format(
    name=NAME,
    title="Segment track calls of the ecommerce spec, JSON",
    source="https://www.twilio.com/docs/segment/connections/spec/ecommerce/v2",
    becomes=names_of(KINDS),
    users="`userId`, else `anonymousId`",
    ids="`messageId`",
    notes="`sku` stands in for a missing `product_id`. All other calls and events are left out.",
    events=(JsonReader(_recognise, each_event(_events)),),
)
