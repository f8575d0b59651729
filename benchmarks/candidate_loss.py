"""What candidates lose against ranking the full catalogue: the same state, features and weights, every item scored.

    python -m benchmarks.candidate_loss [--texts]

On the first 30 % of each recording; judged is every so manyth group from 10 to 30 %, test then learn. Beside the engine's own
scoring of its candidates stands a readable one in numpy that scores every item known so far. Where both score an item they must
agree, or the run fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.deskdrop import deskdrop, stream_of
from producers.formats import AUTO, RecordingError, in_time_order, read_events
from producers.recordings import movielens_100k
from streamer.catalog.items import WITHDRAWN
from streamer.cli.backtest_input import read_stream
from streamer.config.tree import Config, Ranking
from streamer.engine.engine import Engine
from streamer.engine.learn import leaves_out_seen
from streamer.evaluate.engines import apply_documents
from streamer.evaluate.metrics import hit, ndcg
from streamer.evaluate.stream import Stream, engine_batches
from streamer.ranking.candidates import HISTORY_TURNS, PAIR_SCALE, PRIOR, REPEAT_SCALE, SHARE, TREND_SCALE
from streamer.ranking.liking import LIKE_YOUTH, SCALE
from streamer.ranking.score import NEURAL_MAX, YOUTH
from streamer.ranking.scratch import (
    AFTER,
    BEFORE,
    FEATURES,
    LAST,
    LIKENESS,
    NEAR,
    NEAR_BACK,
    NEURAL,
    RECENT,
    REPEAT,
    TREND,
    UNTRIED,
    WIDE,
    WIDE_BACK,
    YOUNG,
    YOUNG_CONTENT,
    YOUNG_LIKENESS,
)
from streamer.signals.pairs import CONTEXT, WIDE_DECAY, Pairs
from streamer.signals.trends import FOR_EVER, RATES
from streamer.tables.ids import ROWS_USED, row_of_text
from streamer.windows.history import COUNT_HALF_LIFE
from streamer.windows.users import WINDOW, read_window

Floats = NDArray[np.float64]

FIRST, LAST_SHARE = 0.1, 0.3
GROUPS = 1_500
"""Groups judged, about."""
NOBODY = -1
LIST = 20
AGREE = 0.05
"""A logit computed in float64 may differ from the engine's by so much."""


class Everything:
    """The logit of every item of the catalogue for one user, from the engine's tables; call after ``Engine.rank`` for him alone."""

    def __init__(self, engine: Engine, user: int) -> None:
        self._state, self._near = engine.state, engine.scratch.neighbours
        self._candidates = engine.scratch.item_C[: int(engine.scratch.found[0])]
        self.items = int(self._state.items.ids.used[ROWS_USED])
        self._user = user
        context_W = np.zeros(WINDOW, np.int32)
        length = int(read_window(self._state.users, user, context_W)) if user != NOBODY else 0
        self._context = context_W[:length].tolist()
        self.excluded_I = self._excluded(seen=engine_leaves_out(engine))
        self.feature_FI = self._features(repeats=not engine_leaves_out(engine))
        self.weight_F = engine.scratch.weight_F.astype(np.float64)
        self.logit_I = self.weight_F @ self.feature_FI

    def _excluded(self, *, seen: bool) -> NDArray[np.bool_]:
        excluded_I = (self._state.items.flags_I[: self.items] & WITHDRAWN) != 0
        if seen and self._user != NOBODY:
            excluded_I[self._history()[0]] = True
            excluded_I[self._context] = True
        return np.asarray(excluded_I)

    def _history(self) -> tuple[NDArray[np.int32], Floats, NDArray[np.int64]]:
        """Items, counts as of their last touch, turns since it."""
        history = self._state.history
        start = int(history.rows.start_R[self._user])
        places = slice(start, start + int(history.rows.length_R[self._user]))
        age_P = int(self._state.users.pushed_U[self._user]) - history.turn_P[places].astype(np.int64)
        return history.item_P[places], history.count_P[places].astype(np.float64), age_P

    def _features(self, *, repeats: bool) -> Floats:
        feature_FI = np.zeros((FEATURES, self.items))
        for n, item in enumerate(self._context[:CONTEXT]):
            self._add_row(feature_FI, self._state.forward, item, n, NEAR, WIDE)
            self._add_row(feature_FI, self._state.reverse, item, n, NEAR_BACK, WIDE_BACK)
        if repeats:
            self._add_repeats(feature_FI)
        if self._context:
            found = slice(self._near.found[1])
            feature_FI[AFTER : BEFORE + 1, self._near.item_E[found]] = self._near.spoken_SL[self._near.slot_E[found]].T
        for features, scale in (
            ((NEAR, NEAR_BACK, WIDE, WIDE_BACK, AFTER, BEFORE), PAIR_SCALE),
            ((RECENT, REPEAT), REPEAT_SCALE),
        ):
            feature_FI[features, :] = np.log2(1.0 + scale * feature_FI[features, :])
        feature_FI[TREND:NEURAL] = self._trends()
        if self._context:
            feature_FI[NEURAL] = self._affinity()
        feature_FI[YOUNG] = YOUTH / (YOUTH + self._state.trends.value_IH[: self.items, FOR_EVER])
        feature_FI[YOUNG_CONTENT] = feature_FI[YOUNG] * feature_FI[NEURAL]
        if self._context and len(self._state.likeness.axis_EL):
            self._add_likeness(feature_FI)
        return feature_FI

    def _add_likeness(self, feature_FI: Floats) -> None:
        place_IL = self._state.likeness.place_IL[: self.items].astype(np.float64)
        alike_I = place_IL @ place_IL[self._context].sum(axis=0) * (SCALE / np.sqrt(len(self._context)))
        feature_FI[LIKENESS] = alike_I - alike_I[self._candidates].mean()
        chosen_I = self._state.trends.value_IH[: self.items, FOR_EVER]
        feature_FI[YOUNG_LIKENESS] = LIKE_YOUTH / (LIKE_YOUTH + chosen_I) * feature_FI[LIKENESS]
        fits_I = np.clip((1.0 + feature_FI[LIKENESS]) / 2.0, 0.0, 1.0) * self._state.likeness.there_I[: self.items]
        feature_FI[UNTRIED] = fits_I * feature_FI[YOUNG]

    def _add_row(self, feature_FI: Floats, pairs: Pairs, item: int, place: int, near: int, wide: int) -> None:
        start = int(pairs.rows.start_R[item])
        places = slice(start, start + int(pairs.rows.length_R[item]))
        prior = PRIOR * float(pairs.scale_I[item])
        others = pairs.item_P[places]
        feature_FI[wide, others] += WIDE_DECAY**place * pairs.wide_P[places] / (float(pairs.wide_total_I[item]) + prior)
        if place == 0:
            feature_FI[near, others] = pairs.near_P[places] / (float(pairs.near_total_I[item]) + prior)

    def _add_repeats(self, feature_FI: Floats) -> None:
        if self._user != NOBODY:
            item_P, count_P, age_P = self._history()
            young_P = age_P <= HISTORY_TURNS
            feature_FI[RECENT, item_P[young_P]] = 1.0 / (1.0 + age_P[young_P])
            feature_FI[REPEAT, item_P[young_P]] = count_P[young_P] * 2.0 ** (-age_P[young_P] / COUNT_HALF_LIFE)
        for n, item in enumerate(self._context):
            feature_FI[RECENT, item] = max(feature_FI[RECENT, item], 1.0 / (1.0 + n))
        feature_FI[LAST, self._context[:1]] = 1.0

    def _trends(self) -> Floats:
        trends = self._state.trends
        now = int(trends.tick[0])
        share_H = SHARE.copy()
        share_H[FOR_EVER] = 1.0 / max(now, 1)
        age_I = now - trends.tick_I[: self.items]
        aged_HI = trends.value_IH[: self.items].T * 2.0 ** (-age_I[None, :] * np.asarray(RATES)[:, None])
        return np.asarray(np.log2(1.0 + TREND_SCALE * share_H[:, None] * aged_HI))

    def _affinity(self) -> Floats:
        head, used = self._state.head, self._context[:CONTEXT]
        share_C = np.exp(head.place_C[: len(used)] + head.fused_ID[used] @ head.key_D)
        query_D = head.turn_DD @ (share_C @ head.fused_ID[used] / share_C.sum())
        raw_I = (head.fused_ID[: self.items] @ query_D + head.bias_I[: self.items]).astype(np.float64)
        center = raw_I[self._candidates].mean()  # as the engine does: with another one, other items would reach the bounds
        return np.asarray(np.clip(raw_I - center, -NEURAL_MAX, NEURAL_MAX))


def engine_leaves_out(engine: Engine) -> bool:
    """Whether the engine's lists leave out what their user has had."""
    return bool(leaves_out_seen(engine.state.stream, engine.rules))


class Loss(NamedTuple):
    """HR@10 and NDCG@10 over ``targets``, and the share of targets that could be listed and were among the candidates."""

    targets: int
    candidates: tuple[float, float]
    catalogue: tuple[float, float]
    recall: float
    sizes: tuple[float, float]
    """Mean numbers of candidates and of items."""

    def in_words(self, name: str) -> str:
        """One line of the table."""
        (hr, gain), (hr_all, gain_all) = self.candidates, self.catalogue
        return (
            f"{name:18s} {self.targets:7d} {self.sizes[0]:7.0f} of {self.sizes[1]:5.0f} {self.recall:8.3f}   {hr:.4f} / {gain:.4f}   "
            f"{hr_all:.4f} / {gain_all:.4f}   {hr / hr_all - 1:+7.2%} / {gain / gain_all - 1:+7.2%}"
        )


TITLE = f"{'recording':18s} {'targets':>7s} {'candidates':>16s} {'recall':>8s}   {'HR@10 / NDCG@10':15s}   {'full catalogue':15s}   difference"


def measure(stream: Stream, config: Config, groups: int = GROUPS) -> Loss:
    """Runs the first part of a stream, judging about so many groups of it; raises RuntimeError where the two scorings differ."""
    engine, ranks, sizes = Engine(config), [], []
    stop = int(LAST_SHARE * stream.events)
    first, last = (int(stream.group_N[int(share * stream.events)]) for share in (FIRST, LAST_SHARE))
    every = max(1, (last - first) // groups)
    applied = 0
    for group, columns in engine_batches(stream):
        event, end = int(stream.first_G1[group]), int(stream.first_G1[group + 1])
        if event >= stop:
            break
        time_ms = int(stream.time_N[event])
        engine.settle(time_ms)
        applied = apply_documents(engine, stream.documents, applied, time_ms)
        if group >= first and (group - first) % every == 0:
            places = range(int(stream.item_first_N1[event]), int(stream.item_first_N1[end]))
            targets = [stream.item_ids[stream.item_M[place]] for place in places]
            ranks += list(_ranks(engine, stream.user_ids[stream.user_N[event]], targets, time_ms))
            sizes.append((int(engine.scratch.found[0]), int(engine.state.items.ids.used[ROWS_USED])))
        engine.apply(columns)
    rank_T2 = np.array(ranks)
    could_T = np.isfinite(rank_T2[:, 1])
    means = [(float(hit(rank_T).mean()), float(ndcg(rank_T).mean())) for rank_T in rank_T2.T]
    mean_candidates, mean_items = np.mean(sizes, axis=0).tolist()
    recall = float(np.isfinite(rank_T2[could_T, 0]).mean())
    return Loss(len(rank_T2), means[0], means[1], recall, (mean_candidates, mean_items))


def _ranks(engine: Engine, user_id: str, targets: list[str], time_ms: int) -> Iterator[tuple[float, float]]:
    """Each target's rank among the engine's candidates, and among everything; infinite where it is not there."""
    user = row_of_text(engine.state.users.ids, user_id)
    engine.rank(np.array([user]), entries=LIST, at_ms=time_ms)
    scratch, count = engine.scratch, int(engine.scratch.found[0])
    item_C, logit_C = scratch.item_C[:count], scratch.logit_C[:count].astype(np.float64)
    everything = Everything(engine, user)
    _require_same(everything, item_C, scratch.feature_FC[:, :count])
    kept_I = np.flatnonzero(~everything.excluded_I)
    for target in targets:
        row = row_of_text(engine.state.items.ids, target)
        yield rank_of(item_C, logit_C, row), rank_of(kept_I, everything.logit_I[kept_I], row)


def _require_same(everything: Everything, item_C: NDArray[np.int32], feature_FC: NDArray[np.float32]) -> None:
    apart_C = np.abs(everything.logit_I[item_C] - everything.weight_F @ feature_FC)
    if len(apart_C) and apart_C.max() > AGREE:
        worst = int(apart_C.argmax())
        raise RuntimeError(
            f"the readable scoring differs from the engine's by {apart_C[worst]:.3f} at item row {item_C[worst]}: "
            f"{everything.feature_FI[:, item_C[worst]].round(3)} where the engine has {feature_FC[:, worst].round(3)}"
        )


def rank_of(item_C: NDArray[np.int32] | NDArray[np.int64], logit_C: Floats, row: int) -> float:
    """From 1, ties at their middle; infinite where the row is not among them."""
    at = np.flatnonzero(item_C == row)
    if row < 0 or not len(at):
        return np.inf
    wanted = logit_C[at[0]]
    return float(1 + (logit_C > wanted).sum() + ((logit_C == wanted).sum() - 1) / 2)


def recordings(folder: Path | None, *, texts: bool) -> Iterator[tuple[str, Stream, Config]]:
    """The recordings that are on this machine, each with its configuration."""
    for name, open_one in (("ml-100k", lambda: _movielens(texts=texts)), ("deskdrop", lambda: stream_of(deskdrop(folder)))):
        try:
            stream = open_one()
        except RecordingError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        yield name, stream, Config(ranking=Ranking(exclude_seen="true")) if name == "ml-100k" else Config()


def _movielens(*, texts: bool) -> Stream:
    found = movielens_100k()
    if not texts:
        return stream_of(in_time_order(read_events(found.events)))
    return read_stream(found.events, found.items, AUTO, Config(), reading=lambda _: None, encoding=lambda _: None).stream


def main() -> int:
    """Prints a table; exit status 1 where no recording is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.candidate_loss", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", action="store_true", help="give ml-100k its items' documents; their texts are encoded first")
    parser.add_argument("--groups", type=int, default=GROUPS, help="judged in each recording, about")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="where deskdrop/ is")
    options = parser.parse_args()
    measured = 0
    for name, stream, config in recordings(options.recordings, texts=options.texts):
        started_s = perf_counter()
        loss = measure(stream, config, options.groups)
        print(loss.in_words(name) if measured else f"{TITLE}\n{loss.in_words(name)}", flush=True)
        print(f"{name}: {perf_counter() - started_s:.0f} s", file=sys.stderr)
        measured += 1
    return 0 if measured else 1


if __name__ == "__main__":
    sys.exit(main())
