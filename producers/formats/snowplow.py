"""Snowplow's enriched events in JSON, as its analytics SDKs write them, with the action and entities of its ecommerce schemas.

https://docs.snowplow.io/docs/events/ootb-data/ecommerce-events describes these; the enriched event is at
https://docs.snowplow.io/docs/fundamentals/canonical-event. Times are UTC, with or without a Z.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from producers.formats.base import NotOursError, Row
from producers.formats.reader import Fields, Format, JsonReader, each_event, names_of
from producers.formats.values import Id, Number, made_id, number, of_items, required, short, text_of, time_ms, unique
from streamer.events.model import Event, EventTypeName

NAME = "snowplow"
KINDS: dict[str, EventTypeName] = {
    "list_view": "impression",
    "product_view": "view",
    "list_click": "click",
    "add_to_cart": "cart",
    "transaction": "purchase",
}
_ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
_PRODUCTS = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
_SESSIONS = "contexts_com_snowplowanalytics_snowplow_client_session_1"


class _Action(msgspec.Struct, gc=False):
    type: str | None = None


class _Product(msgspec.Struct, gc=False):
    id: Id | None = None
    price: Number | None = None
    quantity: Number | None = None


class _Session(msgspec.Struct, gc=False):
    userId: Id | None = None
    sessionId: Id | None = None


class _Enriched(msgspec.Struct, gc=False, rename={"action": _ACTION, "products": _PRODUCTS, "sessions": _SESSIONS}):
    collector_tstamp: str
    event_id: Id | None = None
    derived_tstamp: str | None = None
    event: str | None = None
    event_name: str | None = None
    user_id: Id | None = None
    domain_userid: Id | None = None
    network_userid: Id | None = None
    domain_sessionid: Id | None = None
    action: _Action | None = None
    products: list[_Product] | None = None
    sessions: list[_Session] | None = None


_ENRICHED = msgspec.json.Decoder(_Enriched)


def _recognise(fields: Fields) -> str | None:
    named = [name for name in (_ACTION, "derived_tstamp", "domain_userid", "network_userid") if name in fields]
    there = {"event_id", "collector_tstamp"} <= set(fields)
    return f"Snowplow's enriched events with event_id, collector_tstamp and {named[0]}" if there and named else None


def _events(row: Row) -> Iterator[Event]:
    found = _ENRICHED.decode(row.raw)
    if found.action is None:
        raise NotOursError(f"event {found.event_name or found.event}")
    kind = KINDS.get(found.action.type or "")
    if kind is None:
        raise NotOursError(f"action {found.action.type}")
    products = [one for one in found.products or () if text_of(one.id)]
    if not products:
        raise ValueError(f"{_PRODUCTS}[].id is missing, expected the products of a {found.action.type}: send them")
    session = (found.sessions or [_Session()])[0]
    user = required("user_id (or domain_userid)", found.user_id, found.domain_userid, session.userId, found.network_userid)
    when = found.derived_tstamp or found.collector_tstamp
    yield from of_items(
        kind,
        unique(text_of(one.id) for one in products),
        event_id=text_of(found.event_id) or made_id(NAME, user, when, row.line),
        user_id=user,
        timestamp=time_ms("derived_tstamp", when),
        session_id=short(found.domain_sessionid) or short(session.sessionId),
        quantity=number(products[0].quantity),
        price=number(products[0].price),
    )


FORMAT = Format(
    name=NAME,
    title="Snowplow enriched events with the ecommerce action and products, JSON",
    source="https://docs.snowplow.io/docs/events/ootb-data/ecommerce-events",
    becomes=names_of(KINDS),
    users="`user_id`, else `domain_userid`, the mobile session's `userId`, `network_userid`",
    ids="`event_id`",
    notes="The product entities are the items; the mobile session gives user and session where the web ids are missing. Events without the ecommerce action, and its other actions, are left out.",
    events=(JsonReader(_recognise, each_event(_events)),),
)
