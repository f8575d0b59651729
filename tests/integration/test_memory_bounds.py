"""What users, items and their lists take of memory stays within what is stated for a million of each."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from benchmarks.bounds import ITEM_BYTES_MAX, LISTS_BYTES_MAX, MILLION, USER_BYTES_MAX
from benchmarks.memory import payloads, store_bytes, tables_of
from benchmarks.million import engine_of
from streamer.config.tree import Config, Ranking
from streamer.embedded import ValkeyProcess
from streamer.engine.engine import Engine

ENTITIES, LISTS = 20_000, 10_000


CONFIG = Config(ranking=Ranking(reasons_bytes_max=Ranking().reasons_bytes_max * ENTITIES // MILLION))
"""What is shipped, with as much room for the reasons of these users as there is for those of a million."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engine_of(CONFIG, ENTITIES, ENTITIES)


def test_a_user_and_an_item_take_no_more_of_the_tables_than_stated(engine: Engine) -> None:
    tables = tables_of(engine)
    assert engine.sizes()["users"] == engine.sizes()["items"] == ENTITIES
    assert 0 < tables.user <= USER_BYTES_MAX
    assert 0 < tables.item <= ITEM_BYTES_MAX


def test_lists_of_twenty_take_no_more_of_the_store_than_stated(engine: Engine, tmp_path: Path) -> None:
    assert CONFIG.ranking.list_items == 20
    written = list(payloads(engine, LISTS, CONFIG.ranking.list_items))
    values = [value for _, portion in written for value in portion]
    assert len(values) == LISTS
    with contextlib.closing(ValkeyProcess(tmp_path)) as valkey:
        taken = store_bytes(valkey.url, CONFIG, iter(written))
    assert sum(len(value) for value in values) / LISTS < taken <= LISTS_BYTES_MAX / MILLION
    first = json.loads(values[0])["items"]
    assert [bool(entry["why"]) for entry in first[:-1]] == [True] * 7 + [False] * 12  # the last one may explore, and says so
