"""What users, items and their lists take of memory stays within what is stated for a million of each."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from benchmarks.bounds import ITEM_BYTES_MAX, LISTS_BYTES_MAX, MILLION, REASONED_BYTES_MAX, USER_BYTES_MAX
from benchmarks.memory import payloads, store_bytes, tables_of, without_reasons
from benchmarks.million import engine_of
from streamer.config.tree import Config
from streamer.embedded import ValkeyProcess
from streamer.engine.engine import Engine

ENTITIES, LISTS = 20_000, 10_000


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engine_of(Config(), ENTITIES, ENTITIES)


def test_a_user_and_an_item_take_no_more_of_the_tables_than_stated(engine: Engine) -> None:
    tables = tables_of(engine)
    assert engine.sizes()["users"] == engine.sizes()["items"] == ENTITIES
    assert 0 < tables.user <= USER_BYTES_MAX
    assert 0 < tables.item <= ITEM_BYTES_MAX


def test_lists_of_twenty_take_no_more_of_the_store_than_stated(engine: Engine, tmp_path: Path) -> None:
    config = Config()
    assert config.ranking.list_items == 20
    whole = list(payloads(engine, LISTS, config.ranking.list_items))
    assert sum(len(user_ids) for user_ids, _ in whole) == LISTS
    bare = [(user_ids, [without_reasons(payload) for payload in values]) for user_ids, values in whole]
    with contextlib.closing(ValkeyProcess(tmp_path)) as valkey:
        taken_whole, taken_bare = (store_bytes(valkey.url, config, iter(written)) for written in (whole, bare))
    assert max(len(value) for _, values in bare for value in values) < taken_bare <= LISTS_BYTES_MAX / MILLION
    assert taken_bare < taken_whole <= REASONED_BYTES_MAX / MILLION
