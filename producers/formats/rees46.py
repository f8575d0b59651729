"""REES46's recordings of shops: one table with views, carts and purchases.

https://www.kaggle.com/datasets/mkechinov/ecommerce-behavior-data-from-multi-category-store describes it. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterator

from producers.formats.base import NotOursError, Row
from producers.formats.reader import Format, TableReader, each_event, names_of
from producers.formats.values import made_id, number, required, short, time_ms
from streamer.events.model import Event, EventTypeName

NAME = "rees46"
KINDS: dict[str, EventTypeName] = {"view": "view", "cart": "cart", "purchase": "purchase"}
_REMOVED = "remove_from_cart"


def _events(row: Row) -> Iterator[Event]:
    time, name, item, user, session, price = row.cells
    if name == _REMOVED:
        raise NotOursError(f"event {name}")
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"event_type is {name[:40]!r}, expected one of {', '.join(KINDS)}, {_REMOVED}")
    yield Event(
        event_id=made_id(NAME, user, time, name, item, row.line),
        type=kind,
        user_id=required("user_id", user),
        item_id=required("product_id", item),
        timestamp=time_ms("event_time", time),
        session_id=short(session),
        price=number(price or None),
    )


FORMAT = Format(
    name=NAME,
    title="REES46's recordings of shops, CSV",
    source="https://www.kaggle.com/datasets/mkechinov/ecommerce-behavior-data-from-multi-category-store",
    becomes=names_of(KINDS),
    users="`user_id`",
    ids="`user_id`, `event_time`, `event_type`, `product_id` and line",
    notes="`remove_from_cart` is left out.",
    events=(
        TableReader(("event_time", "event_type", "product_id", "user_id"), each_event(_events), ("user_session", "price")),
    ),
)
