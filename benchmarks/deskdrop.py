"""DeskDrop: what readers of a company's articles viewed in a year, as events in the order of their times."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import msgspec

from producers.formats import Recorded, RecordingError
from streamer.evaluate.stream import Stream, StreamBuilder
from streamer.events.codec import decode_events

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "shared" / "data", ROOT.parent / "shared" / "data")
FILE = Path("deskdrop", "users_interactions.csv.zip")


def deskdrop(folder: Path | None = None) -> list[Recorded]:
    """Every VIEW as a click, but a repeat of the item that its user viewed just before.

    ``folder``: where recordings are; else ``shared/data`` in the checkout or beside it. Raises RecordingError where it is not there.
    """
    return _records(_found(folder))


def stream_of(records: list[Recorded]) -> Stream:
    """The records as a backtest runs over them."""
    builder = StreamBuilder()
    builder.add(decode_events([record.value for record in records]), list(range(len(records))))
    return builder.finish()


def _found(folder: Path | None) -> Path:
    looked = (folder,) if folder else FOLDERS
    for one in looked:
        if (one / FILE).is_file():
            return one / FILE
    places = " or ".join(str(one) for one in looked)
    raise RecordingError(
        f"DeskDrop was looked for as {FILE} in {places}: name the folder of recordings with --recordings", unreadable=True
    )


def _records(path: Path) -> list[Recorded]:
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
        rows = [row for row in csv.DictReader(io.TextIOWrapper(file, "utf-8")) if row["eventType"] == "VIEW"]
    rows.sort(key=lambda row: int(row["timestamp"]))
    last: dict[str, str] = {}
    found: list[Recorded] = []
    for row in rows:
        user, item, time_ms = row["personId"], row["contentId"], 1_000 * int(row["timestamp"])
        if last.get(user) != item:
            last[user] = item
            line = len(found) + 1
            event = {"event_id": f"d{line}", "type": "click", "user_id": user, "item_id": item, "timestamp": time_ms}
            found.append(Recorded(line, user.encode(), msgspec.json.encode(event), time_ms))
    return found
