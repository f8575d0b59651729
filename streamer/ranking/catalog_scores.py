"""The head's score of every item for many users at once, on a torch device: s(u, v) as ``head/bilinear.py`` has it, without candidates.

Items are scored in tiles of one size, users in portions of one size, so a device sees few shapes whatever the catalogue. The tables stay
on the device; rows that changed are sent again. Beside the rest of ``ranking`` this is for asking the whole catalogue: the fold ranks by
``ranking/score.py`` alone, whose bits depend on no device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from streamer.catalog.items import WITHDRAWN, Items
from streamer.head.bilinear import ATTENTION_MAX, DIMENSIONS, Head
from streamer.head.device import CPU, require_device
from streamer.signals.pairs import CONTEXT
from streamer.tables.arrays import Array

NO_ITEM = -1
TILE_MIN = 1_024
TILE_CPU, TILE = 8_192, 65_536
"""Items scored at once, fewer where the catalogue has fewer, a power of two always: what a processor's cache holds, what keeps a device busy."""
USERS_AT_ONCE = 64
BIAS = DIMENSIONS
"""The column of the bias in the table of items, whose others are fused(v)."""
LOW_BITS = (1 << 32) - 1
"""A key has the score in its high bits, and in its low ones what the item's row leaves of this: no two keys are equal."""


class Asking(NamedTuple):
    """U users who ask: contexts [U, CONTEXT] (items newest first) with their lengths, and rows of items that each must not get."""

    context_UC: Array
    length_U: Array
    excluded: Sequence[Array]


class Best(NamedTuple):
    """The K best items of each user, best first, equal scores in the order of their rows; NO_ITEM and -inf where none is left."""

    item_UK: Array
    score_UK: Array


class CatalogScores:
    """The head's tables on a device, and lists from them. Not thread-safe."""

    def __init__(self, device: str, *, users: int = USERS_AT_ONCE, tile_max: int | None = None) -> None:
        """Raises DeviceUnavailable. ``users`` are scored at once, fewer are filled up; ``tile_max``: of items, else what suits the device."""
        require_device(device)
        self._device = device
        self._users = users
        self._tile_max = tile_max or (TILE_CPU if torch.device(device).type == CPU else TILE)
        self.rows = 0
        """Of the catalogue, as of the last update."""
        self._held_ID = np.zeros((0, DIMENSIONS + 1), np.float32)
        """What the device has, on this side."""
        self._held_I = np.zeros(0, np.bool_)
        self._table_ID = self._listed_I = self._turn_DD = self._place_C = self._key_D = torch.empty(0)

    def update(self, head: Head, items: Items) -> int:
        """Makes the device's tables those of head and catalogue; returns how many rows were sent: those that differ, or all after a growth."""
        rows = int(items.ids.used[0])
        listed_I = (items.ids.size_R[:rows] > 0) & ((items.flags_I[:rows] & WITHDRAWN) == 0)
        present_ID = np.column_stack([head.fused_ID[:rows], head.bias_I[:rows]])
        self._turn_DD, self._place_C, self._key_D = (
            torch.tensor(part, device=self._device) for part in (head.turn_DD, head.place_C, head.key_D)
        )
        if rows > len(self._held_I) or rows < self.rows:
            row_T = np.arange(rows)
            self._hold_anew(present_ID, listed_I)
        else:
            differs_I = (self._held_ID[:rows].view(np.int32) != present_ID.view(np.int32)).any(axis=1)  # a NaN is sent once too
            row_T = np.flatnonzero(differs_I | (self._held_I[:rows] != listed_I))
            self._held_ID[row_T], self._held_I[row_T] = present_ID[row_T], listed_I[row_T]
            if len(row_T):
                self._send(row_T)
        self.rows = rows
        return len(row_T)

    def best(self, asking: Asking, entries: int) -> Best:
        """The best ``entries`` items of each user, as of the last update; items withdrawn and those excluded are left out."""
        users = len(asking.length_U)
        found = Best(np.full((users, entries), NO_ITEM, np.int64), np.full((users, entries), -np.inf, np.float32))
        for first in range(0, users, self._users):
            part = slice(first, first + self._users)
            some = Asking(asking.context_UC[part], asking.length_U[part], asking.excluded[part])
            for whole, of_part in zip(found, self._best_of_portion(some, entries), strict=True):
                whole[part, : of_part.shape[1]] = of_part[: len(some.length_U)]
        return found

    def _hold_anew(self, present_ID: Array, listed_I: Array) -> None:
        """All rows to the device, with room for as many as a power of two; what is no item is never listed."""
        rows = len(listed_I)
        capacity = max(TILE_MIN, 1 << (rows - 1).bit_length())
        self._held_ID, self._held_I = np.zeros((capacity, DIMENSIONS + 1), np.float32), np.zeros(capacity, np.bool_)
        self._held_ID[:rows], self._held_I[:rows] = present_ID, listed_I
        self._table_ID, self._listed_I = (torch.tensor(held, device=self._device) for held in (self._held_ID, self._held_I))

    def _send(self, row_T: Array) -> None:
        """Rows to the device, as many as a power of two: the last one is sent more than once."""
        filled_T = np.full(1 << (len(row_T) - 1).bit_length(), row_T[-1])
        filled_T[: len(row_T)] = row_T
        there_T = torch.from_numpy(filled_T).to(self._device)
        for table, held in ((self._table_ID, self._held_ID), (self._listed_I, self._held_I)):
            table.index_copy_(0, there_T, torch.from_numpy(held[filled_T]).to(self._device))

    def _best_of_portion(self, some: Asking, entries: int) -> tuple[Array, Array]:
        tile = min(self._tile_max, len(self._held_I))
        if not tile:
            return np.zeros((self._users, 0), np.int64), np.zeros((self._users, 0), np.float32)
        query_UD = self._queries(some)
        excluded_UX = self._excluded(some.excluded)
        best_UK = torch.empty((self._users, 0), dtype=torch.int64, device=self._device)
        for first in range(0, self.rows, tile):
            key_UT = keys_of(self._scores(query_UD, excluded_UX, first, tile), first)
            both_UK = torch.cat([best_UK, largest(key_UT, entries)], dim=1)
            best_UK = largest(both_UK, entries)
        score_UK, item_UK = (part.cpu().numpy() for part in scores_and_items(best_UK))
        return np.where(np.isneginf(score_UK), NO_ITEM, item_UK), score_UK

    def _queries(self, some: Asking) -> torch.Tensor:
        """fused(u) with a 1 behind it, for the bias; 0 where nothing is known of a user."""
        context_UC = np.full((self._users, CONTEXT), NO_ITEM, np.int64)
        used_UC = np.arange(CONTEXT) < some.length_U[:, None]
        context_UC[: len(used_UC)] = np.where(used_UC, some.context_UC, NO_ITEM)
        there_UC = torch.from_numpy(context_UC).to(self._device)
        unused_UC = there_UC == NO_ITEM
        fused_UCD = self._table_ID[there_UC.clamp(min=0)][:, :, :BIAS].masked_fill(unused_UC[:, :, None], 0.0)
        logit_UC = (self._place_C + fused_UCD @ self._key_D).clamp(-ATTENTION_MAX, ATTENTION_MAX)
        share_UC = logit_UC.exp().masked_fill(unused_UC, 0.0)
        total_U1 = share_UC.sum(dim=1, keepdim=True)
        mean_UD = (share_UC[:, :, None] * fused_UCD).sum(dim=1) / total_U1.masked_fill(total_U1 == 0, 1.0)
        query_UD = mean_UD @ self._turn_DD.T
        return torch.cat([query_UD, torch.ones_like(total_U1)], dim=1)

    def _excluded(self, excluded: Sequence[Array]) -> torch.Tensor:
        """Rows [U, X], filled up with NO_ITEM to as many as a power of two."""
        longest = max(map(len, excluded), default=0)
        row_UX = np.full((self._users, 1 << max(0, longest - 1).bit_length()), NO_ITEM, np.int64)
        for row_X, rows in zip(row_UX, excluded, strict=False):  # fewer users than are scored at once
            row_X[: len(rows)] = rows
        return torch.from_numpy(row_UX).to(self._device)

    def _scores(self, query_UD: torch.Tensor, excluded_UX: torch.Tensor, first: int, tile: int) -> torch.Tensor:
        """Of the items of a tile: what is not finite counts as 0, as in the compiled score; -inf for what must not be listed."""
        score_UT = query_UD @ self._table_ID[first : first + tile].T
        score_UT.masked_fill_(~score_UT.isfinite(), 0.0).masked_fill_(~self._listed_I[first : first + tile], -torch.inf)
        place_UX = excluded_UX - first
        beyond_UX = (place_UX < 0) | (place_UX >= tile)
        padded_UT = torch.nn.functional.pad(score_UT, (0, 1))  # a place for what lies in other tiles
        return padded_UT.scatter_(1, place_UX.masked_fill(beyond_UX, tile), -torch.inf)[:, :tile]


def keys_of(score_UT: torch.Tensor, first: int) -> torch.Tensor:
    """Distinct int64 keys in the order of the scores, equal ones by rows, which count from ``first``: the k largest are always the same."""
    bits_UT = (score_UT + 0.0).view(torch.int32)  # -0.0 is 0.0
    ordered_UT = bits_UT ^ ((bits_UT >> 31) & 0x7FFFFFFF)
    row_T = torch.arange(first, first + score_UT.shape[1], device=score_UT.device)
    return (ordered_UT.long() << 32) | (LOW_BITS - row_T)


def largest(key_UT: torch.Tensor, count: int) -> torch.Tensor:
    """The largest keys of each user, or all where there are fewer."""
    found: torch.Tensor = key_UT.topk(min(count, key_UT.shape[1]), dim=1).values
    return found


def scores_and_items(key_UK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the keys were made of: scores, and rows of items."""
    ordered_UK = (key_UK >> 32).int()
    return (ordered_UK ^ ((ordered_UK >> 31) & 0x7FFFFFFF)).view(torch.float32), LOW_BITS - (key_UK & LOW_BITS)
