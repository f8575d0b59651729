"""The fold without its signals, scoring and learning: duplicates, lateness, ids and windows, made of the engine's own kernels."""

from __future__ import annotations

import numpy as np

from streamer.config.tree import Config
from streamer.engine.columns import Columns
from streamer.engine.rules import Rules, rules_of
from streamer.engine.state import State, new_state, reserved
from streamer.tables.compile import kernel
from streamer.tables.ids import find_or_add_id, mix
from streamer.windows.dedup import is_late, remember_id, seen_before
from streamer.windows.users import push_window


class WindowsOnly:
    """Keeps windows of users and nothing else."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rules = rules_of(config)
        self.state = new_state(config)

    def apply(self, columns: Columns) -> None:
        """Advances the windows by a micro-batch."""
        count = len(columns.type_N)
        self.state = reserved(
            self.state,
            self._config,
            events=count,
            users=count,
            items=len(columns.item_M),
            partitions=int(columns.partition_N.max()) + 1,
            text_bytes=len(columns.user_text) + len(columns.item_text),
        )
        advance_windows(self.state, self._rules, columns)


@kernel
def advance_windows(state: State, rules: Rules, columns: Columns) -> None:
    """The part of the engine's step that knows of windows alone."""
    for n in range(len(columns.type_N)):
        time_ms, partition = columns.time_N[n], columns.partition_N[n]
        has_id = columns.event_N[n] != np.uint64(0)
        event = mix(columns.user_N[n] ^ mix(columns.event_N[n]))
        if has_id and seen_before(state.dedup, event):
            continue
        if is_late(state.dedup, partition, time_ms, has_id, rules.lateness_ms_max):
            continue
        if has_id:
            remember_id(state.dedup, event)
        state.dedup.watermark_P[partition] = max(state.dedup.watermark_P[partition], time_ms)
        start, stop = columns.user_start_N1[n], columns.user_start_N1[n + 1] - 1
        user = find_or_add_id(state.users.ids, columns.user_N[n], columns.user_text, start, stop)
        for m in range(columns.item_first_N1[n], columns.item_first_N1[n + 1]):
            start, stop = columns.item_start_M1[m], columns.item_start_M1[m + 1] - 1
            item = find_or_add_id(state.items.ids, columns.item_M[m], columns.item_text, start, stop)
            push_window(state.users, user, item, columns.type_N[n], time_ms)
