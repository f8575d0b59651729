"""What text and image are worth: the engine with them, without, with one alone, and with the vectors of other items.

``python -m benchmarks.content EVENTS ITEMS`` runs the recording once a variant, test then learn, over the whole catalogue, and prints
HR@10 and NDCG@10 of all targets and of those of items with few events before. Intervals hold 95 % of 1,000 resamples of users, the same
users for every variant. ``shuffled`` is the control: each item has the vectors of another, so what it gains is not what content says.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from producers.formats import AUTO, RecordingError
from streamer.cli.backtest_input import read_stream
from streamer.config.load import from_environment
from streamer.evaluate.engines import run_engine
from streamer.evaluate.figures import INTERVAL, Targets, resampled, targets_of, values_of
from streamer.evaluate.stream import Document, Stream

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NONE, FULL = "none", "full"
VARIANTS = (NONE, "text", "image", FULL, "shuffled")
AGES = {"any": None, "<= 20": 20, "<= 5": 5, "<= 4": 4, "<= 1": 1}
"""Targets by the events that their item had before."""
PARTS = ("10-100", "30-100")
SEED = 1


def with_content(stream: Stream, variant: str) -> Stream:
    """The stream with what a variant lets items say; all documents stay, so the catalogue is the same."""
    documents = stream.documents
    if variant == "shuffled":
        other_D = np.random.default_rng(SEED).permutation(len(documents)).tolist()
        changed = [
            one._replace(text=documents[n].text, image=documents[n].image) for one, n in zip(documents, other_D, strict=True)
        ]
    else:
        changed = [_saying(one, text=variant in {"text", FULL}, image=variant in {"image", FULL}) for one in documents]
    return stream._replace(documents=changed)


def _saying(one: Document, *, text: bool, image: bool) -> Document:
    return one._replace(text=one.text if text else None, image=one.image if image else None)


def rows(rank_VM: dict[str, Floats], targets: Targets, part: str) -> list[str]:
    """A line for each variant and age: HR@10, NDCG@10, and how much more that is than without content."""
    value_VTQ = {name: values_of(rank_M[targets.reference_T]) for name, rank_M in rank_VM.items()}
    found = []
    for age, most in AGES.items():
        chosen_T = targets.window(part) & (np.ones(len(targets.age_T), np.bool_) if most is None else targets.age_T <= most)
        for name, value_TQ in value_VTQ.items():
            hr, ndcg = value_TQ[chosen_T, :2].mean(axis=0).tolist()
            line = f"| {part} % | {age} ({chosen_T.sum()}) | {name} | {hr:.4f} | {ndcg:.4f} |"
            if name != NONE and NONE in value_VTQ:
                line += "".join(_difference(value_TQ, value_VTQ[NONE], chosen_T, targets, metric) for metric in range(2))
            found.append(line)
    return found


def _difference(value_TQ: Floats, without_TQ: Floats, chosen_T: Bools, targets: Targets, metric: int) -> str:
    more_T = (value_TQ - without_TQ)[chosen_T, metric]
    user_U = np.unique(targets.user_T[chosen_T], return_inverse=True)[1]
    count_U = np.bincount(user_U).astype(np.float64)
    mean_S = resampled(np.bincount(user_U, more_T)[:, None], count_U, SEED)[:, 0]
    low, high = np.percentile(mean_S, INTERVAL).tolist()
    return f" {more_T.mean():+.4f} ({low:+.4f} to {high:+.4f}) |"


def main() -> int:
    """Prints the table as variants end; exit status 2 where the recording cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.content", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=Path, metavar="EVENTS")
    parser.add_argument("items", type=Path, metavar="ITEMS", help="documents with texts and images")
    options = parser.parse_args()
    config = from_environment()
    try:
        stream = read_stream(
            options.events, options.items, AUTO, config, reading=lambda _: None, encoding=lambda _: None
        ).stream
    except RecordingError as error:
        print(error, file=sys.stderr)
        return 2
    rank_VM: dict[str, Floats] = {}
    for name in VARIANTS:
        started_s = perf_counter()
        rank_VM[name] = run_engine("streamer", with_content(stream, name), config, lambda _: None).rank_M
        print(f"{name}: {perf_counter() - started_s:.0f} s", file=sys.stderr, flush=True)
    print(
        "| part | events of the item before (targets) | content | HR@10 | NDCG@10 | HR@10 more than none | NDCG@10 more than none |"
    )
    print("|---|---|---|---|---|---|---|")
    for part in PARTS:
        print("\n".join(rows(rank_VM, targets_of(stream), part)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
