"""The engine: applies micro-batches, closes blocks, ranks users. Deterministic; takes time and identity from its caller."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from threadpoolctl import threadpool_limits

from streamer.catalog.belonging import Belonging
from streamer.catalog.items import HAS_DOCUMENT, WITHDRAWN, note_new_item
from streamer.catalog.likeness import fitted, keep_young, placed, refitted
from streamer.catalog.vectors import ContentVectors
from streamer.catalog.young import IN_POOL, note_young, tend_young
from streamer.config.tree import Config
from streamer.engine.columns import Columns
from streamer.engine.evict import evict_items, evict_users, forget_user
from streamer.engine.exposed import Exposed
from streamer.engine.freezing import Freezing
from streamer.engine.learn import close_group, count_ahead, leaves_out_seen, model_of
from streamer.engine.published import Published
from streamer.engine.rules import rules_of
from streamer.engine.state import (
    COUNTER_NAMES,
    FIXED,
    JUDGED,
    LIVE,
    METHODS,
    RECENT_NDCG,
    TYPES,
    State,
    new_state,
    reserved,
    state_in,
    state_out,
)
from streamer.engine.step import BLOCK_DUE, DONE, ITEMS_FULL, USERS_FULL, block_is_due, pools_have_room, step
from streamer.engine.switch import Aside
from streamer.events.model import EVENT_TYPE_NAMES, ItemDocument
from streamer.head.bilinear import BLOCK_EXAMPLES, DIMENSIONS, SKIPPED, STEP, Head, admit_item, with_content, with_learned
from streamer.head.gate import PHI, Gate
from streamer.head.gradient import Gradient
from streamer.head.learner import Learner, refresh, refresh_all
from streamer.ranking.explore import Explore
from streamer.ranking.lists import Lists, Ranking, empty_lists, rank_side_by_side, rank_users
from streamer.ranking.render import Page, reasons_of_a_list, stamp_of
from streamer.ranking.rerank import Rerank, in_memory_of, lifts, new_rerank
from streamer.ranking.scratch import Scratch, new_scratch, reserve_scratch
from streamer.signals.trends import FOR_EVER, unchanged_after
from streamer.tables.arrays import Array
from streamer.tables.compile import uncompiled
from streamer.tables.ids import ROWS_USED, bytes_and_hash, find_or_add_id, live_rows, row_of_text, text_of_row, without_row
from streamer.windows.dedup import rotate_dedup
from streamer.windows.forgotten import with_forgotten
from streamer.windows.group import COUNT, NOBODY, TARGETS, USER

logger = logging.getLogger(__name__)

FALL_BACK_AFTER = 2_000
"""Judged interactions before the learned weights can be found wanting; what is recent is the last 1,000 or so of them."""
FALL_BACK_BELOW = 0.95
"""Of the fixed weights' recent NDCG@10."""


BESIDE_MIN = 16
"""Lists that are worth a second thread."""


class CapacityError(RuntimeError):
    """A configured maximum is smaller than what must be held at once."""


class Engine:
    """A fold over records. Not thread-safe: one thread applies and ranks; what it returns are copies."""

    def __init__(self, config: Config, fold: dict[str, Array] | None = None, publisher: dict[str, Array] | None = None) -> None:
        """Starts empty, or from the fold tables and the publisher tables of a snapshot."""
        threadpool_limits(1, user_api="blas")  # more threads would regroup sums, and the bits of the head with them
        self._config = config
        self.clock_s: Callable[[], float] = float
        self.learn_s = 0.0
        """Seconds spent in the head's blocks, by the caller's ``clock_s``, which nothing else reads."""
        self.rules = rules_of(config)
        self.state: State = new_state(config) if fold is None else state_in(fold, config)
        self.content = ContentVectors(config.seed, fold)
        if fold is not None and "likeness.axes" not in fold:  # of a snapshot made before there was likeness
            self.state = self.state._replace(
                likeness=fitted(self.state.likeness, self.state.items, self.content, self.item_rows)
            )
        keep_young(self.state.likeness, self.state.young)
        self.aside = Aside(config.seed, fold)
        self.belonging = Belonging(fold)
        self.scratch = new_scratch(DIMENSIONS, PHI, len(self.state.users.pushed_U), len(self.state.items.flags_I))
        self.belonging.reserve(len(self.state.items.flags_I))
        self.exposed = Exposed(config.ranking.exposure_half_life_ms, publisher)
        self._rerank = new_rerank(config.ranking.provider_exposure_min, config.ranking.diversity)
        self._second: tuple[Rerank, Scratch] | None = None
        """Working memory for a thread beside."""
        self._page = Page()
        self.published = Published(publisher)
        self.published.reserve(len(self.state.users.pushed_U))
        self._freezing = Freezing(None if fold is None else fold["control"])
        self._obey()
        self._learner = Learner(
            learning_rate=config.head.learning_rate,
            negatives=config.head.negatives,
            seed=config.seed,
            attention=config.head.kind != "bilinear",
            gradient=_gradient(config),
        )

    def apply(self, columns: Columns) -> None:
        """Folds a micro-batch of events."""
        if not len(columns.type_N):
            return
        self._reserve(
            events=len(columns.type_N),
            users=len(columns.type_N),
            items=len(columns.item_M),
            partitions=int(columns.partition_N.max()) + 1,
            text_bytes=len(columns.user_text) + len(columns.item_text),
        )
        self.published.judge(columns, self.state.users.ids, self.state.items.ids, self.state.dedup)
        code, at = step(self.state, self.rules, columns, 0, self.published.touched, self.scratch)
        while code != DONE:
            if code == BLOCK_DUE:
                self._close_block()
            elif code == USERS_FULL:
                self._evict_users()
            elif code == ITEMS_FULL:
                self._evict_items()
            else:
                self._reserve()
            code, at = step(self.state, self.rules, columns, at, self.published.touched, self.scratch)

    def freeze(self) -> None:
        """From now on the head learns nothing: the gate and the two towers stay as they are, counts go on."""
        self._freezing.freeze()
        self._obey()

    def unfreeze(self) -> None:
        """The head learns again, whether an operator froze it or skipped blocks did."""
        self._freezing.unfreeze()
        self._obey()

    @property
    def frozen(self) -> bool:
        """Whether the head learns nothing."""
        return self._freezing.frozen

    @property
    def frozen_by(self) -> str | None:
        """What froze learning: an operator's word counts before skipped blocks."""
        return self._freezing.frozen_by

    def restore_head(self, head: Head, gate: Gate, from_T: Array, to_T: Array) -> None:
        """Takes what was learned from another state: the gate, both towers, and of the items in its rows ``from_T`` what goes to ``to_T``.

        Counts, the open block, the block's number and what else is the stream's stay; so do the rows of other items, but for those
        that are not finite, which start anew: they would spoil every block that draws them.

        Raises:
            ValueError: the other state's vectors have another width; nothing is changed.
        """
        self.require_same_width(head)
        head = with_content(head, self.content.widths, self.rules.seed)  # one of before the first vector gets its matrix anew
        taught = with_learned(self.state.head, head, from_T, to_T, rows=self.item_rows, seed=self.rules.seed)
        self.state = self.state._replace(head=taught, gate=Gate(*(table.copy() for table in gate)))
        self._freezing.begin_anew()
        refresh_all(self.state.head, self.state.items, self.content, self.item_rows)

    def apply_item(self, document: ItemDocument) -> None:
        """Takes an item into the catalog, or notes that it is (or is no longer) to be listed."""
        row = self._item_row(document.item_id)
        flags = HAS_DOCUMENT if document.available else HAS_DOCUMENT | WITHDRAWN
        self.state.items.flags_I[row] = flags | (self.state.items.flags_I[row] & IN_POOL)
        named = (document.provider, document.categories) if document.available else (None, ())
        self.exposed.drop(self.belonging.set(row, *named))

    def apply_item_deleted(self, item_id: str) -> None:
        """Withdraws an item; what was learned of it stays until its row is freed."""
        row = self._item_row(item_id)  # may put larger arrays in the place of the present ones
        self.state.items.flags_I[row] = WITHDRAWN | (self.state.items.flags_I[row] & IN_POOL)
        self.exposed.drop(self.belonging.set(row, None, ()))

    def apply_vectors(self, item_id: str, text_E: Array | None, image_E: Array | None = None, name: str = "") -> None:
        """Keeps an item's content vectors, made by the encoders of that name; those of others wait until nearly all items have some.

        Raises:
            ValueError: a width is not that of the others of the name.
        """
        row = self._item_row(item_id)
        if self.aside.takes(name, used=len(self.content.live_VE) > 0):
            self.aside.put(row, text_E, image_E)
            return
        moved = self.content.set(self.state.items, row, text_E, image_E)
        note_young(self.state.young, self.state.items, row)
        self.state = self.state._replace(
            head=with_content(self.state.head, self.content.widths, self.rules.seed),
            likeness=placed(self.state.likeness, self.state.items, self.content, row, self.item_rows, moved=moved),
        )
        keep_young(self.state.likeness, self.state.young)
        rows = np.flatnonzero(self.state.items.vector_I[: self.item_rows] >= 0) if moved else np.array([row])
        refresh(self.state.head, self.state.items, self.content, rows)

    def apply_forget(self, user_id: str, until_ms: int) -> None:
        """Clears and frees a user's row and drops his events up to that time from now on; his list is to be erased."""
        hashed = bytes_and_hash(user_id)[1]
        self.state = self.state._replace(forgotten=with_forgotten(self.state.forgotten, hashed, until_ms))
        self.published.erase([user_id.encode()])  # also of one who has no row: the store may hold a list from an earlier life
        user = row_of_text(self.state.users.ids, user_id)
        if user < 0:
            return
        forget_user(self.state, user)
        self.state = self.state._replace(users=self.state.users._replace(ids=without_row(self.state.users.ids, user)))
        self.published.drop_users(np.array([user]))

    def settle(self, time_ms: int) -> None:
        """Closes a block that is due and the open group, as the next record would that comes at that time from someone else."""
        if block_is_due(self.state.block.state, self.rules, time_ms):
            self._close_block()
        if self.state.group.state[USER] != NOBODY:
            if not pools_have_room(self.state.journal, self.state.history, self.state.forward, self.state.reverse, self.rules):
                self._reserve()
            close_group(self.state, self.rules, self.scratch)

    def rank(
        self, user_U: Array, *, entries: int, at_ms: int | None = None, fixed: bool = False, beside: Executor | None = None
    ) -> Lists:
        """The lists of user rows (NOBODY: someone unknown) from the state as it is; changes nothing.

        What the open group holds counts for the trends already: the next record closes it, but a list should not wait for one.
        ``at_ms`` is when they ask (default: the newest event time); ``fixed`` ranks by the weights of the start; ``beside`` ranks some
        of many at the same time: a list depends on the state alone.
        """
        lists = empty_lists(np.ascontiguousarray(user_U, np.int64), entries)
        state = self.state
        seen = bool(uncompiled(leaves_out_seen)(state.stream, self.rules))
        now_ms = self.event_ms if at_ms is None else at_ms
        explore = Explore(state.items, self._config.seed, self._config.ranking.explore)
        rerank = self._rerank
        if rerank.fair:
            exposure_P, items_P = self.exposed.of_providers(self.belonging), self.belonging.providers.items_R
            lift_P = lifts(exposure_P, items_P[: len(exposure_P)], self._config.ranking.provider_exposure_min)
            rerank = rerank._replace(lift_P=lift_P, provider_I=self.belonging.provider_I)
        with unchanged_after(state.trends, state.group.target_G[: int(state.group.state[COUNT])]):
            count_ahead(state, self.rules, np.zeros(TARGETS, np.int64), np.zeros(TARGETS, np.int64))
            ranking = Ranking(uncompiled(model_of)(state), state.users, now_ms, seen, fixed or self.falls_back, explore)
            if beside is None or len(user_U) < BESIDE_MIN:
                rank_users(ranking, rerank, self.scratch, lists, np.zeros(1, np.int64))
            else:
                memory, scratch = self._memory_beside()
                rank_side_by_side(ranking, (rerank, in_memory_of(rerank, memory)), (self.scratch, scratch), lists, beside)
        return lists

    def note_shown(self, lists: Lists) -> None:
        """These lists are on their way to readers: what they show counts for their providers and categories."""
        self.exposed.note(lists, self.belonging, self.event_ms)

    def render(self, lists: Lists, *, version: str, written_ms: int) -> list[bytes]:
        """The lists as JSON, with their version and as many reasons as the number of users leaves room for."""
        ranking, users = self._config.ranking, live_rows(self.state.users.ids)
        reasons = reasons_of_a_list(lists.item_UK.shape[1], ranking.reasons, users, ranking.reasons_bytes_max)
        stamp = stamp_of(version, self.head_step, self.event_ms, written_ms, reasons)
        return self._page.render(lists, self.state.users.ids, self.state.items.ids, stamp)

    @property
    def event_ms(self) -> int:
        """Largest event time applied, 0 before the first."""
        return max(0, int(self.state.dedup.watermark_P.max()))

    @property
    def head_step(self) -> int:
        """Blocks that the head has closed."""
        return int(self.state.head.steps[STEP])

    @property
    def head_skipped(self) -> int:
        """Blocks that taught nothing, for a gradient that was not finite."""
        return int(self.state.head.steps[SKIPPED])

    @property
    def falls_back(self) -> bool:
        """Whether the learned weights have lately been worse than the fixed ones by a margin, so that lists come from those.

        Never so for a head that was chosen to speak alone.
        """
        if self._config.head.kind != "gated":
            return False
        quality = self.state.quality_MQ
        enough = quality[LIVE, JUDGED] >= FALL_BACK_AFTER
        return bool(enough and quality[LIVE, RECENT_NDCG] < FALL_BACK_BELOW * quality[FIXED, RECENT_NDCG])

    def sizes(self) -> dict[str, int]:
        """Live rows: users, items; and how many items were ever admitted."""
        items = self.state.items
        return {"users": live_rows(self.state.users.ids), "items": live_rows(items.ids), "admitted": int(items.admitted[0])}

    @property
    def item_rows(self) -> int:
        """Rows of items in use or freed."""
        return int(self.state.items.ids.used[ROWS_USED])

    @property
    def user_rows(self) -> int:
        """Rows of users in use or freed."""
        return int(self.state.users.ids.used[ROWS_USED])

    def quality(self) -> dict[str, dict[str, float]]:
        """Prequential sums by method: interactions judged just before they were learned."""
        names = ("judged", "hits", "ndcg", "mrr", "recent_ndcg")
        return {m: dict(zip(names, row.tolist(), strict=True)) for m, row in zip(METHODS, self.state.quality_MQ, strict=True)}

    def withdrawn(self, items_max: int) -> list[str]:
        """Ids of items that must not be listed, at most so many."""
        flags_I = self.state.items.flags_I[: self.item_rows]
        return [text_of_row(self.state.items.ids, int(row)) for row in np.flatnonzero(flags_I & WITHDRAWN)[:items_max]]

    def user_ids(self, user_U: Array) -> list[bytes]:
        """Ids of user rows as UTF-8."""
        ids = self.state.users.ids
        starts, sizes = ids.start_R[user_U].tolist(), ids.size_R[user_U].tolist()
        return [ids.text_B[start : start + size].tobytes() for start, size in zip(starts, sizes, strict=True)]

    def count(self, counter: int, number: int) -> None:
        """Adds to a counter of the fold that the caller found out: REJECTED, LOST."""
        self.state.counter_C[counter] += number

    def counters(self) -> dict[str, object]:
        """``applied`` by type, and what was not applied by reason."""
        values = [int(value) for value in self.state.counter_C]
        applied = dict(zip(EVENT_TYPE_NAMES, values[:TYPES], strict=True))
        return {"applied": applied, **dict(zip(COUNTER_NAMES, values[TYPES:], strict=True))}

    def fold_tables(self) -> dict[str, Array]:
        """All fold tables: views, to be copied before the next micro-batch."""
        beside = self.content.tables() | self.aside.tables(self.item_rows) | self.belonging.tables(self.item_rows)
        return state_out(self.state) | beside | {"control": self._freezing.table}

    def publisher_tables(self, users: int | None = None) -> dict[str, Array]:
        """What is known of lists, and those of the first so many rows of users: views, to be copied before the next micro-batch."""
        return self.published.tables(self.user_rows if users is None else users) | self.exposed.tables()

    def _memory_beside(self) -> tuple[Rerank, Scratch]:
        users, items = len(self.state.users.pushed_U), len(self.state.items.flags_I)
        memory, scratch = self._second or (new_rerank(0.0, 0.0), new_scratch(DIMENSIONS, PHI, users, items))
        self._second = memory, reserve_scratch(scratch, users, items)
        return self._second

    def _reserve(self, *, events: int = 0, users: int = 0, items: int = 0, partitions: int = 1, text_bytes: int = 0) -> None:
        self.state = reserved(
            self.state, self._config, events=events, users=users, items=items, partitions=partitions, text_bytes=text_bytes
        )
        self.published.reserve(len(self.state.users.pushed_U))
        self.belonging.reserve(len(self.state.items.flags_I))
        self.scratch = reserve_scratch(self.scratch, len(self.state.users.pushed_U), len(self.state.items.flags_I))

    def _close_block(self) -> None:
        if self.frozen:
            self.state.block.state[:] = 0
        else:
            self._learn_block()
        tend_young(self.state.young, self.state.items, self.state.trends.value_IH[:, FOR_EVER], self.item_rows)
        if self.aside.is_complete(self.state.items, self.item_rows):
            self._switch_encoders()
        keep_young(self.state.likeness, self.state.young)
        rotate_dedup(self.state.dedup, self._config.windows.dedup_ids_min)

    def _switch_encoders(self) -> None:
        before, waiting = self.aside.name, self.aside.waiting
        head, self.content = self.aside.switch(self.state.head, self.state.items, self.content, self.item_rows, self.rules.seed)
        chosen_T = np.flatnonzero(head.seen_I[: self.item_rows] > 0)
        likeness = refitted(self.state.likeness, self.state.items, self.content, chosen_T, self.item_rows)
        self.state = self.state._replace(head=head, likeness=likeness)
        logger.info("vectors of %d items by the encoder %s take the place of those by %s", waiting, self.aside.name, before)

    def require_same_width(self, head: Head) -> None:
        """Returns if ``restore_head`` can take that head. Raises ValueError where its text matrix is of another encoder."""
        if any(had not in {0, width} for had, width in zip(head.widths, self.content.widths, strict=True)):
            found = (
                f"its content vectors have {tuple(map(int, head.widths))} dimensions, those of now {tuple(self.content.widths)}"
            )
            msg = f"{found}: take a snapshot of the same encoder"
            raise ValueError(msg)

    def _learn_block(self) -> None:
        taught, skipped = self.state.block.state[BLOCK_EXAMPLES] > 0, self.head_skipped
        started_s = self.clock_s()
        self._learner.learn(self.state.head, self.state.block, self.state.items, self.content)
        self.learn_s += self.clock_s() - started_s
        if taught and self._freezing.note_block(self.head_step, skipped=self.head_skipped > skipped):
            self._obey()

    def _obey(self) -> None:
        """Makes the gate learn or not, as the control table says; the towers ask it block by block."""
        learns_gate = int(self._config.head.kind == "gated" and not self.frozen)
        self.rules = self.rules._replace(learns_gate=learns_gate)

    def _item_row(self, item_id: str) -> int:
        row = row_of_text(self.state.items.ids, item_id)
        if row >= 0:
            return row
        raw, hashed = bytes_and_hash(item_id)
        if live_rows(self.state.items.ids) >= self.rules.items_max:
            self._evict_items()
        self._reserve(items=1, text_bytes=len(raw))
        row = int(find_or_add_id(self.state.items.ids, hashed, raw, 0, len(raw)))
        admit_item(self.state.head, row, self.rules.seed)
        note_new_item(self.state.items, row)
        self.state.trends.tick_I[row] = self.state.trends.tick[0]
        return row

    def _evict_users(self) -> None:
        self.state, user_T = evict_users(self.state, self.rules.users_max)
        _require_room(user_T, "windows.users_max", self.rules.users_max)
        self.published.drop_users(user_T)

    def _evict_items(self) -> None:
        self.state, item_T = evict_items(self.state, self.content, self.rules.items_max)
        _require_room(item_T, "catalog.items_max", self.rules.items_max)
        self.aside.drop(item_T)
        self.exposed.drop(self.belonging.drop(item_T))
        self.published.drop_items(item_T)


def _require_room(gone_T: Array, key: str, rows_max: int) -> None:
    if not len(gone_T):
        msg = f"{key} is {rows_max}, and what an open group and block hold is more: raise it"
        raise CapacityError(msg)


def _gradient(config: Config) -> Gradient | None:
    if config.head.device == "cpu":
        return None
    from streamer.head.torch_gradient import gradient_torch  # noqa: PLC0415  torch takes seconds to import, and only this needs it

    return gradient_torch(config.head.device)
