"""What the gateway says of itself: its OpenAPI document, and a page for people."""

from __future__ import annotations

import html
from typing import Any

from streamer.config.tree import Gateway
from streamer.events.schema import event_schema, item_schema

LIST_ITEMS_MAX = 20
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["reason", "message", "where"],
            "properties": {"reason": {"type": "string"}, "message": {"type": "string"}, "where": {"type": "string"}},
        }
    },
}
_TAKEN = {
    "type": "object",
    "required": ["accepted", "refused", "errors"],
    "properties": {
        "accepted": {"type": "integer", "description": "Records that the log has acknowledged."},
        "refused": {"type": "integer", "description": "Records that it has not."},
        "errors": {
            "type": "array",
            "description": "Why, by the record's place in the request, from 0.",
            "items": {
                "type": "object",
                "required": ["index", "reason", "error"],
                "properties": {"index": {"type": "integer"}, "reason": {"type": "string"}, "error": {"type": "string"}},
            },
        },
    },
}
_LIST = {
    "type": "object",
    "required": ["user_id", "version", "personal", "items", "head_step", "event_ms", "written_ms"],
    "properties": {
        "user_id": {"type": "string"},
        "version": {"type": "string"},
        "personal": {"type": "boolean", "description": "False where the user has no list of his own: this is the popular one."},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["item_id", "score", "why"],
                "properties": {
                    "item_id": {"type": "string"},
                    "score": {"type": "number"},
                    "why": {"type": "array", "items": {"type": "array"}, "description": "[term, value, item id or null]"},
                },
            },
        },
        "head_step": {"type": "integer"},
        "event_ms": {"type": "integer"},
        "written_ms": {"type": "integer"},
    },
}


def openapi(version: str, settings: Gateway, *, metrics: bool) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a gateway with these settings."""
    security: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}] if settings.api_key is not None else []
    event_security = [] if settings.public_events else security
    plain = {"description": "For Prometheus.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    page = {"description": "A page for people.", "content": {"text/html": {"schema": {"type": "string"}}}}
    document = {"description": "This.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Streamer gateway", "version": version, "description": "Events and items in, recommendations out."},
        "paths": {
            "/v1/events": {"post": _post("Append events", "Event", event_security)},
            "/v1/items": {"post": _post("Append item documents", "Item", security)},
            "/v1/recommendations/{user}": {"get": _get_list(security)},
            "/livez": {"get": {"summary": "Whether the process answers", "responses": {"200": _json("Yes.", "State")}}},
            "/readyz": {"get": _ready()},
            "/openapi.json": {"get": {"summary": "This document", "responses": {"200": document}}},
            "/": {"get": {"summary": "A page to try it on", "responses": {"200": page}}},
        }
        | ({"/metrics": {"get": {"summary": "Metrics", "responses": {"200": plain}}}} if metrics else {}),
        "components": {
            "schemas": {
                "Event": event_schema(),
                "Item": item_schema(),
                "Taken": _TAKEN,
                "Error": _ERROR,
                "List": _LIST,
                "State": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}},
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _errors(**more: str) -> dict[str, Any]:
    return {status.removeprefix("s"): _json(text, "Error") for status, text in more.items()}


def _post(summary: str, schema: str, security: list[dict[str, list[str]]]) -> dict[str, Any]:
    one = {"$ref": f"#/components/schemas/{schema}"}
    several = {"oneOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    lines = {"type": "string", "description": "One JSON object a line, as the schema of application/json has it."}
    beacon = {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "As application/json; navigator.sendBeacon sends a text so.",
    }
    either = {"oneOf": [{"$ref": "#/components/schemas/Taken"}, {"$ref": "#/components/schemas/Error"}]}
    refused = {"content": {"application/json": {"schema": either}}}
    again = refused | {"headers": _RETRY_AFTER}
    forms = {"application/json": several, "application/x-ndjson": lines, "text/plain": beacon}
    return {
        "summary": summary,
        "security": security,
        "requestBody": {"required": True, "content": {name: {"schema": schema} for name, schema in forms.items()}},
        "responses": {
            "202": _json("The log has acknowledged every record.", "Taken"),
            "207": _json("The log has acknowledged some records; the others are refused, each with its reason.", "Taken"),
            "400": {"description": "No record can be used.", **refused},
            "429": {"description": "Send the records named in the body again, after Retry-After seconds.", **again},
            "503": {"description": "The log is away: as with 429.", **again},
            **_errors(
                s401="The key is missing or wrong.",
                s403="A page of this origin may not send here.",
                s408="The body took too long to come.",
                s413="Too many bytes or records.",
                s415="No such form is read.",
            ),
        },
    }


def _get_list(security: list[dict[str, list[str]]]) -> dict[str, Any]:
    user = {"type": "string", "minLength": 1, "maxLength": 256}
    limit = {"type": "integer", "minimum": 1, "maximum": LIST_ITEMS_MAX, "default": LIST_ITEMS_MAX}
    return {
        "summary": "A user's list, or the popular one",
        "security": security,
        "parameters": [
            {"name": "user", "in": "path", "required": True, "schema": user, "description": "User id, percent-encoded UTF-8."},
            {"name": "limit", "in": "query", "schema": limit, "description": "Items at most."},
        ],
        "responses": {
            "200": _json("The list as served.", "List"),
            "503": {**_json("The store is away.", "Error"), "headers": _RETRY_AFTER},
            **_errors(s400="No user id, or no limit.", s401="The key is missing or wrong.", s404="No list."),
        },
    }


def _ready() -> dict[str, Any]:
    away = {**_json("No.", "Error"), "headers": _RETRY_AFTER}
    return {"summary": "Whether log and store can be reached", "responses": {"200": _json("Yes.", "State"), "503": away}}


def page(version: str, namespace: str) -> str:
    """A page that says what can be asked, and shows a list; it loads nothing from elsewhere."""
    return _PAGE.replace("VERSION", html.escape(version)).replace("NAMESPACE", html.escape(namespace))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Streamer gateway</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}pre,code{background:#8882}
pre{padding:.7rem;overflow:auto}input,button{font:inherit}</style>
<h1>Streamer gateway</h1>
<p>Version VERSION, namespace <code>NAMESPACE</code>. The interface is described in <a href="/openapi.json">/openapi.json</a>;
probes are <a href="/livez">/livez</a> and <a href="/readyz">/readyz</a>.</p>
<pre>POST /v1/events                  one JSON event, an array, or one a line
POST /v1/items                   item documents in the same forms
GET  /v1/recommendations/USER    the user's list</pre>
<form id="ask"><label>User <input id="user" required></label> <label>Key <input id="key" type="password"></label>
<button>Show the list</button></form>
<pre id="answer" aria-live="polite"></pre>
<script>
document.getElementById("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = document.getElementById("key").value;
  const user = encodeURIComponent(document.getElementById("user").value);
  const answer = await fetch("/v1/recommendations/" + user, {headers: key ? {"X-API-Key": key} : {}});
  document.getElementById("answer").textContent = JSON.stringify(await answer.json(), null, 2);
});
</script></html>
"""
