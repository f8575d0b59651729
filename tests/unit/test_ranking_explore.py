"""The last place of a list explores: items that are new or rarely chosen, drawn from (seed, block, user)."""

import json

import numpy as np
import pytest
from streams import copies, differing, fold, random_choices, records_of, tiny_config

from streamer.catalog.items import NEWEST
from streamer.config.tree import Config, Ranking
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.model import DecodedEvents, EventType, ItemDocument
from streamer.head.bilinear import STEP
from streamer.ranking.explore import RARE
from streamer.ranking.lists import NOBODY
from streamer.ranking.scratch import NEW, REASON_NAMES
from streamer.signals.trends import FOR_EVER
from streamer.tables.ids import row_of_text, text_of_row

ENTRIES = 6


def document(item_id, *, available=True):
    return ItemDocument(item_id=item_id, available=available)


def engine_of(*, seed=5, fresh=40, **ranking):
    """Users with windows, and ``fresh`` items that nobody has chosen."""
    engine = fold(Engine(tiny_config(**ranking)), records_of(random_choices(seed, 300, users=9, items=30)))
    for n in range(fresh):
        engine.apply_item(document(f"fresh-{n}"))
    return engine


def served(engine, rows):
    lists = engine.rank(np.array(rows), entries=ENTRIES)
    return [json.loads(payload)["items"] for payload in engine.render(lists, version="v", written_ms=0)]


def everybody(engine):
    return [NOBODY, *range(int(engine.state.users.ids.used[0]))]


def test_the_last_place_of_every_list_is_a_rare_item_and_says_so():
    engine, plain = engine_of(), engine_of(explore=False)
    drawn = set()
    for ours, theirs in zip(served(engine, everybody(engine)), served(plain, everybody(plain)), strict=True):
        if not ours:
            continue  # one who has had everything
        assert ours[-1]["why"] == [["new", 0.0, None]]
        assert ours[:-1] == theirs[: len(ours) - 1]
        assert len({entry["item_id"] for entry in ours}) == len(ours) == ENTRIES
        drawn.add(ours[-1]["item_id"])
    assert len(drawn) > 2
    assert REASON_NAMES[NEW] == "new"


def test_what_is_drawn_changes_with_the_block_and_with_nothing_else():
    engine = engine_of()
    before = copies(engine.fold_tables())
    first, again = served(engine, everybody(engine)), served(engine, everybody(engine))
    assert first == again
    assert differing(before, engine.fold_tables()) == []
    engine.state.head.steps[STEP] += 1
    assert [entries[-1:] for entries in served(engine, everybody(engine))] != [entries[-1:] for entries in first]


def test_withdrawn_items_and_items_chosen_often_are_not_explored():
    engine = engine_of()
    for n in range(39):
        engine.apply_item(document(f"fresh-{n}", available=False))
    ids = engine.state.items.ids
    names = {
        ids.text_B[s : s + z].tobytes().decode(): row
        for row, (s, z) in enumerate(zip(ids.start_R, ids.size_R, strict=True))
        if z
    }
    for entries in served(engine, everybody(engine)):
        for entry in entries:
            if entry["why"] == [["new", 0.0, None]]:
                row = names[entry["item_id"]]
                assert entry["item_id"] not in {f"fresh-{n}" for n in range(39)}
                assert engine.state.trends.value_IH[row, FOR_EVER] <= RARE


@pytest.mark.parametrize("fresh", [NEWEST + 50])
def test_only_the_newest_are_remembered_and_a_restored_engine_draws_the_same(fresh):
    engine = engine_of(fresh=fresh)
    restored = Engine(tiny_config(), copies(engine.fold_tables()))
    assert served(restored, everybody(engine)) == served(engine, everybody(engine))
    assert int(engine.state.items.admitted[0]) > NEWEST


def test_of_several_that_are_drawn_the_one_is_listed_whose_content_fits_best():
    tastes = np.random.default_rng(1).normal(size=(2, 8))
    rng = np.random.default_rng(2)
    engine = Engine(Config(ranking=Ranking(exclude_seen="false")))
    for taste in (0, 1):
        for n in range(30):
            engine.apply_vectors(f"{taste}-{n}", (tastes[taste] + 0.3 * rng.normal(size=8)).astype(np.float16))
    choices = [(f"u{n % 20}", f"{n % 2}-{rng.integers(0, 10)}", 1_700_000_000_000 + 1_000 * n) for n in range(400)]
    engine.apply(clicks(choices))
    ids, right = engine.state.items.ids, 0
    for user in range(20):
        lists = engine.rank(np.array([row_of_text(engine.state.users.ids, f"u{user}")]), entries=5)
        assert lists.term_UKR[0, 4, 0] == NEW
        right += text_of_row(ids, int(lists.item_UK[0, 4])).startswith(f"{user % 2}-")
    assert right >= 18


def clicks(choices):
    """Columns of (user, item, time) clicks."""
    decoded = DecodedEvents(
        positions=list(range(len(choices))),
        types=[int(EventType.CLICK)] * len(choices),
        timestamps_ms=[time_ms for *_, time_ms in choices],
        event_ids=[""] * len(choices),
        user_ids=[user for user, *_ in choices],
        item_ids=[item for _, item, _ in choices],
        item_counts=[1] * len(choices),
        rejects=[],
    )
    return columns_of(decoded, decoded.timestamps_ms, 0)
