"""The schemas in the documentation are those of the code, and say what the codec does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import ItemDocument
from streamer.events.schema import event_schema, files, item_schema

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
KINDS: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def is_kind(found: Any, kind: str) -> bool:
    if kind in {"number", "integer"}:
        return isinstance(found, int | float if kind == "number" else int) and not isinstance(found, bool)
    return isinstance(found, KINDS[kind])


def valid(found: Any, schema: dict[str, Any]) -> bool:
    """A check of the keywords that our schemas use."""
    checks = [
        "type" not in schema or is_kind(found, schema["type"]),
        "enum" not in schema or found in schema["enum"],
        "const" not in schema or found == schema["const"],
        "anyOf" not in schema or any(valid(found, one) for one in schema["anyOf"]),
        all(valid(found, one) for one in schema.get("allOf", [])),
        "if" not in schema or not valid(found, schema["if"]) or valid(found, schema["then"]),
    ]
    if isinstance(found, str):
        checks.append(schema.get("minLength", 0) <= len(found) <= schema.get("maxLength", 10**9))
        checks.append(re.search(schema.get("pattern", ""), found) is not None)
    elif isinstance(found, list):
        checks.append(schema.get("minItems", 0) <= len(found) <= schema.get("maxItems", 10**9))
        checks.append(all(valid(member, schema.get("items", {})) for member in found))
    elif isinstance(found, dict):
        checks.append(all(name in found for name in schema.get("required", [])))
        checks.append(all(valid(found[name], one) for name, one in schema.get("properties", {}).items() if name in found))
    elif isinstance(found, int | float) and not isinstance(found, bool):
        checks.append(schema.get("minimum", found) <= found <= schema.get("maximum", found))
        checks.append("exclusiveMaximum" not in schema or found < schema["exclusiveMaximum"])
    return all(checks)


def test_the_checker_knows_every_keyword_of_the_schemas():
    known = {"type", "enum", "const", "anyOf", "allOf", "if", "then", "minLength", "maxLength", "pattern", "minItems"}
    known |= {"maxItems", "items", "required", "properties", "minimum", "maximum", "exclusiveMaximum"}
    words = {"$schema", "title", "description", "default", "examples"}

    def keywords(schema: dict[str, Any]) -> set[str]:
        inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("allOf", [])]
        inner += [schema[name] for name in ("if", "then", "items") if name in schema]
        return set(schema).union(*map(keywords, inner))

    assert keywords(event_schema()) | keywords(item_schema()) <= known | words


@pytest.mark.parametrize("name", ["event.schema.json", "item.schema.json"])
def test_the_files_are_those_of_the_code(name: str):
    assert (FOLDER / name).read_bytes() == files()[name], "run: python -m streamer.events.schema"


EVENT = {"type": "click", "user_id": "u42", "item_id": "i7", "timestamp": 1795485458344}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timestamp": "2026-11-24T03:17:38.344+02:00"},
        {"timestamp": 1795485458344.5},
        {"timestamp": 1795485458},
        {"timestamp": 1795485458.5},
        {"timestamp": 1795485458344000},
        {"timestamp": "2026-11-24T03:17:38"},
        {"timestamp": True},
        {"type": "clicks"},
        {"type": "impression"},
        {"type": "impression", "item_ids": []},
        {"type": "impression", "item_ids": ["a"]},
        {"type": "impression", "item_id": None, "item_ids": ["a"]},
        {"type": "purchase", "item_id": None, "item_ids": ["a"]},
        {"type": "purchase", "item_id": None},
        {"type": "purchase"},
        {"item_id": None, "item_ids": ["a"]},
        {"item_ids": ["a"] * 201},
        {"item_ids": ["a", 3]},
        {"user_id": ""},
        {"user_id": 42},
        {"user_id": "x" * 257},
        {"event_id": None, "session_id": None, "quantity": None, "price": None, "context": None},
        {"event_id": ""},
        {"quantity": "1"},
        {"price": True},
        {"context": []},
        {"context": {"a": 1}, "unknown": 3},
    ],
)
def test_an_event_fits_the_schema_exactly_where_the_codec_accepts_it(changes: dict[str, object]):
    event = EVENT | changes
    assert valid(event, event_schema()) == (decode_events([json.dumps(event).encode()]).rejects == [])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"title": "Boots", "text": None, "categories": ["shoes"], "available": False, "timestamp": 1795485458344},
        {"item_id": 7},
        {"title": 3},
        {"categories": "shoes"},
        {"categories": [3]},
        {"available": 1},
        {"timestamp": 3},
    ],
)
def test_a_document_fits_the_schema_exactly_where_the_codec_accepts_it(changes: dict[str, object]):
    item = {"item_id": "i7"} | changes
    accepted = isinstance(decode_item(None, json.dumps(item).encode()), ItemDocument)
    assert valid(item, item_schema()) == accepted
