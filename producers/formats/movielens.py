"""MovieLens ratings as events, films as documents.

RecBole's ``.inter`` and ``.item`` files with typed headers (https://recbole.io/docs/user_guide/data/atomic_files.html), and
GroupLens' own ``u.data``, ``ratings.csv`` and ``movies.csv`` (https://grouplens.org/datasets/movielens). Films described in
JSON Lines with plot and genres are documents as well. A rating of 4 or more is a purchase, any other a click. Times are epoch seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from producers.formats.base import Row
from producers.formats.reader import Fields, Format, JsonReader, TableReader, each_event, each_item
from producers.formats.rows import TAB
from producers.formats.values import SECOND, Id, made_id, required, time_ms, unique
from streamer.events.model import Event, ItemDocument

NAME = "movielens"
PURCHASE_RATING_MIN = 4.0
_NO_GENRES = "(no genres listed)"


class _Film(msgspec.Struct, gc=False):
    item_id: Id
    title: str | None = None
    year: Id | None = None
    genres: list[str] | None = None
    plot: str | None = None
    directors: str | None = None
    cast: list[str] | None = None
    image: str | None = None


_FILM = msgspec.json.Decoder(_Film)


def _rating(row: Row) -> Iterator[Event]:
    user, item, rating, seconds = row.cells
    try:
        liked = float(rating) >= PURCHASE_RATING_MIN
    except ValueError as error:
        raise ValueError(f"rating is {rating[:40]!r}, expected a number") from error
    yield Event(
        event_id=made_id(NAME, user, item, seconds, row.line),
        type="purchase" if liked else "click",
        user_id=required("user_id", user),
        item_id=required("item_id", item),
        timestamp=time_ms("timestamp", seconds, SECOND),
    )


def _film(row: Row) -> ItemDocument:
    item, title, year, genres = row.cells
    item = required("item_id", item)
    return ItemDocument(item_id=item, title=title or None, text=year or None, categories=tuple(genres.split()))


def _movie(row: Row) -> ItemDocument:
    item, title, genres = row.cells
    known = () if genres == _NO_GENRES else tuple(unique(genres.split("|")))
    return ItemDocument(item_id=required("movieId", item), title=title or None, categories=known)


def _described(row: Row) -> ItemDocument:
    film = _FILM.decode(row.raw)
    about = (film.plot, film.directors, ", ".join(film.cast or ()), None if film.year is None else str(film.year))
    return ItemDocument(
        item_id=required("item_id", film.item_id),
        title=film.title or None,
        text="\n".join(part for part in about if part) or None,
        categories=tuple(film.genres or ()),
        image=film.image or None,
    )


def _recognise_described(fields: Fields) -> str | None:
    names = set(fields)
    there = {"item_id", "title"} <= names and {"genres", "plot"} & names and not {"text", "categories", "user_id"} & names
    return "films in JSON with item_id, title, and plot or genres" if there else None


FORMAT = Format(
    name=NAME,
    title="MovieLens: RecBole's .inter and .item, GroupLens' u.data, ratings.csv and movies.csv; films with plots in JSON",
    source="https://grouplens.org/datasets/movielens",
    becomes=((f"rating of {PURCHASE_RATING_MIN:g} or more", "purchase"), ("any other rating", "click"), ("film", "document")),
    users="`user_id` (`userId`)",
    ids="user, item, time and line",
    notes="Films in JSON Lines with `item_id`, `title`, and `plot` or `genres` are documents as well: plot, directors, cast and year are their text.",
    events=(
        TableReader(
            ("user_id", "item_id", "rating", "timestamp"),
            each_event(_rating),
            delimiter=TAB,
            typed=True,
            bare=re.compile(r"\d+\t\d+\t[1-5]\t\d{9,10}"),
            why="rows of user, item, rating from 1 to 5, epoch seconds",
        ),
        TableReader(("userId", "movieId", "rating", "timestamp"), each_event(_rating)),
    ),
    items=(
        TableReader(("item_id", "movie_title"), each_item(_film), ("release_year", "class"), delimiter=TAB, typed=True),
        TableReader(("movieId", "title", "genres"), each_item(_movie)),
        JsonReader(_recognise_described, each_item(_described)),
    ),
)
