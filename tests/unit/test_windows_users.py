"""Windows beside ``deque(maxlen=WINDOW)``; the hourly bound beside a dict; who is forgotten beside a dict."""

from collections import defaultdict, deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.windows.forgotten import forgotten_in, forgotten_out, is_forgotten, new_forgotten, with_forgotten
from streamer.windows.users import HOUR_MS, WINDOW, clear_user, new_users, push_window, read_window, take_contribution

USERS = 3
PUSHES = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, 99), st.integers(0, 10**6)), max_size=3 * WINDOW)


@settings(deadline=None)
@given(pushes=PUSHES, cleared=st.integers(0, USERS - 1))
def test_a_window_holds_the_last_interactions_newest_first(pushes, cleared):
    users, expected = new_users(USERS), defaultdict(lambda: deque(maxlen=WINDOW))
    newest_ms = defaultdict(int)
    for user, item, time_ms in pushes:
        push_window(users, user, item, 2, time_ms)
        expected[user].appendleft(item)
        newest_ms[user] = max(newest_ms[user], time_ms)
    clear_user(users, cleared)
    expected.pop(cleared, None)
    newest_ms.pop(cleared, None)
    item_W = np.zeros(WINDOW, np.int32)
    for user in range(USERS):
        length = read_window(users, user, item_W)
        assert item_W[:length].tolist() == list(expected[user])
        assert users.last_ms_U[user] == newest_ms[user]


@settings(deadline=None)
@given(hours=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=40), per_hour=st.integers(1, 5))
def test_a_user_moves_global_state_so_often_an_hour_of_event_time_and_no_oftener(hours, per_hour):
    users, present, taken = new_users(2), {0: 0, 1: 0}, {0: 0, 1: 0}
    for user, hour in hours:
        if hour > present[user]:  # an earlier hour counts with the latest
            present[user], taken[user] = hour, 0
        allowed = taken[user] < per_hour
        taken[user] += allowed
        assert take_contribution(users, user, hour * HOUR_MS + 5, per_hour) == allowed


@settings(deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(1, 200), st.integers(0, 50)), max_size=150),
    asked=st.lists(st.tuples(st.integers(0, 201), st.integers(0, 51)), max_size=50),
)
def test_of_two_requests_to_be_forgotten_the_later_time_holds(requests, asked):
    forgotten, expected = new_forgotten(), {}
    for hashed, until_ms in requests:
        forgotten = with_forgotten(forgotten, np.uint64(hashed), until_ms)
        expected[hashed] = max(expected.get(hashed, -1), until_ms)
    for table in (forgotten, forgotten_in(forgotten_out(forgotten))):
        assert table.hash_F[: len(expected)].tolist() == sorted(expected)
        for hashed, time_ms in asked:
            assert is_forgotten(table, np.uint64(hashed), time_ms) == (time_ms <= expected.get(hashed, -1))
