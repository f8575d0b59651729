"""The engine under test: the same fold that serves live streams, run over a recorded one, and its variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.engine.learn import leaves_out_seen
from streamer.evaluate.exposure import Exposure, categories_of
from streamer.evaluate.likeness import Likeness
from streamer.evaluate.metrics import LIST
from streamer.evaluate.names import FAIR, TOWERS, reranked
from streamer.evaluate.prequential import BINS, TEACHES, Floats, Progress, Run, Withdrawn, new_run, note_listed, visits
from streamer.evaluate.served import NOBODY, Serving
from streamer.evaluate.stream import Document, Stream, engine_batches
from streamer.ranking.lists import Lists
from streamer.ranking.scratch import NEURAL, TERMS
from streamer.snapshots import table_hashes
from streamer.tables.arrays import Array
from streamer.tables.ids import bytes_and_hash, find_id

if TYPE_CHECKING:
    from streamer.evaluate.towers import Towers

FREEZE_AT = 0.3
"""Of the stream: where the frozen head stops learning."""
HASHED_BYTES = 1 << 20
"""Tables are hashed in chunks of this size, whatever ``snapshots.chunk_bytes`` is: the hash of a table depends on it."""


class Variant(NamedTuple):
    """How a method runs the engine."""

    kind: str | None = None
    """Of the head; None: as configured."""
    fixed: bool = False
    """Rank by the counting signals with fixed weights."""
    towers: bool = False
    """Rank the whole catalogue by the two towers alone."""
    freeze_at: float | None = None
    """Part of the stream after which gate and head learn no more."""
    exposure_min: float | None = None
    """ranking.provider_exposure_min, None: as configured."""
    diversity: float | None = None
    """ranking.diversity, likewise."""


VARIANTS = {
    "streamer": Variant(),
    "bilinear": Variant(kind="bilinear"),
    "attention": Variant(kind="attention"),
    TOWERS: Variant(towers=True),
    "frozen": Variant(freeze_at=FREEZE_AT),
    "fixed": Variant(fixed=True),
}
"""Methods that are the engine itself, by name; beside them those that ``reranked`` reads."""


def variant_of(name: str) -> Variant | None:
    """How the engine runs under that name; None where the method is another."""
    setting = reranked(name)
    if setting is None:
        return VARIANTS.get(name)
    return Variant(exposure_min=setting.amount) if setting.kind == FAIR else Variant(diversity=setting.amount)


def config_of(config: Config, variant: Variant) -> Config:
    """The configuration under which a variant runs."""
    head, ranking = config.head, config.ranking
    if variant.kind is not None:
        head = msgspec.structs.replace(head, kind=variant.kind)
    if variant.exposure_min is not None:
        ranking = msgspec.structs.replace(ranking, provider_exposure_min=variant.exposure_min)
    if variant.diversity is not None:
        ranking = msgspec.structs.replace(ranking, diversity=variant.diversity)
    return msgspec.structs.replace(config, head=head, ranking=ranking)


def run_engine(
    name: str,
    stream: Stream,
    config: Config,
    progress: Progress,
    *,
    keeps_lists: bool = False,
    served_ms: tuple[int | None, ...] = (),
) -> Run:
    """Runs the engine over the stream under a name that ``variant_of`` knows.

    ``keeps_lists``: the run returns every group's list. ``served_ms``: periods of the sweep in ms (None: no sweep) under which
    lists as served are judged too.
    """
    variant = variant_of(name)
    assert variant is not None
    asked = _Asked(stream, config_of(config, variant), fixed=variant.fixed, towers=variant.towers)
    run = new_run(name, stream)
    run.signals = TERMS
    gates, exposure = _Gates(stream.events), Exposure(len(stream.item_ids))
    run.exposure_I = exposure.exposure_I
    likeness = Likeness(categories_of(stream), len(stream.item_ids))
    serving = Serving(stream, config, served_ms) if served_ms else None
    if serving:
        run.served = {one.name: np.full(len(stream.item_M), np.nan) for one in serving.shelves}
    if keeps_lists:
        run.item_GK = np.full((stream.groups, LIST), -1, np.int32)
    for visit, batch in zip(visits(stream), engine_batches(stream), strict=True):
        if variant.freeze_at is not None and visit.events >= variant.freeze_at * stream.events:
            asked.freeze()
        if serving:
            serving.come_to(visit.group, asked.render)
        if serving and visit.items:
            for rank_M, listed in zip(run.served.values(), serving.read(visit.group, asked.render), strict=True):
                note_listed(rank_M, visit, asked.still_listed(listed, visit.time_ms))
        asked.come_to(visit.time_ms)
        run.leaves_out_G[visit.group] = asked.leaves_out_seen()
        listed = asked.fresh(visit.user, visit.time_ms)
        gates.note(visit.events, asked.weights())
        run.answered_G[visit.group] = len(listed) > 0
        note_listed(run.rank_M, visit, listed)
        if visit.events >= TEACHES * stream.events:
            exposure.note(listed)
            likeness.note(listed, asked.vectors())
        if run.item_GK is not None:
            run.item_GK[visit.group, : len(listed)] = listed
        asked.engine.apply(batch.columns)
        if serving:
            serving.visited(visit.group, asked.render)
        progress(visit.events)
    progress(stream.events)
    run.gate_BF = gates.mean_BF()
    run.likeness = likeness.means()
    candidates = asked.candidates(int(stream.time_N[-1]))
    run.candidates = None if variant.towers else candidates
    run.tables = table_hashes(asked.engine.fold_tables(), HASHED_BYTES)
    return run


def leaves_out_seen_auto(stream: Stream, config: Config) -> NDArray[np.bool_]:
    """At which groups the engine would leave out what the user has had, by a run of the fold alone."""
    asked = _Asked(stream, config, fixed=False)
    leaves_out_G = np.zeros(stream.groups, np.bool_)
    for batch in engine_batches(stream):
        asked.come_to(int(batch.columns.time_N[0]))
        leaves_out_G[batch.group] = asked.leaves_out_seen()
        asked.engine.apply(batch.columns)
    return leaves_out_G


def apply_documents(engine: Engine, documents: Sequence[Document], applied: int, time_ms: int) -> int:
    """Applies the documents up to that time, of which so many are applied already; returns how many are then."""
    while applied < len(documents) and documents[applied].time_ms <= time_ms:
        _, document, *made = documents[applied]
        engine.apply_item(document)
        text_E, image_E = (None if vector is None else np.frombuffer(vector, "<f2") for vector in made)
        if text_E is not None or image_E is not None:
            engine.apply_vectors(document.item_id, text_E, image_E)
        applied += 1
    return applied


class _Asked:
    """An engine spoken to in the stream's numbers."""

    def __init__(self, stream: Stream, config: Config, *, fixed: bool, towers: bool = False) -> None:
        self.engine = Engine(config)
        self._exclude_seen = config.ranking.exclude_seen
        self._fixed = fixed
        self._frozen = False
        self._keeps_exposure = config.ranking.provider_exposure_min > 0
        self._towers = _towers(config.head.device) if towers else None
        self._row_K = np.zeros(0, np.int64)
        self._users = stream.user_ids
        self._documents = stream.documents
        self._applied = 0
        self._withdrawn = Withdrawn(stream)
        self._item_of_hash = {int(bytes_and_hash(item_id)[1]): n for n, item_id in enumerate(stream.item_ids)}

    def freeze(self) -> None:
        """Gate and head learn no more; counts go on."""
        if not self._frozen:
            self.engine.freeze()
            self._frozen = True

    def come_to(self, time_ms: int) -> None:
        """Learns all groups so far, and applies the documents up to that time."""
        self.engine.settle(time_ms)
        self._applied = apply_documents(self.engine, self._documents, self._applied, time_ms)

    def fresh(self, user: int, time_ms: int) -> list[int]:
        """The list that a user who asks now gets, item numbers best first; it counts as shown."""
        user_U = self._rows([user])
        if self._towers is not None:
            self._row_K = self._towers.ranked(self.engine, int(user_U[0]), LIST)
            return self._numbers_of(self._row_K)
        listed = self.engine.rank(user_U, entries=LIST, at_ms=time_ms, fixed=self._fixed)
        if self._keeps_exposure:
            self.engine.note_shown(listed)
        self._row_K = listed.item_UK[0, : listed.count_U[0]]
        return self._numbers_of(self._row_K)

    def vectors(self) -> NDArray[np.float32]:
        """Fused vectors of the list's entries that was made last for a user who asked."""
        return np.asarray(self.engine.state.head.fused_ID[self._row_K])

    def render(self, users: list[int]) -> list[list[int]]:
        """Lists as a worker renders them without an event of theirs: at the newest event's time."""
        return self._numbers(self.engine.rank(self._rows(users), entries=LIST, fixed=self._fixed))

    def still_listed(self, listed: list[int], time_ms: int) -> list[int]:
        """A list without the items withdrawn since, which a reader drops."""
        gone = self._withdrawn.at(time_ms)
        return [item for item in listed if item not in gone] if gone else listed

    def leaves_out_seen(self) -> bool:
        """Whether lists leave out what the user has had, as of now."""
        if self._exclude_seen != "auto":
            return self._exclude_seen == "true"
        return bool(leaves_out_seen(self.engine.state.stream, self.engine.rules))

    def weights(self) -> Floats:
        """Of the signals, in the ranking made last."""
        if self._towers is not None:
            return np.asarray(np.eye(1, len(TERMS), NEURAL)[0], np.float64)
        return np.asarray(self.engine.scratch.weight_F, np.float64)

    def candidates(self, end_ms: int) -> tuple[float, float]:
        """Targets judged by the engine, and those among its candidates, with the last group learned."""
        self.engine.settle(end_ms)
        return float(self.engine.quality()["live"]["judged"]), float(self.engine.state.candidates[0])

    def _rows(self, users: list[int]) -> NDArray[np.int64]:
        ids = self.engine.state.users.ids
        row_U = np.full(len(users), NOBODY, np.int64)
        for place, user in enumerate(users):
            if user != NOBODY:
                raw, hashed = bytes_and_hash(self._users[user])
                row_U[place] = find_id(ids, hashed, raw, 0, len(raw))
        return row_U

    def _numbers(self, lists: Lists) -> list[list[int]]:
        return [self._numbers_of(row_K[:count]) for row_K, count in zip(lists.item_UK, lists.count_U.tolist(), strict=True)]

    def _numbers_of(self, row_K: Array) -> list[int]:
        item_of = self._item_of_hash
        return [item_of[hashed] for hashed in self.engine.state.items.ids.hash_R[row_K].tolist()]


def _towers(device: str) -> Towers:
    from streamer.evaluate.towers import Towers  # noqa: PLC0415  torch takes seconds to import, and only this method needs it

    return Towers(device)


class _Gates:
    """Means of the signals' weights over each part of the stream."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._sum_BF = np.zeros((BINS, len(TERMS)))
        self._count_B = np.zeros(BINS)

    def note(self, event: int, weight_F: Floats) -> None:
        """Adds the weights of one ranking, made when so many events were done."""
        part = event * BINS // self._events
        self._sum_BF[part] += weight_F
        self._count_B[part] += 1

    def mean_BF(self) -> Floats:
        """NaN where no ranking was made."""
        with np.errstate(invalid="ignore"):
            return self._sum_BF / self._count_B[:, None]
