"""The report as one page for people."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def page(report: Mapping[str, Any]) -> str:
    """The page, complete in itself."""
    return "<!doctype html>\n" + "\n".join(f"<p>{escape(sentence)}</p>" for sentence in report["verdict"])
