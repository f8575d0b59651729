"""Lists of the two towers alone: the head's score of every item, without candidates, counting signals and gate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.engine.engine import Engine
from streamer.engine.learn import leaves_out_seen
from streamer.ranking.catalog_scores import Asking, CatalogScores
from streamer.signals.pairs import CONTEXT
from streamer.windows.users import WINDOW, read_window


class Towers:
    """Ranks the whole catalogue of an engine by what its head has learned so far."""

    def __init__(self, device: str) -> None:
        self._scores = CatalogScores(device, users=1)

    def ranked(self, engine: Engine, user: int, entries: int) -> NDArray[np.int64]:
        """Rows of the best items for a user's row (below 0: nobody known), best first; what his lists leave out is left out."""
        self._scores.update(engine.state.head, engine.state.items)
        item_W = np.zeros(WINDOW, np.int32)
        length = int(read_window(engine.state.users, user, item_W)) if user >= 0 else 0
        excluded = [item_W[:0]]
        if user >= 0 and leaves_out_seen(engine.state.stream, engine.rules):
            excluded = [np.concatenate([item_W[:length], history_of(engine, user)])]
        best = self._scores.best(Asking(item_W[None, :CONTEXT], np.array([length]), excluded), entries)
        return np.asarray(best.item_UK[0, best.item_UK[0] >= 0])


def history_of(engine: Engine, user: int) -> NDArray[np.int32]:
    """Rows of the items that a user's history remembers."""
    history = engine.state.history
    start = int(history.rows.start_R[user])
    return np.asarray(history.item_P[start : start + int(history.rows.length_R[user])])
