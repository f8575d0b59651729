"""What is known of users' lists: a touched user stays marked until the store has a list rendered after the touch.

touch, take (on its way), confirm     clean
touch, take, crash                    waits again after the restore
touch, take, touch, confirm           waits: what the store has is older than the second touch
"""

import numpy as np
import pytest

from streamer.engine.published import CLEAN, JUDGED_ENTRIES, Published

USERS = np.array([2, 0, 3], np.int32)
ITEMS = np.full((len(USERS), JUDGED_ENTRIES), 7, np.int32)


@pytest.fixture
def published():
    made = Published()
    made.reserve(5)
    made.touch(USERS)
    return made


def restored(published):
    return Published({name: table.copy() for name, table in published.tables(5).items()})


def test_a_list_that_was_confirmed_is_clean_and_one_on_its_way_is_not(published):
    assert published.take(2).tolist() == [2, 0]
    assert (published.waiting, published.unpublished) == (1, 3)
    published.confirm(USERS[:2], ITEMS[:2], 1_000)
    assert (published.waiting, published.unpublished) == (1, 1)
    assert published.written_ms_U.tolist() == [1_000, 0, 1_000, 0, 0]


def test_what_was_on_its_way_when_a_life_ended_waits_in_the_next(published):
    published.confirm(published.take(1), ITEMS[:1], 1_000)
    published.take(1)
    assert sorted(restored(published).take(5).tolist()) == [0, 3]


def test_a_user_touched_while_his_list_was_on_its_way_waits_for_another(published):
    published.take(3)
    published.touch(USERS[:1])
    published.confirm(USERS, ITEMS, 1_000)
    assert (published.waiting, published.unpublished) == (1, 1)
    assert published.mark_U[USERS[1:]].tolist() == [CLEAN, CLEAN]
    assert published.take(5).tolist() == [2]


@pytest.mark.parametrize("users_max", [0, 1, 7, 40, 500])
def test_of_stale_lists_the_stalest_come_first(users_max):
    rng, rows = np.random.default_rng(3), 200
    made = Published()
    made.reserve(rows)
    made.mark_U[:rows], made.append_ms_U[:rows] = rng.integers(CLEAN, CLEAN + 2, rows), rng.integers(0, 100, rows)
    made.written_ms_U[:rows] = rng.permutation(rows) // 4 * 4
    fit = [n for n in range(rows) if made.mark_U[n] == CLEAN and made.append_ms_U[n] >= 20 and made.written_ms_U[n] < 150]
    assert 40 < len(fit) < rows
    found = made.stale(150, 20, users_max).tolist()
    assert found == sorted(found, key=lambda n: (made.written_ms_U[n], n))
    assert set(found) <= set(fit)
    assert made.written_ms_U[found].tolist() == sorted(made.written_ms_U[fit].tolist())[:users_max]
