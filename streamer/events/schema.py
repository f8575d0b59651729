"""JSON Schemas (draft 2020-12) of what producers send, generated from the types that the codecs read.

``python -m streamer.events.schema [FOLDER]`` writes them; FOLDER is ``docs/schemas`` of the source tree unless given.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from streamer.events.control import ControlValue
from streamer.events.items import ItemValue
from streamer.events.model import Event

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FOLDER = Path(__file__).parents[2] / "docs" / "schemas"

_ITEMS_BY_TYPE: list[dict[str, Any]] = [
    {
        "if": {"properties": {"type": {"enum": ["view", "click", "cart"]}}},
        "then": {"required": ["item_id"], "properties": {"item_id": {"type": "string"}}},
    },
    {
        "if": {"properties": {"type": {"const": "impression"}}},
        "then": {"required": ["item_ids"], "properties": {"item_ids": {"type": "array", "minItems": 1}}},
    },
    {
        "if": {"properties": {"type": {"const": "purchase"}}},
        "then": {
            "anyOf": [
                {"required": ["item_id"], "properties": {"item_id": {"type": "string"}}},
                {"required": ["item_ids"], "properties": {"item_ids": {"type": "array", "minItems": 1}}},
            ]
        },
    },
]
"""Which fields name the items of an event depends on its type: no struct can say that."""

_SNAPSHOT_OF_A_ROLLBACK: list[dict[str, Any]] = [
    {
        "if": {"properties": {"action": {"const": "rollback"}}},
        "then": {"required": ["snapshot"], "properties": {"snapshot": {"type": "string"}}},
    }
]


def event_schema() -> dict[str, Any]:
    """The schema of a value of topic ``events``; sizes in bytes are stated in words, since JSON Schema counts characters."""
    return _schema_of(Event, "An event") | {"allOf": _ITEMS_BY_TYPE}


def item_schema() -> dict[str, Any]:
    """The schema of a value of topic ``items``."""
    return _schema_of(ItemValue, "An item document")


def control_schema() -> dict[str, Any]:
    """The schema of a value of topic ``control``."""
    return _schema_of(ControlValue, "An operator's word") | {"allOf": _SNAPSHOT_OF_A_ROLLBACK}


def _schema_of(kind: type[msgspec.Struct], title: str) -> dict[str, Any]:
    schema = msgspec.json.schema(kind)
    body = schema["$defs"][kind.__name__]
    return {"$schema": _DIALECT, **body, "title": title}


def files() -> dict[str, bytes]:
    """The text of each schema by file name."""
    schemas = {
        "control.schema.json": control_schema(),
        "event.schema.json": event_schema(),
        "item.schema.json": item_schema(),
    }
    return {name: msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n" for name, schema in schemas.items()}


def write(folder: Path) -> None:
    """Writes every schema into ``folder``, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_bytes(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else _FOLDER)
