"""All state of the fold, one tree of flat arrays; how it grows, leaves for a snapshot and comes back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import Items, items_in, items_out, new_items, reserve_items
from streamer.catalog.likeness import Likeness, likeness_in, likeness_out, new_likeness, reserve_likeness
from streamer.catalog.young import Young, new_young, young_in, young_out
from streamer.config.tree import Config
from streamer.events.model import EventType
from streamer.head.bilinear import Block, Head, block_in, block_out, head_in, head_out, new_block, new_head, reserve_head
from streamer.head.gate import Gate, gate_in, gate_out, neural_gate, new_gate
from streamer.ranking.score import FIXED_F
from streamer.ranking.scratch import NEURAL
from streamer.signals.pairs import CONTEXT, Pairs, new_pairs, pairs_in, pairs_out, reserve_pairs
from streamer.signals.pairs import places_for_one as pair_places_for_one
from streamer.signals.trends import Trends, new_trends, reserve_trends, trends_in, trends_out
from streamer.tables.arrays import Array
from streamer.windows.dedup import Dedup, dedup_in, dedup_out, new_dedup, reserve_dedup
from streamer.windows.forgotten import Forgotten, forgotten_in, forgotten_out, new_forgotten
from streamer.windows.group import TARGETS, Group, group_in, group_out, new_group
from streamer.windows.history import History, history_in, history_out, new_history, reserve_history
from streamer.windows.history import places_for_one as history_places_for_one
from streamer.windows.impressions import Impressions, impressions_in, impressions_out, new_impressions
from streamer.windows.journal import Journal, journal_in, journal_out, new_journal, reserve_journal
from streamer.windows.users import Users, new_users, reserve_users, users_in, users_out

ROWS_AT_START = 1_024
TYPES = len(EventType)
DUPLICATE, LATE, REJECTED, LOST, CLAMPED, CAPPED, FORGOTTEN = range(TYPES, TYPES + 7)
COUNTER_NAMES = ("duplicate", "late", "rejected", "lost", "clamped", "capped", "forgotten")
COUNTERS = TYPES + len(COUNTER_NAMES)

LIVE, FIXED, POPULARITY = range(3)
METHODS = ("live", "fixed", "popularity")
JUDGED, HITS, NDCG, MRR, RECENT_NDCG = range(5)
INTERACTIONS, REPEATS, GROUPS, JUDGED_MS = range(4)


class State(NamedTuple):
    """``counter_C`` are the fold's counters, ``quality_MQ`` prequential sums a method, ``stream`` = [interactions, repeats, groups closed, when the last one judged was]."""

    users: Users
    history: History
    journal: Journal
    impressions: Impressions
    dedup: Dedup
    forgotten: Forgotten
    items: Items
    young: Young
    likeness: Likeness
    forward: Pairs
    reverse: Pairs
    trends: Trends
    gate: Gate
    head: Head
    block: Block
    group: Group
    counter_C: Array
    quality_MQ: Array
    candidates: Array
    """[targets that were among the candidates]."""
    stream: Array


def new_state(config: Config) -> State:
    """Nothing has happened yet."""
    rows = ROWS_AT_START
    return State(
        users=new_users(rows),
        history=new_history(rows),
        journal=new_journal(rows, rows, config.signals.journal_interactions_max),
        impressions=new_impressions(),
        dedup=new_dedup(rows, 1),
        forgotten=new_forgotten(),
        items=new_items(rows),
        young=new_young(),
        likeness=new_likeness(rows),
        forward=new_pairs(rows),
        reverse=new_pairs(rows),
        trends=new_trends(rows),
        gate=new_gate(FIXED_F) if config.head.kind == "gated" else neural_gate(FIXED_F, NEURAL),
        head=new_head(rows),
        block=new_block(config.head.block_records),
        group=new_group(),
        counter_C=np.zeros(COUNTERS, np.int64),
        quality_MQ=np.zeros((len(METHODS), 5), np.float64),
        candidates=np.zeros(1, np.int64),
        stream=np.zeros(4, np.int64),
    )


def reserved(state: State, config: Config, *, events: int, users: int, items: int, partitions: int, text_bytes: int) -> State:
    """The state with room for a micro-batch: so many events, new users, item references, partitions, bytes of ids.

    The pools get room for at least one closed group; the step asks again where that is not enough.
    """
    table_users = reserve_users(state.users, users, text_bytes)
    table_items = reserve_items(state.items, items, text_bytes)
    user_rows, item_rows = len(table_users.ids.hash_R), len(table_items.ids.hash_R)
    history_places, pair_places = places_for_a_group(config)
    return state._replace(
        users=table_users,
        history=reserve_history(state.history, user_rows, history_places),
        journal=reserve_journal(state.journal, user_rows, item_rows, events + TARGETS),
        dedup=reserve_dedup(state.dedup, events, partitions, config.windows.dedup_ids_min),
        items=table_items,
        likeness=reserve_likeness(state.likeness, item_rows),
        forward=reserve_pairs(state.forward, item_rows, pair_places),
        reverse=reserve_pairs(state.reverse, item_rows, pair_places),
        trends=reserve_trends(state.trends, item_rows),
        head=reserve_head(state.head, item_rows),
    )


def places_for_a_group(config: Config) -> tuple[int, int]:
    """Entries of the history pool and of a pair pool that closing one group can take at its dearest.

    A group adds to the rows of at most TARGETS + CONTEXT items in either direction, each of which may move through every class.
    """
    return (
        TARGETS * history_places_for_one(64) + history_places_for_one(config.windows.history_items_max),
        (TARGETS // CONTEXT + 2) * pair_places_for_one(config.signals.neighbours_max),
    )


def state_out(state: State) -> dict[str, Array]:
    """Every fold table by name: views of live rows, to be copied before the next micro-batch."""
    users, items = int(state.users.ids.used[0]), int(state.items.ids.used[0])
    return (
        users_out(state.users)
        | history_out(state.history, users)
        | journal_out(state.journal, items)
        | impressions_out(state.impressions)
        | dedup_out(state.dedup)
        | forgotten_out(state.forgotten)
        | items_out(state.items)
        | young_out(state.young)
        | likeness_out(state.likeness, items)
        | pairs_out(state.forward, "forward", items)
        | pairs_out(state.reverse, "reverse", items)
        | trends_out(state.trends, items)
        | gate_out(state.gate)
        | head_out(state.head, items)
        | block_out(state.block)
        | group_out(state.group)
        | {
            "counters": state.counter_C,
            "quality": state.quality_MQ,
            "candidates": state.candidates,
            "stream": state.stream,
        }
    )


def state_in(tables: dict[str, Array], config: Config) -> State:
    """The state of a snapshot's fold tables."""
    users, items = users_in(tables), items_in(tables)
    user_rows, item_rows = len(users.ids.hash_R), len(items.ids.hash_R)
    return State(
        users=users,
        history=history_in(tables, user_rows),
        journal=journal_in(tables, user_rows, item_rows),
        impressions=impressions_in(tables),
        dedup=dedup_in(tables, config.windows.dedup_ids_min),
        forgotten=forgotten_in(tables),
        items=items,
        young=young_in(tables),
        likeness=likeness_in(tables, item_rows),
        forward=pairs_in(tables, "forward", item_rows),
        reverse=pairs_in(tables, "reverse", item_rows),
        trends=trends_in(tables, item_rows),
        gate=gate_in(tables, FIXED_F),
        head=head_in(tables, item_rows),
        block=block_in(tables, config.head.block_records),
        group=group_in(tables),
        counter_C=np.array(tables["counters"], copy=True),
        quality_MQ=np.array(tables["quality"], copy=True),
        candidates=np.array(tables["candidates"], copy=True),
        stream=np.array(tables["stream"], copy=True),
    )
