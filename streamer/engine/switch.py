"""A change of encoders without losing what was learned.

Vectors of another encoder are put aside while lists go on with the present ones. Once nearly every item with content has some, the
change is made between two blocks: the new matrices are fitted so that E_new W_new comes as near as it can (ridge regression) to what
the old vectors gave, and what is left of the difference goes into the free vectors: the fused vector of every item that has been
chosen stays as it is, and so do the lists.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import Items
from streamer.catalog.likeness import ridge
from streamer.catalog.vectors import ContentVectors
from streamer.head.batch import trust_of
from streamer.head.bilinear import Head, with_content
from streamer.head.learner import refresh_all
from streamer.tables.arrays import Array, grown

COMPLETE = 0.98
"""Share of the items with content that must have new vectors before the change; a few may never get any."""
NAME_BYTES = 256
SETTLED = 64.0
"""Examples that a chosen item counts as having from the change on: what went into its free vector must not grow with the next few."""


class _Places(NamedTuple):
    """What ``ContentVectors`` asks of a catalog: an item's row among the vectors."""

    vector_I: Array


class Aside:
    """The name of the encoders whose vectors are used, and the vectors of the next ones."""

    def __init__(self, seed: int, tables: dict[str, Array] | None = None) -> None:
        self._seed = seed
        self._name, self._next = ("", "") if tables is None else (_text(tables[f"aside.{name}"]) for name in ("name", "next"))
        self._vectors = ContentVectors(seed, None if tables is None else _renamed(tables, "aside.", "items."))
        self._place_I = np.zeros(0, np.int32) if tables is None else np.array(tables["aside.place"], copy=True)

    @property
    def name(self) -> str:
        """Of the encoders whose vectors are used; "" before the first."""
        return self._name

    @property
    def waiting(self) -> int:
        """Items whose next vectors are here."""
        return len(self._vectors.live_VE)

    def tables(self, rows: int) -> dict[str, Array]:
        """For a snapshot."""
        self._place_I = grown(self._place_I, rows, -1)
        return _renamed(self._vectors.tables(), "items.", "aside.") | {
            "aside.name": _bytes(self._name),
            "aside.next": _bytes(self._next),
            "aside.place": self._place_I[:rows],
        }

    def takes(self, name: str, *, used: bool) -> bool:
        """Whether vectors of that name are to be put aside; ``used``: whether there are any of the present encoders."""
        if name == self._name or not used:
            self._name = name
            return False
        if name != self._next:
            self._next, self._vectors = name, ContentVectors(self._seed)
            self._place_I[:] = -1
        return True

    def put(self, row: int, text_E: Array | None, image_E: Array | None) -> None:
        """Keeps an item's next vectors; raises ValueError where a width is not that of the others of that name."""
        self._place_I = grown(self._place_I, row + 1, -1)
        self._vectors.set(_Places(self._place_I), row, text_E, image_E)  # type: ignore[arg-type]

    def drop(self, row_T: Array) -> None:
        """Forgets the vectors of item rows."""
        self._vectors.drop(_Places(self._place_I), row_T[row_T < len(self._place_I)])  # type: ignore[arg-type]

    def is_complete(self, items: Items, rows: int) -> bool:
        """Whether nearly all items with content have their next vectors."""
        if not self.waiting:
            return False
        present_I = items.vector_I[:rows] >= 0
        self._place_I = grown(self._place_I, rows, -1)
        return bool((present_I & (self._place_I[:rows] >= 0)).sum() >= COMPLETE * present_I.sum())

    def switch(self, head: Head, items: Items, content: ContentVectors, rows: int, seed: int) -> tuple[Head, ContentVectors]:
        """Head and vectors under the next encoders, which are the present ones from now on; ``items`` gets its new rows of vectors."""
        known_T = np.flatnonzero(items.vector_I[:rows] >= 0)
        fused_TD = head.fused_ID[known_T].copy()
        old_TD = np.zeros_like(fused_TD)
        for part_ID in (head.text_ID, head.image_ID):
            if len(part_ID):
                old_TD += part_ID[known_T]
        content = self._vectors
        items.vector_I[:] = -1
        place_I = grown(self._place_I, rows, -1)[:rows]
        items.vector_I[:rows] = place_I
        self._name, self._next, self._vectors = self._next, "", ContentVectors(self._seed)
        self._place_I = np.zeros(0, np.int32)
        head = with_content(head._replace(widths=np.zeros(2, np.int64)), content.widths, seed)
        new_TE = content.of_rows(items, known_T).astype(np.float64)
        head.content_ED[:] = ridge(new_TE, old_TD)
        learned_T = head.seen_I[known_T] > 0
        moved_TD = (new_TE @ head.content_ED).astype(np.float32)
        chosen_T = known_T[learned_T]
        head.seen_I[chosen_T] = np.maximum(head.seen_I[chosen_T], np.float32(SETTLED))
        trust_T = trust_of(head, items, content, chosen_T)
        head.free_ID[chosen_T] = (fused_TD - moved_TD)[learned_T] / trust_T[:, None]
        refresh_all(head, items, content, rows)
        head.fused_ID[chosen_T] = fused_TD[learned_T]  # not even the last bit of a known item moves now
        return head, content


def _renamed(tables: dict[str, Array], old: str, new: str) -> dict[str, Array]:
    return {new + name.removeprefix(old): table for name, table in tables.items() if name.startswith(old)}


def _bytes(text: str) -> Array:
    return np.array(list(text.encode()[:NAME_BYTES]), np.uint8)


def encoder_name(tables: dict[str, Array]) -> str:
    """The name of the encoders whose vectors a state uses; "" where there are none."""
    return _text(tables.get("aside.name", np.zeros(0, np.uint8)))


def _text(table: Array) -> str:
    return bytes(np.asarray(table, np.uint8)).decode(errors="replace")
