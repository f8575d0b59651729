"""The configuration as the engine takes it: the numbers that kernels read, and what of it shapes the state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.config.tree import Config
from streamer.engine.state import places_for_a_group
from streamer.tables.arrays import Array

EXCLUDE_NEVER, EXCLUDE_ALWAYS, EXCLUDE_AUTO = range(3)


class Rules(NamedTuple):
    """The configuration as numbers."""

    seed: int
    clock_ahead_ms_max: int
    lateness_ms_max: int
    block_records: int
    block_ms_max: int
    contributions_per_hour_max: int
    history_items_max: int
    users_max: int
    items_max: int
    neighbours_max: int
    history_places: int
    pair_places: int
    exclude_seen: int
    learns_gate: int
    """0: its weights stay as they are."""
    judged_first: int
    judged_every: int
    judged_gap_ms: int
    click_wait_ms: int
    weight_impression: float
    weight_K: Array
    """By event type."""


def rules_of(config: Config) -> Rules:
    """The configuration as the numbers that kernels read."""
    history_places, pair_places = places_for_a_group(config)
    signals = config.signals
    weights = (0.0, signals.weight_view, signals.weight_click, signals.weight_cart, signals.weight_purchase)
    return Rules(
        seed=config.seed,
        clock_ahead_ms_max=config.windows.clock_ahead_ms_max,
        lateness_ms_max=config.windows.lateness_ms_max,
        block_records=config.head.block_records,
        block_ms_max=config.head.block_ms_max,
        contributions_per_hour_max=signals.user_contributions_per_hour_max,
        history_items_max=config.windows.history_items_max,
        users_max=config.windows.users_max,
        items_max=config.catalog.items_max,
        neighbours_max=signals.neighbours_max,
        history_places=history_places,
        pair_places=pair_places,
        exclude_seen={"auto": EXCLUDE_AUTO, "true": EXCLUDE_ALWAYS, "false": EXCLUDE_NEVER}[config.ranking.exclude_seen],
        learns_gate=int(config.head.kind == "gated"),
        judged_first=config.head.judged_first,
        judged_every=config.head.judged_every,
        judged_gap_ms=config.head.judged_gap_ms,
        click_wait_ms=config.windows.click_wait_ms,
        weight_impression=signals.weight_impression,
        weight_K=np.array(weights, np.float32),
    )


def structure_of(config: Config) -> dict[str, object]:
    """The configuration that shapes the state: a snapshot made under another one is refused."""
    return {
        "seed": config.seed,
        "head.kind": config.head.kind,
        "head.block_records": config.head.block_records,
        "windows.history_items_max": config.windows.history_items_max,
        "windows.users_max": config.windows.users_max,
        "catalog.items_max": config.catalog.items_max,
        "signals.journal_interactions_max": config.signals.journal_interactions_max,
        "signals.neighbours_max": config.signals.neighbours_max,
    }
