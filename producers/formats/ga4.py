"""Rows of the BigQuery export of Google Analytics 4, as BigQuery writes them in JSON (or Parquet): integers may be text.

https://support.google.com/analytics/answer/7029846 has the schema; event names are those of
https://developers.google.com/analytics/devguides/collection/ga4/reference/events. Times are epoch microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from producers.formats.base import NotOursError, Row
from producers.formats.reader import Fields, Format, JsonReader, each_event, names_of
from producers.formats.values import (
    MICROSECOND,
    Id,
    Number,
    Time,
    made_id,
    number,
    of_items,
    required,
    short,
    text_of,
    time_ms,
    unique,
)
from streamer.events.model import Event, EventTypeName

NAME = "ga4-bigquery"
KINDS: dict[str, EventTypeName] = {
    "view_item_list": "impression",
    "view_item": "view",
    "select_item": "click",
    "add_to_cart": "cart",
    "purchase": "purchase",
}
_NOT_SET = "(not set)"


class _Value(msgspec.Struct, gc=False):
    string_value: str | None = None
    int_value: Id | None = None


class _Param(msgspec.Struct, gc=False):
    key: str
    value: _Value | None = None


class _Item(msgspec.Struct, gc=False):
    item_id: Id | None = None
    price: Number | None = None
    quantity: Number | None = None

    @property
    def item(self) -> str:
        text = text_of(self.item_id)
        return "" if text == _NOT_SET else text


class _Row(msgspec.Struct, gc=False):
    event_name: str
    event_timestamp: Time
    user_id: Id | None = None
    user_pseudo_id: Id | None = None
    event_bundle_sequence_id: Id | None = None
    batch_event_index: Id | None = None
    event_params: list[_Param] | None = None
    items: list[_Item] | None = None


class _Name(msgspec.Struct, gc=False):
    event_name: str


_ROW = msgspec.json.Decoder(_Row)
_NAME = msgspec.json.Decoder(_Name)


def _recognise(fields: Fields) -> str | None:
    named = [name for name in ("user_pseudo_id", "event_params", "event_bundle_sequence_id") if name in fields]
    there = {"event_name", "event_timestamp"} <= set(fields)
    return f"rows of GA4's export with event_name, event_timestamp and {named[0]}" if there and named else None


def _events(row: Row) -> Iterator[Event]:
    name = _NAME.decode(row.raw).event_name
    kind = KINDS.get(name)
    if kind is None:
        raise NotOursError(f"event {name}")
    found = _ROW.decode(row.raw)
    products = [one for one in found.items or () if one.item]
    if not products:
        raise ValueError(f"items[].item_id is missing, expected the items of {name}: send them")
    user = required("user_id (or user_pseudo_id)", found.user_id, found.user_pseudo_id)
    batch = (text_of(found.event_bundle_sequence_id), text_of(found.batch_event_index))
    yield from of_items(
        kind,
        unique(one.item for one in products),
        event_id=made_id("ga4", text_of(found.user_pseudo_id), found.event_timestamp, name, *batch, row.line),
        user_id=user,
        timestamp=time_ms("event_timestamp", found.event_timestamp, MICROSECOND),
        session_id=_session(found.event_params or ()),
        quantity=number(products[0].quantity),
        price=number(products[0].price),
    )


def _session(params: list[_Param] | tuple[()]) -> str | None:
    for param in params:
        if param.key == "ga_session_id" and param.value:
            return short(param.value.int_value if param.value.int_value is not None else param.value.string_value)
    return None


FORMAT = Format(
    name=NAME,
    title="Google Analytics 4, rows of its BigQuery export, JSON or Parquet",
    source="https://support.google.com/analytics/answer/7029846",
    becomes=names_of(KINDS),
    users="`user_id`, else `user_pseudo_id`",
    ids="`user_pseudo_id`, `event_timestamp`, `event_name`, bundle, batch index and line",
    notes="Integers may be written as text, as BigQuery does. Items whose id is `(not set)` are passed over; all other events are left out.",
    events=(JsonReader(_recognise, each_event(_events)),),
)
