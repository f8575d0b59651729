"""The page of all formats is that of the code."""

from __future__ import annotations

from pathlib import Path

from producers.formats import FORMATS
from producers.formats.reference import text, write

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == text(), "run: python -m producers.formats.reference"


def test_the_page_names_every_format_with_what_its_records_become(tmp_path: Path) -> None:
    write(tmp_path / "docs" / "page.md")
    page = (tmp_path / "docs" / "page.md").read_text(encoding="utf-8")
    for known in FORMATS:
        section = page.partition(f"\n## {known.name}\n")[2].partition("\n## ")[0]
        assert known.source in section
        for theirs, ours in known.becomes:
            assert f"| {theirs} | {ours} |" in section
