"""DeskDrop: what a company's people read and did with articles, and the articles themselves.

https://www.kaggle.com/datasets/gspmoreira/articles-sharing-reading-from-cit-deskdrop describes both tables. Times are epoch
seconds. Viewing is a click; liking, bookmarking, commenting and following are taken as a purchase.
"""

from __future__ import annotations

from collections.abc import Iterator

from producers.formats.base import Row
from producers.formats.reader import Format, TableReader, each_event, each_item, names_of
from producers.formats.values import SECOND, made_id, required, short, time_ms
from streamer.events.model import Event, EventTypeName, ItemDocument

NAME = "deskdrop"
KINDS: dict[str, EventTypeName] = {
    "VIEW": "click",
    "LIKE": "purchase",
    "BOOKMARK": "purchase",
    "COMMENT CREATED": "purchase",
    "FOLLOW": "purchase",
}
SHARED, REMOVED = "CONTENT SHARED", "CONTENT REMOVED"


def _events(row: Row) -> Iterator[Event]:
    time, name, item, user, session = row.cells
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"eventType is {name[:40]!r}, expected one of {', '.join(KINDS)}")
    yield Event(
        event_id=made_id(NAME, user, time, name, item, row.line),
        type=kind,
        user_id=required("personId", user),
        item_id=required("contentId", item),
        timestamp=time_ms("timestamp", time, SECOND),
        session_id=short(session),
    )


def _item(row: Row) -> ItemDocument:
    time, name, item, title, text = row.cells
    if name not in {SHARED, REMOVED}:
        raise ValueError(f"eventType is {name[:40]!r}, expected {SHARED} or {REMOVED}")
    return ItemDocument(
        item_id=required("contentId", item),
        title=title or None,
        text=text or None,
        available=name == SHARED,
        timestamp_ms=time_ms("timestamp", time, SECOND),
    )


FORMAT = Format(
    name=NAME,
    title="DeskDrop: users_interactions.csv, and shared_articles.csv as documents",
    source="https://www.kaggle.com/datasets/gspmoreira/articles-sharing-reading-from-cit-deskdrop",
    becomes=(*names_of(KINDS), (SHARED, "document"), (REMOVED, "document, not available")),
    users="`personId`",
    ids="`personId`, `timestamp`, `eventType`, `contentId` and line",
    notes="A document's time is that at which the article was shared or removed.",
    events=(TableReader(("timestamp", "eventType", "contentId", "personId"), each_event(_events), ("sessionId",)),),
    items=(TableReader(("timestamp", "eventType", "contentId", "title", "text"), each_item(_item)),),
)
