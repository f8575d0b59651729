"""Users' lists: rendered from the fold's state when a user was touched or his list is stale, handed to the publisher, settled after.

All of it runs in the fold's loop, between two pieces of work.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consumers.fold import Fold
from consumers.loops import Loops
from consumers.measurements import Measurements
from consumers.publisher import Outcome, Publisher, Rendered, Shared
from consumers.reader import encode_gone, encode_list, version_text
from consumers.store_watch import ALL, Status
from streamer.config.tree import Config
from streamer.engine.published import CLEAN, JUDGED_ENTRIES
from streamer.events.model import FORGET
from streamer.ports import Clock, RecommendationList, RecommendationStore, TopicPartition
from streamer.ranking.lists import NOBODY, PARTS
from streamer.ranking.lists import Lists as RankedLists
from streamer.ranking.scratch import REASON_NAMES

logger = logging.getLogger(__name__)

IDLE_POLL_S = 0.01
EARLY_SHARE, LATE_SHARE, LATE_MS_MAX = 0.25, 0.5, 10
"""A round begins with a piece of work, too early by a share of ``ranking.publish_ms`` at most, or too late where none comes within the time from one
poll to the next: what a piece brings just after a round has begun would wait for the one after."""
RANKED_AT_ONCE_MAX = 128
"""Lists in a portion: some 5 ms of the fold's time."""
BEHIND_MS, CATCHING_UP_PUBLISH_MS, CATCHING_UP_LISTS_MAX = 1_000, 500, 128
"""Where the log is further ahead and work waits: time between two rounds of lists, and lists of a round."""
ROUNDS_SHARE = 0.5
"""Of the time from one round to the next: a round that takes long is followed by a longer pause, in which more events share a list."""
SWEEP_EVERY_S_MAX = 0.1
SWEEPS_A_REFRESH = 4
"""A list is rendered again at most a part of ``ranking.refresh_ms_max`` late, however short that is: no less than one in so many."""
SHARED_EVERY_S = 1.0
WEIGHED_EVERY_S = 1.0
"""From one portion of lists whose terms are noted to the next."""
GONE_MAX = 10_000
LAST_LISTS_S_MAX = 10.0
"""How long the end waits for the store to take lists."""


class Lists:
    """Keeps the store's lists up with the fold."""

    def __init__(
        self,
        fold: Fold,
        config: Config,
        store: RecommendationStore,
        clock: Clock,
        measurements: Measurements,
        loops: Loops,
        *,
        epoch: int,
        generation: int,
        trusted_from: int,
        ends: Mapping[TopicPartition, int],
        wake: Callable[[], None],
    ) -> None:
        """``wake`` ends a rest of the loop that calls this."""
        self.epoch = epoch
        self.snapshot: str | None = None
        """Named in the store's status."""
        self._generation = generation
        self._fold = fold
        self._config = config
        self._clock = clock
        self._measurements = measurements
        self._forget_ends = {place: end for place, end in ends.items() if place.topic == FORGET}
        self._shared: Shared | None = None
        self._lost: list[tuple[int, NDArray[np.int32]]] = []
        """When the store was found to have lost lists (ms), and their rows, until they are written again."""
        self._refused_erasures: list[bytes] = []
        self._refused: list[tuple[NDArray[np.int32], list[bytes]]] = []
        self._changed_ms, self._behind_ms = clock.now_ms(), 0
        self._busy_s = 0.0
        """Since the last sweep."""
        self._applied = False
        """Whether a piece of work was, in this turn of the loop or since the present round began."""
        self._round, self._round_s = 0, 0.0
        """Touched users whose lists are still to be handed over in the present round; seconds that the present one, or the last, took."""
        self._ranked_at_s = self._swept_at_s = self._shared_at_s = self._weighed_at_s = 0.0
        self._sweep_every_s = min(SWEEP_EVERY_S_MAX, max(IDLE_POLL_S, config.ranking.refresh_ms_max / 1_000 / SWEEPS_A_REFRESH))
        self._last_rounds, self._last_deadline_s = 0, 0.0
        self._beside = loops.pool("rank", 1)
        self._publisher = Publisher(
            store,
            clock,
            measurements,
            epoch=epoch,
            generation=generation,
            trusted_from=trusted_from,
            shared=lambda: self._shared,
            answered=wake,
            loops=loops,
        )

    def changed(self, append_ms: int | None) -> None:
        """A piece of work was applied; ``append_ms`` is the log's time of its last event, if it had one."""
        self._applied = True
        self._changed_ms = self._clock.now_ms()
        if append_ms is not None:
            self._behind_ms = self._changed_ms - append_ms

    def begin_epoch(self, epoch: int) -> None:
        """Lists written from now on are newer than all before, and every list of a user seen within the TTL is rendered again."""
        self.epoch = epoch
        self._shared = None  # what all readers share is of the new epoch first
        self._publisher.begin_epoch(epoch)

    def epoch_wanted(self) -> int:
        """The present one, or a later one where the store holds lists of a later epoch than this: of an owner before that never committed."""
        newer = self._publisher.watch.newer_epoch
        return self.epoch if newer is None or newer < self.epoch else max(newer + 1, self._clock.now_ms())

    def between(self, *, backlog: int) -> bool:
        """Between two pieces of work: what is due of settling, publishing and sweeping. Whether what all readers share was due."""
        self._settle()
        now_s = self._clock.monotonic_s()
        shared_due = self._shared is None or now_s - self._shared_at_s >= SHARED_EVERY_S
        if shared_due:  # first: its status stands in the store before any list does
            self._shared_at_s = now_s
            self._try_refused_again()
            self._look_whether_mended()
            self._shared = self._render_shared()
        if not self._round:
            if self._round_is_due((now_s - self._ranked_at_s) * 1_000, backlog) and self._begin_round(backlog):
                self._ranked_at_s = now_s
            self._applied = False
        self._publish()
        if now_s - self._swept_at_s >= self._sweep_every_s and not backlog:
            self._sweep(max(0.0, 1.0 - 2.0 * self._busy_s / (now_s - self._swept_at_s)))
            self._swept_at_s, self._busy_s = now_s, 0.0
        return shared_due

    def _round_is_due(self, since_ms: float, backlog: int) -> bool:
        """Whether a round should begin that long after the last one began."""
        publish_ms = self._config.ranking.publish_ms
        off_ms = -EARLY_SHARE * publish_ms if self._applied else min(LATE_SHARE * publish_ms, LATE_MS_MAX)
        return since_ms >= self.publish_every_ms(backlog) + off_ms

    def publish_every_ms(self, backlog: int) -> int:
        """Time between two rounds of lists: longer under load, and while the log is far ahead, when none can be fresh and each would be of many to come."""
        at_least_ms = CATCHING_UP_PUBLISH_MS if self._catches_up(backlog) else round(1_000 * self._round_s / ROUNDS_SHARE)
        return max(self._config.ranking.publish_ms, at_least_ms)

    def _catches_up(self, backlog: int) -> bool:
        return backlog > 0 and self._behind_ms > BEHIND_MS

    def publish_last(self) -> bool:
        """One step of the end: every touched user's list, then those refused once more, as far as the store takes them. Whether that is done."""
        if not self._may_publish():
            return True
        now_s = self._clock.monotonic_s()
        if not self._last_rounds:
            self._last_rounds, self._last_deadline_s = 1, now_s + LAST_LISTS_S_MAX
        if now_s < self._last_deadline_s:
            self._settle()
            if self._put_waiting() or ((self._publisher.busy or not self._publisher.watch.looked) and not self._publisher.away):
                return False
            if self._last_rounds == 1:
                self._last_rounds = 2
                self._try_refused_again()
                return False
        self._look_whether_mended()
        self._shared = self._render_shared()
        return True

    def _put_waiting(self) -> bool:
        """Hands over touched users' lists, as many as there is room for. Whether there are any left to be handed over, or some were."""
        published, publisher = self._fold.engine.published, self._publisher
        if publisher.ready and self._erase():
            return True
        if not published.waiting or (publisher.away and not publisher.ready):
            return False
        while published.waiting and publisher.ready:
            publisher.put(self._render(published.take(RANKED_AT_ONCE_MAX)))
        return True

    def close(self) -> None:
        """Ends the publisher after what was handed over, and takes in what became of it."""
        self._publisher.close()
        self._beside.shutdown()
        self._settle()

    def _settle(self) -> None:
        """Takes in what became of lists."""
        published = self._fold.engine.published
        while self._publisher.outcomes:
            outcome = self._publisher.outcomes.popleft()
            rendered, written_ms = outcome.rendered, outcome.written_ms
            if rendered.erases:
                self._settle_erased(outcome)
                continue
            there_T = self._fold.user_ids_still(rendered.user_T, rendered.user_ids)
            if written_ms is None:
                published.touch(rendered.user_T[there_T])
                if self._measurements.traces is not None:
                    self._measurements.traces.again(rendered.traced)
                continue
            accepted_T, refused_T = there_T & outcome.accepted_T, np.flatnonzero(~outcome.accepted_T)
            published.confirm(rendered.user_T[accepted_T], rendered.item_TL[accepted_T], written_ms)
            self._refused.append((rendered.user_T[refused_T], [rendered.user_ids[n] for n in refused_T]))
        while self._publisher.watch.lost:
            self._render_lost(self._publisher.watch.lost.popleft())

    def _settle_erased(self, outcome: Outcome) -> None:
        published, user_ids = self._fold.engine.published, outcome.rendered.user_ids
        if outcome.written_ms is None:
            published.erase_later(user_ids)
            return
        published.confirm_erased(one for one, accepted in zip(user_ids, outcome.accepted_T, strict=True) if accepted)
        self._refused_erasures += [one for one, accepted in zip(user_ids, outcome.accepted_T, strict=True) if not accepted]

    def _render_lost(self, since_ms: int) -> None:
        """Wants all lists again that were confirmed after ``since_ms``, of users seen within the TTL, and those of the forgotten erased."""
        published = self._fold.engine.published
        seen_after_ms = self._clock.now_ms() - 1_000 * self._config.redis.ttl_s
        recent_U = published.append_ms_U > max(0, seen_after_ms)
        lost_U = recent_U & ((published.written_ms_U > since_ms) | (since_ms == ALL))
        lost_T = np.flatnonzero(lost_U).astype(np.int32)
        logger.log(logging.INFO if len(lost_T) else logging.DEBUG, "%d lists are rendered again", len(lost_T))
        published.touch(lost_T)
        published.erase_again()  # an older copy of the store may hold any of them
        self._lost.append((self._clock.now_ms(), lost_T))

    def _look_whether_mended(self) -> None:
        mark_U, written_ms_U = self._fold.engine.published.mark_U, self._fold.engine.published.written_ms_U
        self._lost = [
            (noted_ms, lost_T)
            for noted_ms, lost_T in self._lost
            if np.any((mark_U[lost_T] != CLEAN) & (written_ms_U[lost_T] < noted_ms))
        ]
        if not self._lost:
            self._publisher.watch.mended()

    def _try_refused_again(self) -> None:
        """Wants the lists again that the store refused.

        A life before may have written them from records that this one applies in another order, at positions that it has still to
        reach: once it is there its lists are newer, whereas theirs may lack what happened meanwhile.
        """
        while self._refused:
            user_T, user_ids = self._refused.pop()
            self._fold.engine.published.touch(user_T[self._fold.user_ids_still(user_T, user_ids)])
        self._fold.engine.published.erase_later(self._refused_erasures)
        self._refused_erasures = []

    def _begin_round(self, backlog: int) -> bool:
        """Erases lists of the forgotten; whoever is touched now has his list rendered in this round, between pieces of work if there are any.

        Whether there is anybody: what comes first after a quiet time is not held up by a round of none.
        """
        erased = self._publisher.ready and self._may_publish() and self._erase()
        waiting, self._round_s = self._fold.engine.published.waiting, 0.0
        self._round = min(waiting, CATCHING_UP_LISTS_MAX) if self._catches_up(backlog) else waiting
        return erased or self._round > 0

    @property
    def in_round(self) -> bool:
        """Whether more lists of the round could be rendered at once."""
        return self._round > 0 and self._publisher.ready and self._may_publish()

    def _publish(self) -> None:
        """Renders one portion of the round's lists, if the publisher takes it: work that came meanwhile goes before the next one."""
        if not self.in_round:
            return
        published = self._fold.engine.published
        user_T = published.take(min(self._round, RANKED_AT_ONCE_MAX))
        self._round = min(self._round - len(user_T), published.waiting)
        if len(user_T):
            started_s = self._clock.monotonic_s()
            self._publisher.put(self._render(user_T))
            self._round_s += self._clock.monotonic_s() - started_s

    def _erase(self) -> bool:
        """Hands over empty lists for a portion of the forgotten. Whether there were any."""
        engine, version, now_ms = self._fold.engine, self._version(), self._clock.now_ms()
        user_ids = engine.published.take_erasures(engine.state.users.ids, RANKED_AT_ONCE_MAX)
        if not user_ids:
            return False
        empty = RecommendationList("", version, (), True, engine.head_step, engine.event_ms, now_ms)
        payloads = [encode_list(replace(empty, user_id=user_id.decode())) for user_id in user_ids]
        nobody_T, nothing_TL = (
            np.full(len(user_ids), NOBODY, np.int32),
            np.full((len(user_ids), JUDGED_ENTRIES), NOBODY, np.int32),
        )
        never_T, stale_T = np.zeros(len(user_ids), np.int64), np.zeros(len(user_ids), np.bool_)
        self._publisher.put(Rendered(nobody_T, user_ids, payloads, nothing_TL, never_T, stale_T, [], erases=True))
        return True

    def _may_publish(self) -> bool:
        """Whether every request to forget a user that stood on the log at the start is applied: till then none has a list written."""
        if self._forget_ends and all(self._fold.positions.get(place, 0) >= end for place, end in self._forget_ends.items()):
            self._forget_ends = {}
        return not self._forget_ends

    def _render(self, user_T: np.ndarray) -> Rendered:
        started_s = self._clock.monotonic_s()
        engine = self._fold.engine
        published = engine.published
        lists = engine.rank(user_T, entries=self._config.ranking.list_items, beside=self._beside)
        payloads = engine.render(lists, version=self._version(), written_ms=self._clock.now_ms())
        for part, amount in zip(PARTS, lists.part_UP.sum(axis=0).tolist(), strict=True):
            self._measurements.list_parts[part] += amount
        engine.note_shown(lists)
        used_TK = np.arange(lists.item_UK.shape[1]) < lists.count_U[:, None]
        if started_s - self._weighed_at_s >= WEIGHED_EVERY_S:
            self._weighed_at_s = started_s
            self._weigh(lists, used_TK)
        item_TK = np.where(used_TK, lists.item_UK, np.int32(NOBODY))
        item_TL = np.full((len(user_T), JUDGED_ENTRIES), NOBODY, np.int32)
        shared = min(JUDGED_ENTRIES, item_TK.shape[1])
        item_TL[:, :shared] = item_TK[:, :shared]
        append_ms_T = published.append_ms_U[user_T]
        fresh_T = append_ms_T > published.written_ms_U[user_T]
        unseen_s_T = np.where(fresh_T | (append_ms_T == 0), 0, np.maximum(self._clock.now_ms() - append_ms_T, 0) // 1_000)
        self._measurements.stage_s["rank"] += self._clock.monotonic_s() - started_s
        user_ids, traces = engine.user_ids(user_T), self._measurements.traces
        traced = traces.rendered(user_ids) if traces is not None else ()
        return Rendered(user_T, user_ids, payloads, item_TL, append_ms_T, fresh_T, unseen_s_T.tolist(), traced)

    def _weigh(self, lists: RankedLists, used_TK: NDArray[np.bool_]) -> None:
        """Notes what these lists are made of: of each entry its largest terms."""
        term_N, value_N = lists.term_UKR[used_TK].ravel(), np.abs(lists.value_UKR[used_TK]).ravel()
        named_N = term_N != NOBODY
        given_T = np.asarray(np.bincount(term_N[named_N], value_N[named_N], len(REASON_NAMES)), np.float64)
        measured = self._measurements
        measured.term_T = given_T + measured.term_T if len(measured.term_T) else given_T

    def was_busy(self, seconds: float) -> None:
        """The loop worked for so long: what is swept is for idle time, and none of it where half of the time is taken."""
        self._busy_s += seconds

    def _sweep(self, share: float) -> None:
        """Puts the stalest lists of users seen within the TTL in the queue, a share of the configured rate.

        A list written well after the last change, whatever it was, would come out as it is.
        """
        now_ms, ranking = self._clock.now_ms(), self._config.ranking
        stale_T = self._fold.engine.published.stale(
            min(now_ms, self._changed_ms + 2 * ranking.refresh_ms_max) - ranking.refresh_ms_max,
            now_ms - 1_000 * self._config.redis.ttl_s,
            math.ceil(share * ranking.sweep_users_per_s * self._sweep_every_s),
        )
        self._fold.engine.published.touch(stale_T)
        self._measurements.swept += len(stale_T)

    def _version(self) -> str:
        return version_text(self.epoch, sum(self._fold.positions.values()))

    def _render_shared(self) -> Shared:
        engine, version = self._fold.engine, self._version()
        nobody = engine.rank(np.array([NOBODY], np.int32), entries=self._config.ranking.list_items)
        now_ms = self._clock.now_ms()
        return Shared(
            popular=engine.render(nobody, version=version, written_ms=now_ms)[0],
            gone=encode_gone(version, engine.withdrawn(GONE_MAX)),
            status=Status(
                version=version,
                owner=self._config.namespace,
                epoch=self.epoch,
                generation=self._generation,
                head_step=engine.head_step,
                snapshot=self.snapshot,
                event_ms=engine.event_ms,
                written_ms=now_ms,
            ),
        )
