"""What was warmed is all that records make an engine run: none of a live stream waits for a compiler, however rare what it brings."""

from __future__ import annotations

import gc
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from numba.core.registry import CPUDispatcher, cpu_target
from streams import START_MS, Record, fold, random_choices, records_of, restored, tiny_config

from streamer.config.tree import Catalog, Config, Windows
from streamer.engine import warm as warming
from streamer.engine.engine import Engine
from streamer.engine.warm import is_warm, warm

USERS_MAX, ITEMS_MAX, BASKET = 40, 5_000, 100


def loaded() -> set[tuple[str, str]]:
    """Every kernel of ours and the types that it is compiled for in this process."""
    found = [
        one for one in gc.get_objects() if isinstance(one, CPUDispatcher) and one.py_func.__module__.startswith("streamer.")
    ]
    return {(f"{one.py_func.__module__}.{one.py_func.__qualname__}", str(types)) for one in found for types in one.signatures}


def baskets() -> list[Record]:
    """More users and items than there may be."""
    records = []
    for n in range(ITEMS_MAX // BASKET + 50):
        items = [f"basket-{n * BASKET + k}" for k in range(BASKET)]
        event = {"event_id": f"b{n}", "type": "purchase", "user_id": f"buyer-{n}", "item_ids": items, "timestamp": START_MS + n}
        records.append(Record("events", 0, event["user_id"].encode(), json.dumps(event).encode(), START_MS + n))
    return records


def used_beyond_warm() -> list[str]:
    """Kernels of an eventful life that ``warm`` leaves to be compiled."""
    warm()
    before = loaded()
    assert "streamer.engine.step.step" in {name for name, _ in before}
    for config, records in (
        (tiny_config(), records_of(random_choices(5, 1_500))),
        (Config(windows=Windows(users_max=USERS_MAX), catalog=Catalog(items_max=ITEMS_MAX)), baskets()),
    ):
        engine = Engine(config)
        for half in (records[: len(records) // 2], records[len(records) // 2 :]):
            engine = restored(fold(engine, half), config)
            user_T = engine.published.take(30)
            lists = engine.rank(user_T, entries=10)
            engine.note_shown(lists)
            engine.render(lists, version="0", written_ms=1)
            engine.published.confirm(user_T, lists.item_UK, 1)
            engine.published.touch(engine.published.stale(2, 0, 10))
        engine.freeze()
        engine.unfreeze()
        engine.settle(START_MS)
    assert engine.sizes()["users"] <= USERS_MAX < len(records)
    assert engine.sizes()["items"] <= ITEMS_MAX < len(records) * BASKET
    return sorted({name for name, _ in loaded() - before})


def test_nothing_is_compiled_while_records_come() -> None:
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as apart:  # here other tests have loaded kernels
        assert apart.submit(used_beyond_warm).result(300) == []


def test_a_cache_of_some_kernels_or_of_another_processor_or_compiler_is_not_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "cache_folder", lambda: tmp_path)
    (tmp_path / "step.nbi").touch()
    assert not is_warm()
    warm()  # finds them in the folder that numba uses
    assert is_warm()
    with monkeypatch.context() as patched:
        patched.setattr("numba.__version__", "0.1")
        assert not is_warm()
    with monkeypatch.context() as patched:
        patched.setattr(type(cpu_target.target_context.codegen()), "magic_tuple", lambda _: ("another processor",))
        assert not is_warm()
    assert is_warm()
