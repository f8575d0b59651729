"""New items in lists by what they say and look like, and what of that is told."""

import numpy as np
import pytest
from streams import VECTOR_WIDTH, fold, random_choices, records_of, tiny_config

from streamer.config.tree import Config, Head, Ranking
from streamer.engine.columns import columns_of
from streamer.engine.engine import Engine
from streamer.events.model import DecodedEvents, EventType, ItemDocument
from streamer.head.gate import PHI, STEP_CAUTION
from streamer.ranking.lists import PARTS
from streamer.ranking.score import FIXED_F
from streamer.ranking.scratch import IMAGE, LIKENESS, NEURAL, TEXT, UNTRIED, YOUNG_CONTENT, YOUNG_LIKENESS
from streamer.tables.ids import row_of_text

CONFIG = Config(head=Head(block_records=32, negatives=64), ranking=Ranking(explore=False, exclude_seen="false"))
TASTES = np.random.default_rng(5).normal(size=(2, 16)).astype(np.float32)


def content(taste, seed):
    """Vectors of an item of a taste: text says it, image says it and something of its own."""
    rng = np.random.default_rng(seed)
    text, image = TASTES[taste] + 0.2 * rng.normal(size=16), TASTES[taste][::-1] + 0.2 * rng.normal(size=16)
    return text.astype(np.float16), image.astype(np.float16)


@pytest.fixture(scope="module")
def engine():
    """Half the users have had items of one taste, half of the other; both know popular items without content."""
    engine = Engine(CONFIG)
    items = {f"i{taste}-{n}": taste for taste in (0, 1) for n in range(12)}
    for n, (item_id, taste) in enumerate(items.items()):
        engine.apply_item(ItemDocument(item_id=item_id))
        engine.apply_vectors(item_id, *content(taste, n))
    rng = np.random.default_rng(8)
    choices, time_ms = [], 1_700_000_000_000
    for _ in range(1_500):
        user = int(rng.integers(0, 40))
        time_ms += 1_000
        choices.append((f"u{user}", f"i{user % 2}-{rng.integers(0, 12)}", time_ms))
    decoded = DecodedEvents(
        positions=list(range(len(choices))),
        types=[int(EventType.CLICK)] * len(choices),
        timestamps_ms=[time for *_, time in choices],
        event_ids=[""] * len(choices),
        user_ids=[user for user, *_ in choices],
        item_ids=[item for _, item, _ in choices],
        item_counts=[1] * len(choices),
        rejects=[],
    )
    engine.apply(columns_of(decoded, decoded.timestamps_ms, 0))
    for taste in (0, 1):
        for n in range(3):
            item_id = f"new{taste}-{n}"
            engine.apply_item(ItemDocument(item_id=item_id))
            engine.apply_vectors(item_id, *content(taste, 100 + n))
    return engine


def entries(engine, user):
    """(item, terms, values) of a user's list."""
    row = row_of_text(engine.state.users.ids, user)
    lists = engine.rank(np.array([row]), entries=30)
    ids = engine.state.items.ids
    names = {row_of_text(ids, f"new{taste}-{n}"): f"new{taste}-{n}" for taste in (0, 1) for n in range(3)}
    count = int(lists.count_U[0])
    return [names.get(int(item), "old") for item in lists.item_UK[0, :count]], lists


def test_an_item_that_just_came_is_listed_for_users_whose_taste_it_fits_and_above_those_that_do_not(engine):
    right = 0
    for user in range(40):
        found, _ = entries(engine, f"u{user}")
        places = [{place for place, item in enumerate(found) if item.startswith(f"new{taste}")} for taste in (0, 1)]
        fits, other = places[user % 2], places[1 - user % 2]
        right += len(fits) == 3 and sum(fits) < (sum(other) if len(other) == 3 else 90)
    assert right >= 36


def test_what_text_and_image_say_is_told_apart_and_adds_up_with_the_rest(engine):
    told = set()
    for user in range(10):
        _, lists = entries(engine, f"u{user}")
        told |= set(lists.term_UKR[0, : int(lists.count_U[0])].ravel().tolist())
        scratch, count = engine.scratch, int(lists.count_U[0])
        place_of = {int(item): place for place, item in enumerate(scratch.item_C[: scratch.found[0]])}
        places = [place_of[int(item)] for item in lists.item_UK[0, :count]]
        fits = [NEURAL, YOUNG_CONTENT, LIKENESS, YOUNG_LIKENESS]
        fit_K = (scratch.weight_F[fits] @ scratch.feature_FC[fits])[places]
        parts = dict(zip(PARTS, lists.part_UP[0], strict=True))
        assert parts["text"] > 0
        assert parts["image"] > 0
        assert parts["text"] + parts["image"] + parts["item"] >= np.abs(fit_K).sum() - 1e-3
        signals_K = lists.score_UK[0, :count] - fit_K
        assert parts["signals"] == pytest.approx(np.abs(signals_K).sum(), rel=1e-3, abs=1e-3)
    assert TEXT in told
    assert IMAGE in told
    assert not told & {YOUNG_CONTENT, LIKENESS, YOUNG_LIKENESS}


def test_a_withdrawn_item_leaves_the_lists_however_well_it_fits():
    engine = fold(Engine(tiny_config(explore=False)), records_of(random_choices(3, 150)))
    engine.apply_item(ItemDocument(item_id="new"))
    engine.apply_vectors("new", np.ones(VECTOR_WIDTH, np.float16))
    engine.apply_item(ItemDocument(item_id="new", available=False))
    row = row_of_text(engine.state.items.ids, "new")
    users = np.arange(int(engine.state.users.ids.used[0]))
    assert row not in engine.rank(users, entries=20).item_UK


def test_the_state_with_content_of_both_kinds_comes_back_from_its_tables(engine):
    tables = {name: table.copy() for name, table in engine.fold_tables().items()}
    again = Engine(CONFIG, tables)
    assert all(np.array_equal(table, tables[name]) for name, table in again.fold_tables().items())
    for user in range(6):
        assert entries(engine, f"u{user}")[0] == entries(again, f"u{user}")[0]


def test_a_snapshot_of_before_there_was_likeness_is_read_and_items_find_their_places(engine):
    tables = {name: table.copy() for name, table in engine.fold_tables().items() if not name.startswith("likeness.")}
    tables["gate.weight"] = tables["gate.weight"][:LIKENESS].copy()
    taught = LIKENESS * PHI
    tables["gate.inverse"] = tables["gate.inverse"][:taught, :taught].copy()
    again = Engine(CONFIG, tables)
    rows = engine.item_rows
    alike_TT, before_TT = (
        (one.state.likeness.place_IL[:rows] @ one.state.likeness.place_IL[:rows].T) for one in (again, engine)
    )
    assert again.state.likeness.there_I[:rows].all()
    assert np.corrcoef(alike_TT.ravel(), before_TT.ravel())[0, 1] > 0.9  # along axes of all vectors, not of the first sixteen
    assert np.array_equal(again.state.gate.weight_FK[:LIKENESS], engine.state.gate.weight_FK[:LIKENESS])
    assert not again.state.gate.weight_FK[LIKENESS:UNTRIED].any()
    assert entries(again, "u0")[0]


def test_an_item_that_nobody_has_had_is_given_a_chance_with_those_whom_it_fits_alone(engine):
    ids = engine.state.items.ids
    fits = {taste: [] for taste in (True, False)}
    for user in range(20):
        entries(engine, f"u{user}")
        scratch = engine.scratch
        place_of = {int(item): place for place, item in enumerate(scratch.item_C[: scratch.found[0]])}
        for taste in (0, 1):
            place = place_of.get(row_of_text(ids, f"new{taste}-0"))
            if place is not None:
                fits[taste == user % 2].append(float(scratch.feature_FC[UNTRIED, place]))
    assert np.mean(fits[True]) > 0.6
    assert np.mean(fits[False]) < 0.4


def test_what_is_given_as_a_chance_is_never_learned(engine):
    assert engine.state.gate.weight_FK[UNTRIED].tolist() == [float(FIXED_F[UNTRIED]), *[0.0] * (PHI - 1)]
    assert engine.state.gate.weight_FK[LIKENESS].any()


def test_without_content_the_features_of_content_are_nothing_and_untaught():
    kinds = ("click", "view", "purchase")
    engine = fold(Engine(tiny_config(explore=False)), records_of(random_choices(3, 300, kinds=kinds)))
    engine.rank(np.arange(engine.user_rows), entries=5)
    assert engine.state.gate.steps[0] > 50
    assert not engine.state.gate.weight_FK[LIKENESS:UNTRIED].any()
    untaught_W = np.eye(len(engine.state.gate.inverse_WW))[LIKENESS * PHI :]
    assert np.array_equal(engine.state.gate.inverse_WW[LIKENESS * PHI :], untaught_W / STEP_CAUTION)
    assert not engine.scratch.feature_FC[LIKENESS:].any()
