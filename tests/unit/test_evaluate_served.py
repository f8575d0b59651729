"""Lists as served, in event time.

a     v1 ........ v2 ............................. v3          visits of one user
60 s      s   s      s   s   s   s   s   s   s   s             what a sweep every 60 s renders
              |                                  |
              read at v2                         read at v3    the last before the visit
"""

import numpy as np
import pytest
from recorded import T0, random_rows, stream_of

from streamer.config.tree import Config, Ranking, Redis
from streamer.evaluate.engines import run_engine
from streamer.evaluate.served import NOBODY, Serving, next_visits, shelf
from streamer.events.model import EventType

CLICK = EventType.CLICK


def clicks(*times_and_users):
    return stream_of([(second, user, "x", CLICK) for second, user in times_and_users])


def seconds(at_G):
    return ((at_G - T0) / 1_000).tolist()


def test_the_next_visit_of_each_user_is_found():
    assert next_visits(clicks((0, "a"), (1, "b"), (2, "a"), (3, "a"))).tolist() == [2, -1, 3, -1]


def test_a_list_is_read_as_the_last_sweep_before_the_visit_left_it():
    found = shelf(clicks((0, "a"), (130, "a"), (180, "a"), (241, "a")), Config(), 60_000)
    assert seconds(found.at_G)[:3] == [120, 130, 240]
    assert found.swept_G.tolist()[:3] == [True, False, True]
    assert found.read_G.tolist() == [True, True, True, False]
    assert found.name == "60"


def test_without_a_sweep_a_list_is_as_old_as_the_last_visit():
    found = shelf(clicks((0, "a"), (5_000, "a")), Config(), None)
    assert seconds(found.at_G)[:1] == [0]
    assert (found.name, found.swept_G.any()) == ("off", False)


def test_a_list_expires_with_its_users_last_visit_however_late_a_sweep_rendered_it():
    config = Config(redis=Redis(ttl_s=100))
    stream = clicks((0, "a"), (100, "a"), (201, "a"), (230, "a"))
    for period_ms in (30_000, None):
        assert shelf(stream, config, period_ms).read_G.tolist() == [True, False, True, False]


def test_a_sweep_with_more_users_than_it_may_render_takes_longer():
    stream = clicks(*((0, f"u{n}") for n in range(40)), (100, "u39"))
    config = Config(ranking=Ranking(sweep_users_per_s=1))
    assert seconds(shelf(stream, config, 10_000).at_G)[39] == 80  # 40 users at 1 a second: at 40 s and 80 s


def test_impressions_are_no_visits_and_keep_no_list_alive():
    rows = [(0, "a", "x", CLICK), (60, "a", "xy", EventType.IMPRESSION), (150, "a", "y", CLICK), (240, "a", "x", CLICK)]
    found = shelf(stream_of(rows), Config(redis=Redis(ttl_s=100)), None)
    assert next_visits(stream_of(rows)).tolist() == [2, -1, 3, -1]
    assert found.read_G.tolist() == [False, False, True, False]
    bare = [row for row in rows if row[3] == CLICK]
    runs = [run_engine("streamer", stream_of(one), Config(), id, served_ms=(60_000, None)) for one in (bare, rows)]
    for name in ("60", "off"):
        of_bare, of_all = (run.served[name][run.rank_M == run.rank_M] for run in runs)
        assert np.array_equal(of_bare, of_all)


def test_readers_get_what_was_rendered_last_and_strangers_the_popular_list():
    stream = clicks((0, "a"), (1, "b"), (70, "b"), (200, "a"))
    serving = Serving(stream, Config(), (60_000, None))
    moment, log = [""], []

    def render(users):
        log.append((moment[0], users))
        return [[len(log)] for _ in users]

    read = []
    for group in range(4):
        moment[0] = f"before {group}"
        serving.come_to(group, render)
        read.append(serving.read(group, render))
        moment[0] = f"after {group}"
        serving.visited(group, render)
    assert log == [
        ("before 0", [NOBODY]),
        ("after 0", [0]),
        ("before 1", [NOBODY]),
        ("after 1", [1]),
        ("before 2", [1]),  # the sweep at 61 s
        ("before 3", [0]),  # the sweep at 180 s, from the state after b's visit at 70 s
    ]
    assert read == [[[1], [1]], [[3], [3]], [[5], [4]], [[6], [2]]]


@pytest.mark.parametrize("seed", [1, 2])
def test_lists_as_served_are_those_that_an_engine_gives_that_is_asked_at_each_moment(seed):
    """Against a reference that renders every user at every sweep."""
    rows = [(second, user, items[:1], CLICK) for second, user, items, _ in random_rows(seed, 150, users=4, ties=False)]
    stream = stream_of(rows)
    config = Config(ranking=Ranking(exclude_seen="false"))
    run = run_engine("streamer", stream, config, id, served_ms=(300_000, None))
    expected = reference(stream, config, 300_000)
    assert np.array_equal(run.served["300"], expected["300"])
    assert np.array_equal(run.served["off"], expected["off"])


def reference(stream, config, period_ms):
    """One user's sweep after the other, each in its moment, all rendered whether read or not."""
    from streamer.engine.engine import Engine
    from streamer.evaluate.stream import engine_batches
    from streamer.tables.ids import row_of_text, text_of_row

    engine = Engine(config)

    def rendered(user_id):
        row = NOBODY if user_id is None else row_of_text(engine.state.users.ids, user_id)
        lists = engine.rank(np.array([row]), entries=20)
        return [text_of_row(engine.state.items.ids, item) for item in lists.item_UK[0, : lists.count_U[0]].tolist()]

    stores = {"300": {}, "off": {}}
    due = {}
    found = {name: [] for name in stores}
    for batch in engine_batches(stream):
        event = int(stream.first_G1[batch.group])
        user, now_ms = stream.user_ids[stream.user_N[event]], int(stream.time_N[event])
        while due and min(due.values()) <= now_ms:
            swept = min(due, key=due.get)
            stores["300"][swept] = rendered(swept)
            due[swept] += period_ms
        item = stream.item_ids[stream.item_M[event]]
        for name, store in stores.items():
            listed = store.get(user) or rendered(None)
            found[name].append(listed.index(item) + 1.0 if item in listed else np.inf)
        engine.settle(now_ms)
        engine.apply(batch.columns)
        for store in stores.values():
            store[user] = rendered(user)
        due[user] = now_ms + period_ms
    return {name: np.array(ranks) for name, ranks in found.items()}
