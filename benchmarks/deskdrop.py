"""DeskDrop: what readers of a company's articles viewed in a year, as events in the order of their times."""

from __future__ import annotations

from pathlib import Path

import msgspec

from producers.formats import Recorded, RecordingError, in_time_order, read_events
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
    last: dict[str, str] = {}
    found: list[Recorded] = []
    for record in in_time_order(read_events(path, "deskdrop")):
        event = msgspec.json.decode(record.value)
        user, item = event["user_id"], event["item_id"]
        if event["type"] == "click" and last.get(user) != item:
            last[user] = item
            found.append(record._replace(line=len(found) + 1))
    return found
