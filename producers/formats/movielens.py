"""MovieLens ratings as events: RecBole's ``.inter`` and ``.item`` files with typed headers, and GroupLens' ``u.data``.

A rating of 4 or more is a purchase, any other a click. Times are epoch seconds in the file, milliseconds on the log.
Event ids are made of user, item, time and line, so that a recording replayed twice counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import PurePath

from producers.formats.base import Recorded
from streamer.events.codec import InvalidEventError, encode_event
from streamer.events.items import encode_item
from streamer.events.model import Event, ItemDocument

NAME = "movielens"
PURCHASE_RATING_MIN = 4.0

_EVENT_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_ITEM_COLUMNS = ("item_id", "movie_title", "release_year", "class")
_HEADER_CELL = re.compile(r"(\w+):(?:token|float|token_seq|float_seq)")
_BARE_ROW = re.compile(rb"\d+\t\d+\t[1-5]\t\d{9,10}")


def sniff(head: bytes, path: PurePath) -> str | None:
    """Why this is a file of ratings, in words; None where it is none."""
    _ = path
    first = head.partition(b"\n")[0]
    if _covers(_header(first), _EVENT_COLUMNS):
        return "RecBole's header with user_id, item_id, rating, timestamp"
    return "rows of user, item, rating from 1 to 5, epoch seconds" if _BARE_ROW.fullmatch(first) else None


def sniff_items(head: bytes, path: PurePath) -> str | None:
    """Why this is a file of films, in words; None where it is none."""
    _ = path
    return (
        "RecBole's header with item_id and movie_title"
        if _covers(_header(head.partition(b"\n")[0]), _ITEM_COLUMNS[:2])
        else None
    )


def _header(line: bytes) -> dict[str, int]:
    """Column numbers by name where the line is a typed header, else nothing."""
    cells = [_HEADER_CELL.fullmatch(cell) for cell in line.decode(errors="replace").strip().split("\t")]
    return {cell[1]: place for place, cell in enumerate(cells) if cell} if all(cells) else {}


def _covers(header: dict[str, int], columns: tuple[str, ...]) -> bool:
    return all(column in header for column in columns)


def _rows(lines: Iterable[bytes], columns: tuple[str, ...]) -> tuple[dict[str, int], Iterator[tuple[int, bytes]]]:
    """Where each column stands, and the rows that are not blank with their line numbers; without a header in that order."""
    numbered = enumerate(lines, 1)
    first = next(numbered, None)
    header = _header(first[1]) if first else {}
    rows = numbered if header or not first else chain((first,), numbered)
    places = header or {column: place for place, column in enumerate(columns)}
    return places, ((number, line) for number, line in rows if line.strip())


def read_events(lines: Iterable[bytes]) -> Iterator[Recorded]:
    """Every rating as one event, in the order of the file; a row that is none is kept as it is and says why."""
    places, rows = _rows(lines, _EVENT_COLUMNS)
    for number, line in rows:
        try:
            yield _event(number, _cells(line, places, _EVENT_COLUMNS))
        except (ValueError, OverflowError, InvalidEventError) as error:
            yield Recorded(number, None, line, None, f"{error}")


def _cells(line: bytes, places: dict[str, int], columns: tuple[str, ...]) -> list[str]:
    """The values of these columns, "" for a column that the file lacks. Raises ValueError."""
    cells = line.decode().split("\t")
    expected = max(places.values()) + 1
    if len(cells) < expected:
        raise ValueError(f"has {len(cells)} columns separated by tabs, expected {expected}")
    return [cells[places[column]] if column in places else "" for column in columns]


def _event(number: int, cells: list[str]) -> Recorded:
    user, item, rating, seconds = cells
    when = round(float(seconds) * 1000)
    event = Event(
        event_id=f"movielens:{user}:{item}:{seconds}:{number}",
        type="purchase" if float(rating) >= PURCHASE_RATING_MIN else "click",
        user_id=user,
        item_id=item,
        timestamp=when,
    )
    return Recorded(number, user.encode(), encode_event(event), when)


def read_items(lines: Iterable[bytes]) -> Iterator[Recorded]:
    """Every film as one document: genres are its categories, the year its text; a row that is none says why."""
    places, rows = _rows(lines, _ITEM_COLUMNS)
    for number, line in rows:
        try:
            item, title, year, genres = _cells(line, places, _ITEM_COLUMNS)
            if not item:
                raise ValueError("has no item_id, expected one")  # noqa: TRY301 - one place turns a row's faults into words
            document = ItemDocument(item_id=item, title=title or None, text=year or None, categories=tuple(genres.split()))
            yield Recorded(number, item.encode(), encode_item(document), None)
        except ValueError as error:
            yield Recorded(number, None, line, None, f"{error}")
