"""docs/operations.md against the code: messages that it quotes are said, metrics and settings that it names are there, its formula is the one that is measured."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from benchmarks.size import ID_BYTES, MODALITY_BYTES, PLACE_BYTES, WIDTH, Held, Size, formula, held
from consumers.metrics import text
from streamer.catalog.belonging import CATEGORIES_COUNTED, Belonging
from streamer.cli.main import COMMANDS
from streamer.config.keys import all_keys

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ANYTHING = "…"


@cache
def said() -> tuple[str, ...]:
    """Every text in the code, with "…" for what is put into it: what messages are made of."""
    found = []
    for package in ("streamer", "consumers", "producers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.sub(r"%(\.\d+)?[sdrfg]", ANYTHING, node.value))
                elif isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values)
                    found.append("".join(map(str, parts)))
    return tuple(found)


def quoted() -> list[str]:
    """The messages of the tables under "What it says"."""
    section = PAGE.partition("## What it says")[2]
    return re.findall(r"^\| `(.+?)` \|", section, flags=re.MULTILINE)


def test_messages_are_found_on_the_page() -> None:
    assert len(quoted()) > 40


@pytest.mark.parametrize("message", quoted())
def test_a_message_that_the_page_quotes_is_one_that_the_code_says(message: str) -> None:
    parts = message.strip(f"{ANYTHING} ").split(ANYTHING)
    pattern = re.compile(".*".join(re.escape(part) for part in parts), re.DOTALL)
    assert any(pattern.search(text) for text in said())


def test_a_message_that_nobody_says_would_be_found() -> None:
    with pytest.raises(AssertionError):
        test_a_message_that_the_page_quotes_is_one_that_the_code_says("the worker is … tired")


def test_the_metrics_that_the_page_names_are_there() -> None:
    named, there = set(re.findall(r"\bstreamer_[a-z_]+", PAGE)), set(re.findall(r"`(streamer_\w+)`", text()))
    assert named
    assert named <= there


def test_the_settings_that_the_page_names_are_there() -> None:
    sections = {key.section for key in all_keys().values()} - {""}
    named = {name for name in re.findall(r"`([a-z]+\.[a-z_]+)\b", PAGE) if name.partition(".")[0] in sections}
    named -= {name for name in named if name in {"items.vectors", "events.dead"}}
    assert len(named) > 20
    assert named <= set(all_keys())


def test_the_commands_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"`(?:[A-Z_]+=\S+ )?streamer ([a-z-]+)", PAGE))
    assert len(named) > 8
    assert named <= set(COMMANDS)


def test_links_lead_somewhere() -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", PAGE):
        path = ROOT / "docs" / target if target else ROOT / "docs" / "operations.md"
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def test_the_formula_of_the_page_is_what_tables_take() -> None:
    # what has one size always cancels out
    small, large = Size(users=500, items=300, events=2_000), Size(users=2_000, items=1_200, events=8_000)
    less, more = held(small), held(large)
    reckoned_less, reckoned_more = formula(small, less), formula(large, more)
    for part, bytes_more in more.parts.items():
        grown = reckoned_more[part] - reckoned_less[part]
        assert bytes_more - less.parts[part] == pytest.approx(grown, rel=0.03), part
    users_1 = Size(1, 0, 0)
    nothing = Held({}, 0, 0, 0, 0, 0, 0, 0.0)
    a_user, an_item = formula(users_1, nothing), formula(Size(0, 1, 0), nothing)
    assert f"users x ({sum(a_user.values()) - ID_BYTES:.0f} + length" in PAGE
    bare = sum(an_item.values()) - ID_BYTES - 2 * WIDTH - PLACE_BYTES - MODALITY_BYTES
    assert f"items x ({bare:.0f} + length" in PAGE
    assert f"items x {Belonging().category_IC.itemsize * CATEGORIES_COUNTED}, once an item has a category" in PAGE
    assert f"items x ({PLACE_BYTES} + {MODALITY_BYTES} x modalities" in PAGE
