"""How large each fold table may become: what it holds a row, times the rows that the configuration allows."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.catalog.belonging import KINDS, NAME_BYTES_MAX, NAMES_MAX
from streamer.config.tree import Config
from streamer.events.model import ID_BYTES_MAX
from streamer.head.bilinear import EXTRA_TARGETS
from streamer.tables.arrays import Array
from streamer.tables.pools import CLASS_SIZE_MIN
from streamer.windows.group import TARGETS
from streamer.windows.impressions import IMPRESSIONS_MAX
from streamer.windows.users import WINDOW

_ROW_COLUMNS = ("start", "length", "class")
_PAIR_COLUMNS = (*_ROW_COLUMNS, "scale", "near_total", "wide_total")
_HEAD_COLUMNS = ("free_ID", "bias_I", "square_I", "fused_ID", "recent_count_I")


def bound_bytes(tables: Mapping[str, Array], config: Config) -> dict[str, int]:
    """The largest size of each table, bytes. Absent: ``forgotten``, which keeps every request that was ever made.

    A pool's is reached only if every row had grown through every size of piece at one time or another.
    """
    rows = _rows_max(config)
    found: dict[str, int] = {}
    for name, table in tables.items():
        room = name.partition(".")[0]
        if room == "forgotten":
            continue
        most = rows.get(name, rows.get(room, len(table)))  # what is not listed is as large as it ever will be
        row_bytes = table.itemsize
        for size in table.shape[1:]:
            row_bytes *= size
        found[name] = max(most, 0) * row_bytes
    return found


def _rows_max(config: Config) -> dict[str, int]:
    """By table, else by room."""
    users, items, examples = config.windows.users_max, config.catalog.items_max, config.head.block_records
    history, pairs = users * _places(config.windows.history_items_max), items * _places(config.signals.neighbours_max)
    ids = config.windows.dedup_ids_min + examples  # a generation ends with a block
    found = {"users": users, "users.ids.text": users * ID_BYTES_MAX, "items.ids.text": items * ID_BYTES_MAX}
    found |= dict.fromkeys(("items.ids.hash", "items.ids.start", "items.ids.size", "items.ids.free"), items)
    found |= dict.fromkeys(("items.flags", "items.vector", "items.vectors", "likeness.place", "journal.postings"), items)
    found |= dict.fromkeys(("trends.value", "trends.item_tick", *(f"head.{name}" for name in _HEAD_COLUMNS)), items)
    found |= dict.fromkeys(("belonging.provider", "belonging.category"), items)
    for kind in KINDS:
        found |= {kind: NAMES_MAX, f"{kind}.text": NAMES_MAX * (NAME_BYTES_MAX + 1)}
    found |= {"journal.what": config.signals.journal_interactions_max}
    found |= {"dedup.first": ids, "dedup.second": ids, "impressions": IMPRESSIONS_MAX}
    found |= dict.fromkeys((f"history.{name}" for name in ("item", "count", "turn", "tick", "kind")), history)
    found |= dict.fromkeys((f"history.{name}" for name in _ROW_COLUMNS), users) | {"history.next": history // CLASS_SIZE_MIN}
    for direction in ("forward", "reverse"):
        found |= dict.fromkeys((f"{direction}.{name}" for name in ("item", "near", "wide")), pairs)
        found |= dict.fromkeys((f"{direction}.{name}" for name in _PAIR_COLUMNS), items)
        found[f"{direction}.next"] = pairs // CLASS_SIZE_MIN
    found |= dict.fromkeys(
        (f"block.{name}" for name in ("context_BN", "length_B", "target_B", "weight_B")), 2 * examples + EXTRA_TARGETS
    )
    found |= {"group.context": WINDOW} | dict.fromkeys((f"group.{name}" for name in ("target", "type", "moves")), TARGETS)
    return found


def _places(entries_max: int) -> int:
    """Places of a pool that one row can take in all: a piece of every size up to the one that holds ``entries_max``."""
    largest = CLASS_SIZE_MIN << max(0, (entries_max - 1).bit_length() - 2)
    return 2 * largest - CLASS_SIZE_MIN
