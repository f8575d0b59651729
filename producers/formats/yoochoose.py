"""YooChoose's recording of the RecSys Challenge 2015: clicks and purchases in sessions. A session is the user.

https://2015.recsyschallenge.com/challenge.html describes the tables without headers, with times in RFC 3339. Studies of
sessions use clicks with the header ``SessionId ItemId Time``, tabs, and epoch seconds: that form is read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from producers.formats.base import Row
from producers.formats.reader import Format, TableReader, each_event
from producers.formats.rows import TAB
from producers.formats.values import SECOND, made_id, number, required, time_ms
from streamer.events.model import Event

NAME = "yoochoose"
_TIME = r"\d{4}-\d\d-\d\dT[\d:.]+Z"


def _click(row: Row) -> Iterator[Event]:
    session, item, time = row.cells[0], row.cells[1], row.cells[2]
    yield Event(
        event_id=made_id(NAME, session, time, item, row.line),
        type="click",
        user_id=required("session", session),
        item_id=required("item", item),
        timestamp=time_ms("time", time, SECOND),
        session_id=session,
    )


def _bare_click(row: Row) -> Iterator[Event]:
    session, time, item, _ = row.cells
    return _click(row._replace(cells=(session, item, time)))


def _buy(row: Row) -> Iterator[Event]:
    session, time, item, price, quantity = row.cells
    yield Event(
        event_id=made_id(NAME, "buy", session, time, item, row.line),
        type="purchase",
        user_id=required("session", session),
        item_id=required("item", item),
        timestamp=time_ms("time", time),
        session_id=session,
        price=number(price) or None,
        quantity=number(quantity) or None,
    )


FORMAT = Format(
    name=NAME,
    title="YooChoose (RecSys Challenge 2015): clicks and buys",
    source="https://2015.recsyschallenge.com/challenge.html",
    becomes=(("clicks", "click"), ("buys", "purchase")),
    users="the session",
    ids="session, time, item and line",
    notes="Clicks are also read in the form that studies of sessions use, with a header, tabs, and epoch seconds.",
    events=(
        TableReader(("SessionId", "ItemId", "Time"), each_event(_click), delimiter=TAB),
        TableReader(
            ("session", "time", "item", "category"),
            each_event(_bare_click),
            bare=re.compile(rf"\d+,{_TIME},\d+,[^,]*"),
            why="rows of session, time, item, category",
        ),
        TableReader(
            ("session", "time", "item", "price", "quantity"),
            each_event(_buy),
            bare=re.compile(rf"\d+,{_TIME},\d+,[\d.]+,\d+"),
            why="rows of session, time, item, price, quantity",
        ),
    ),
)
