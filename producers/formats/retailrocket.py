"""RetailRocket's recording: a table of events, and one of what was known of items each week.

https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset describes both. Times are epoch milliseconds. Of an item's
properties only ``categoryid`` and ``available`` are told by name; the rest is hashed and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from producers.formats.base import LeftOut, Recorded, Row
from producers.formats.reader import Format, TableReader, each_event, recorded_item
from producers.formats.values import made_id, required, short, time_ms
from streamer.events.model import Event, EventTypeName, ItemDocument

NAME = "retailrocket"
KINDS: dict[str, EventTypeName] = {"view": "view", "addtocart": "cart", "transaction": "purchase"}
_KINDS = KINDS | {"0": "view", "1": "cart", "2": "purchase"}
"""Some copies hold numbers in place of names."""

_CATEGORY, _AVAILABLE = "categoryid", "available"


def _events(row: Row) -> Iterator[Event]:
    time, user, name, item, transaction = row.cells
    kind = _KINDS.get(name)
    if kind is None:
        raise ValueError(f"event is {name[:40]!r}, expected one of {', '.join(KINDS)}")
    yield Event(
        event_id=made_id(NAME, user, time, name, item, row.line),
        type=kind,
        user_id=required("visitorid", user),
        item_id=required("itemid", item),
        timestamp=time_ms("timestamp", time),
        request_id=short(transaction),
    )


def _items(rows: Iterable[Row], left_out: LeftOut) -> Iterator[Recorded]:
    """One document for every change of an item's category or availability, after the last row: rows are in no order of time.

    It holds the rows of these two properties in memory.
    """
    changes: dict[str, list[tuple[int, int, str, str]]] = {}
    for row in rows:
        try:
            if row.error is not None:
                raise ValueError(row.error)  # noqa: TRY301 - one place turns a row's faults into a record
            time, item, name, value = row.cells
            when = time_ms("timestamp", time)
            if name in {_CATEGORY, _AVAILABLE}:
                changes.setdefault(required("itemid", item), []).append((when, row.line, name, value))
            else:
                left_out.note("hashed property")
        except ValueError as error:
            yield Recorded(row.line, None, row.raw, None, str(error))
    for item, known in changes.items():
        yield from _history(item, sorted(known), left_out)


def _history(item: str, known: list[tuple[int, int, str, str]], left_out: LeftOut) -> Iterator[Recorded]:
    state: dict[str, str] = {}
    told: dict[str, str] = {}
    for place, (when, line, name, value) in enumerate(known):
        state[name] = value
        if place + 1 < len(known) and known[place + 1][0] == when:
            left_out.note("property told together with another")
            continue
        if state == told:
            left_out.note("property that did not change")
            continue
        told = dict(state)
        document = ItemDocument(
            item_id=item,
            categories=(state[_CATEGORY],) if state.get(_CATEGORY) else (),
            available=state.get(_AVAILABLE) != "0",
            timestamp_ms=when,
        )
        try:
            yield recorded_item(line, document)
        except ValueError as error:
            yield Recorded(line, None, f"{when},{item},{name},{value}".encode(errors="replace"), None, str(error))


FORMAT = Format(
    name=NAME,
    title="RetailRocket's recording, CSV or Parquet",
    source="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
    becomes=(*KINDS.items(), ("item_properties", "document")),
    users="`visitorid`",
    ids="`visitorid`, `timestamp`, `event`, `itemid` and line",
    notes="Some copies number the events 0, 1, 2. Of the properties `categoryid` and `available` are told by name and become documents, one for every change; the others are hashed and left out. Rows of those two are held in memory.",
    events=(TableReader(("timestamp", "visitorid", "event", "itemid"), each_event(_events), ("transactionid",)),),
    items=(TableReader(("timestamp", "itemid", "property", "value"), _items),),
)
