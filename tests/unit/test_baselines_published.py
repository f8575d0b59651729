"""V-SKNN and the metrics against lists that another project published: session-rec's, of a sample of YooChoose."""

import csv
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from streamer.evaluate.baselines.vsknn import VSknn, VSknnConfig
from streamer.evaluate.metrics import hit, reciprocal

RECORDINGS = Path(os.environ.get("RECORDINGS_ROOT", Path(__file__).resolve().parents[3] / "shared" / "data"))
FOLDER = RECORDINGS / "yoochoose-100k"

SETTINGS = VSknnConfig(k=500, sample=5_000, idf_weight=5.0, query_items=10_000, memory_items=300)
"""Those of session-rec's example: k 500, sample 5000, quadratic weights, div scores, idf weight 5; nothing is forgotten."""

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason=f"needs the published lists of YooChoose in {FOLDER}; RECORDINGS_ROOT names the folder above",
)


class Position(NamedTuple):
    """A place in a test session, and the list published for it."""

    before: list[int]
    target: int
    items: list[int]
    scores: list[float]


def clicks(name: str) -> list[tuple[float, int, int]]:
    """Time, session, item in the order of the file."""
    with (FOLDER / f"yoochoose-clicks-100k_{name}.txt").open(encoding="utf-8") as file:
        return [(float(r["Time"]), int(r["SessionId"]), int(r["ItemId"])) for r in csv.DictReader(file, delimiter="\t")]


@pytest.fixture(scope="module")
def published() -> list[Position]:
    sessions: dict[int, list[int]] = defaultdict(list)
    for _, session, item in clicks("test"):
        sessions[session].append(item)
    found = []
    with (FOLDER / "recoms_rsc15_100k_vsknn.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter=";"):
            items, at = sessions[int(row["SessionId"])], int(row["Position"]) + 1
            listed = [int(item) for item in row["Recommendations"].split(",")]
            found.append(Position(items[:at], items[at], listed, [float(score) for score in row["Scores"].split(",")]))
    return found


def figures(lists: list[list[int]], positions: list[Position]) -> tuple[float, float]:
    """HR@10 and MRR@10."""
    pairs = zip(lists, positions, strict=True)
    rank = np.array([items.index(one.target) + 1.0 if one.target in items else np.inf for items, one in pairs])
    return float(hit(rank, 10).mean()), float(reciprocal(rank, 10).mean())


def test_the_metrics_give_the_published_figures(published: list[Position]) -> None:
    assert len(published) == 387
    assert figures([one.items for one in published], published) == pytest.approx((0.5530, 0.3301), abs=5e-5)


@pytest.fixture(scope="module")
def ours(published: list[Position]) -> list[dict[int, float]]:
    """Scores by item for each position, the largest 1, of a V-SKNN that learned the training clicks in the order of their times."""
    method, numbers = VSknn(SETTINGS), dict[int, int]()
    users: dict[int, int] = {}
    for time_s, session, item in sorted(clicks("train_full"), key=lambda click: click[0]):
        user, number = users.setdefault(session, len(users)), numbers.setdefault(item, len(numbers))
        method.learn(user, [number], int(time_s * 1000))
    ids, found = list(numbers), []
    for one in published:
        score_N = method.scores(np.array([numbers[item] for item in one.before]))
        known = np.flatnonzero(score_N)
        found.append({ids[item]: float(score_N[item] / score_N.max()) for item in known})
    return found


def test_vsknn_gives_the_published_scores_wherever_ties_do_not_decide_who_is_a_neighbour(
    published: list[Position], ours: list[dict[int, float]]
) -> None:
    having: dict[int, set[int]] = defaultdict(set)
    for _, session, item in clicks("train_full"):
        having[item].add(session)
    compared = 0
    for one, scores in zip(published, ours, strict=True):
        if len(set().union(*(having[item] for item in one.before))) <= SETTINGS.k:
            assert [scores.get(item, 0.0) for item in one.items] == pytest.approx(one.scores, abs=1e-9)
            compared += 1
    assert compared == 280


def test_vsknn_gives_the_published_quality(published: list[Position], ours: list[dict[int, float]]) -> None:
    lists = [sorted(scores, key=lambda item, by=scores: -by[item])[:10] for scores in ours]  # type: ignore[misc]
    assert figures(lists, published) == pytest.approx((0.5530, 0.3301), abs=0.003)
    shared = [len(set(items) & set(one.items[:10])) / 10 for items, one in zip(lists, published, strict=True)]
    assert np.mean(shared) > 0.97
