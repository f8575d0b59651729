"""The page of all keys is that of the code."""

from __future__ import annotations

from pathlib import Path

from streamer.config.keys import all_keys
from streamer.config.reference import text, write

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == text(), "run: python -m streamer.config.reference"


def test_the_page_is_written_where_it_is_asked_for(tmp_path: Path):
    write(tmp_path / "docs" / "page.md")
    assert (tmp_path / "docs" / "page.md").read_text(encoding="utf-8") == text()


def test_the_page_names_every_variable():
    for key in all_keys().values():
        assert f"`{key.environment}`" in text()


def test_the_names_that_are_fixed_exist():
    names = """
        STREAMER_NAMESPACE STREAMER_KAFKA__BOOTSTRAP_SERVERS STREAMER_KAFKA__PARTITIONS STREAMER_KAFKA__REPLICATION_FACTOR
        STREAMER_KAFKA__SESSION_TIMEOUT_MS STREAMER_KAFKA__MAX_POLL_INTERVAL_MS STREAMER_REDIS__URL STREAMER_SNAPSHOTS__ROOT
        STREAMER_HTTP__PORT STREAMER_RANKING__EXCLUDE_SEEN STREAMER_ENCODER__IMAGE_ROOT STREAMER_LOG__KIND
    """
    assert set(names.split()) <= {key.environment for key in all_keys().values()}
