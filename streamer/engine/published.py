"""What is known of lists in the store: publisher tables, kept in snapshots, never hashed, never read by the fold.

A user's mark is CLEAN, TOUCHED (his list is to be rendered, he stands in the queue) or SENT (it is on its way). Whatever happens
between, a touched user stays marked until the store has confirmed a list rendered after the touch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from streamer.engine.columns import Columns
from streamer.engine.step import Touched
from streamer.tables.arrays import Array, grown, resized
from streamer.tables.compile import kernel
from streamer.tables.ids import SEPARATOR, IdTable, find_id, mix, row_of_bytes
from streamer.windows.dedup import Dedup, seen_before

CLEAN, TOUCHED, SENT = 0, 1, 2
_BETWEEN = bytes([SEPARATOR])
JUDGED_ENTRIES = 10
ARRIVED, JUDGED, HITS, NDCG = range(4)


class Published:
    """Marks, times and confirmed lists by user row; ``served`` = sums of [arrived, judged, hits, ndcg] as served."""

    def __init__(self, tables: dict[str, Array] | None = None) -> None:
        tables = tables or {}
        rows = len(tables.get("published.mark", ()))
        self.mark_U = resized(tables.get("published.mark", np.zeros(0, np.uint8)), rows)
        self.append_ms_U = resized(tables.get("published.append_ms", np.zeros(0, np.int64)), rows)
        self.written_ms_U = resized(tables.get("published.written_ms", np.zeros(0, np.int64)), rows)
        self.item_UL = resized(tables.get("published.item", np.zeros((0, JUDGED_ENTRIES), np.int32)), rows)
        self.served = resized(tables.get("published.served", np.zeros(4, np.float64)), 4)
        waiting = np.flatnonzero(self.mark_U)
        self.mark_U[waiting] = TOUCHED
        self._queue_U = np.zeros(rows, np.int32)
        self._queue_U[: len(waiting)] = waiting
        self._count = np.array([len(waiting)], np.int64)
        self._erasing: dict[bytes, int] = {}
        """Forgotten users whose lists the store is still to drop: TOUCHED or SENT, those that wait longest first."""
        self._again: set[bytes] = set()
        """Of these the ones whose lists it had dropped before. Not in snapshots: the next owner finds out about the store himself."""
        self.erased: set[bytes] = set()
        """Those whose lists it has dropped. Not in snapshots: who is forgotten is known from the log, and in none of our files."""
        self.erased_since = 0
        """How many of these a snapshot may hold still; set to 0 by who takes one."""
        self.erase(bytes(tables.get("published.erasing", np.zeros(0, np.uint8))).split(_BETWEEN)[:-1])

    def reserve(self, rows: int) -> None:
        """Room for that many user rows."""
        if rows > len(self.mark_U):
            self.mark_U, self.append_ms_U = grown(self.mark_U, rows), grown(self.append_ms_U, rows)
            self.written_ms_U, self.item_UL = grown(self.written_ms_U, rows), grown(self.item_UL, rows, -1)
            self._queue_U = grown(self._queue_U, rows)

    @property
    def touched(self) -> Touched:
        """The arrays that the step writes."""
        return Touched(self.mark_U, self._queue_U, self._count, self.append_ms_U)

    @property
    def waiting(self) -> int:
        """Users in the queue."""
        return int(self._count[0])

    @property
    def unpublished(self) -> int:
        """Users touched and not confirmed, and forgotten ones whose lists are to be erased."""
        return int(np.count_nonzero(self.mark_U)) + len(self._erasing)

    def erase(self, user_ids: Iterable[bytes]) -> None:
        """The lists of these users are to be erased from the store."""
        for user_id in user_ids:
            self._erasing[user_id] = TOUCHED
            self._again.discard(user_id)

    def erase_later(self, user_ids: Iterable[bytes]) -> None:
        """The store did not take these: they are to be tried again."""
        self._erasing.update((user_id, TOUCHED) for user_id in user_ids if user_id in self._erasing)

    def erase_again(self) -> int:
        """The store may have got back lists that it had dropped: all are to be erased once more. Returns how many."""
        again, self.erased = self.erased - self._erasing.keys(), set()
        self._erasing.update(dict.fromkeys(again, TOUCHED))
        self._again |= again
        return len(again)

    def known_forgotten(self) -> set[bytes]:
        """All whose lists were erased or are being erased."""
        return self.erased | self._erasing.keys()

    def take_erasures(self, users: IdTable, users_max: int) -> list[bytes]:
        """Takes users whose lists are to be erased. Those who came back since are left alone: their own new list takes the place."""
        taken: list[bytes] = []
        for user_id in [one for one, mark in self._erasing.items() if mark == TOUCHED]:
            if len(taken) == users_max:
                break
            row = row_of_bytes(users, user_id)
            if row >= 0 and self.mark_U[row] == CLEAN:
                self._erased(user_id)
            elif row < 0:
                self._erasing[user_id] = SENT
                taken.append(user_id)
        return taken

    def confirm_erased(self, user_ids: Iterable[bytes]) -> None:
        """The store has dropped these lists; but for those that are to be erased anew since."""
        for user_id in user_ids:
            if self._erasing.get(user_id) == SENT:
                self._erased(user_id)

    def _erased(self, user_id: bytes) -> None:
        del self._erasing[user_id]
        self._again.discard(user_id)
        self.erased.add(user_id)
        self.erased_since += 1

    def take(self, users_max: int) -> Array:
        """Takes users off the queue, those touched first first, and marks them SENT."""
        waiting = self.waiting
        count = min(waiting, users_max)
        user_T = self._queue_U[:count].copy()
        self._queue_U[: waiting - count] = self._queue_U[count:waiting].copy()
        self._count[0] = waiting - count
        self.mark_U[user_T] = SENT
        return user_T

    def touch(self, user_T: Array) -> None:
        """Puts users in the queue who are not there yet."""
        fresh = user_T[self.mark_U[user_T] != TOUCHED]
        self.mark_U[fresh] = TOUCHED
        first = self.waiting
        self._queue_U[first : first + len(fresh)] = fresh
        self._count[0] = first + len(fresh)

    def confirm(self, user_T: Array, item_TL: Array, written_ms: int) -> None:
        """The store has these lists (or newer ones): their users are clean unless touched again since."""
        sent = user_T[self.mark_U[user_T] == SENT]
        self.mark_U[sent] = CLEAN
        self.written_ms_U[user_T] = written_ms
        self.item_UL[user_T] = item_TL

    def stale(self, written_before_ms: int, seen_after_ms: int, users_max: int) -> Array:
        """Clean users seen since ``seen_after_ms`` whose list is older than ``written_before_ms``, stalest first, of one time by row."""
        if not users_max:
            return np.zeros(0, np.int32)
        user_T = np.empty(len(self.mark_U), np.int32)
        found = find_stale(self.mark_U, self.append_ms_U, self.written_ms_U, written_before_ms, max(1, seen_after_ms), user_T)
        user_T = user_T[:found]
        if found > users_max:  # to sort all of them would take ten times as long
            user_T = user_T[np.sort(np.argpartition(self.written_ms_U[user_T], users_max)[:users_max])]
        return user_T[np.argsort(self.written_ms_U[user_T], kind="stable")]

    def drop_users(self, user_T: Array) -> None:
        """Forgets users whose rows are freed."""
        for column in (self.mark_U, self.append_ms_U, self.written_ms_U):
            column[user_T] = 0
        self.item_UL[user_T] = -1
        queue_T = self._queue_U[: self.waiting]
        kept_T = queue_T[self.mark_U[queue_T] == TOUCHED]
        self._queue_U[: len(kept_T)] = kept_T
        self._count[0] = len(kept_T)

    def drop_items(self, item_T: Array) -> None:
        """Forgets items whose rows are freed."""
        self.item_UL[np.isin(self.item_UL, item_T)] = -1

    def judge(self, columns: Columns, users: IdTable, items: IdTable, dedup: Dedup) -> None:
        """Judges arriving interactions against the lists confirmed before the log had them; call before they are applied."""
        judge_columns(columns, users, items, dedup, self.written_ms_U, self.item_UL, self.served)

    def tables(self, rows: int) -> dict[str, Array]:
        """For a snapshot: views of the first ``rows`` user rows."""
        return {
            "published.mark": self.mark_U[:rows],
            "published.append_ms": self.append_ms_U[:rows],
            "published.written_ms": self.written_ms_U[:rows],
            "published.item": self.item_UL[:rows],
            "published.served": self.served,
            "published.erasing": np.frombuffer(
                b"".join(user_id + _BETWEEN for user_id in self._erasing if user_id not in self._again), np.uint8
            ),
        }


@kernel
def judge_columns(
    columns: Columns, users: IdTable, items: IdTable, dedup: Dedup, written_ms_U: Array, item_UL: Array, served: Array
) -> None:
    """Adds to ``served`` each first-time interaction, and how the list fared that a reader would have got when it arrived."""
    for n in range(len(columns.type_N)):
        event = columns.event_N[n]
        if columns.type_N[n] == 0 or (event != np.uint64(0) and seen_before(dedup, mix(columns.user_N[n] ^ mix(event)))):
            continue
        references = columns.item_first_N1[n + 1] - columns.item_first_N1[n]
        served[ARRIVED] += references
        start, stop = columns.user_start_N1[n], columns.user_start_N1[n + 1] - 1
        user = find_id(users, columns.user_N[n], columns.user_text, start, stop)
        if user < 0 or written_ms_U[user] == 0 or written_ms_U[user] >= columns.append_N[n]:
            continue
        served[JUDGED] += references
        for m in range(columns.item_first_N1[n], columns.item_first_N1[n + 1]):
            start, stop = columns.item_start_M1[m], columns.item_start_M1[m + 1] - 1
            item = find_id(items, columns.item_M[m], columns.item_text, start, stop)
            for place in range(JUDGED_ENTRIES):
                if item >= 0 and item_UL[user, place] == item:
                    served[HITS] += 1.0
                    served[NDCG] += 1.0 / np.log2(2.0 + place)
                    break


@kernel
def find_stale(
    mark_U: Array, append_ms_U: Array, written_ms_U: Array, written_before_ms: int, seen_after_ms: int, user_T: Array
) -> int:
    """Fills ``user_T`` with the clean users seen at that time or after whose list is older than the other; returns how many there are."""
    found = 0
    for user in range(len(mark_U)):
        user_T[found] = user
        found += (mark_U[user] == CLEAN) & (append_ms_U[user] >= seen_after_ms) & (written_ms_U[user] < written_before_ms)
    return found
