"""Whether a process that runs for long grows: samples of it, thirds of a run, and what the last may be beside the one before."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bounds import Bound
from benchmarks.measured import Curve

MEMORY_GROWTH_MAX, MEMORY_SLACK_MIB = 0.03, 16.0
HANDLES_SLACK = 3
LATENCY_GROWTH_MAX = 2.0
PLACES = 30
"""At which the curve of a whole run has the quantiles of what was written since the place before."""

Buckets = Mapping[float, float]
"""Of a cumulative histogram: how many were at most so many seconds."""


@dataclass(frozen=True)
class Sample:
    """The process at one moment; ``fresh`` are lists ever written by their delay, ``calm`` says that no fault had to do with those since the last sample."""

    at_s: float
    memory_mib: float
    tables_mib: float
    """Of it, what the state's tables hold; a copy for snapshots and the room that they grow into are beside it."""
    files: int
    threads: int
    fresh: Buckets
    calm: bool


@dataclass(frozen=True)
class Third:
    """A part of the run: medians; quantiles are of the lists of calm times, ``late`` is the share later than a second of all."""

    memory_mib: float
    tables_mib: float
    files: float
    threads: float
    lists: int
    p50_ms: float
    p99_ms: float
    late: float


def thirds(samples: Sequence[Sample]) -> list[Third]:
    """What each third of a run was like. Raises ValueError where there are too few samples to say."""
    size = len(samples) // 3
    found = [_third(samples[n * size : (n + 1) * size]) for n in range(3) if size >= 2]
    if not found or any(one is None for one in found):
        raise ValueError(f"{len(samples)} samples are too few to compare thirds: run it for longer")
    return [one for one in found if one is not None]


def _third(samples: Sequence[Sample]) -> Third | None:
    calm, every = written(samples, calm=True), written(samples, calm=False)
    if not calm:
        return None
    lists = every[float("inf")]
    return Third(
        memory_mib=round(statistics.median(one.memory_mib for one in samples), 1),
        tables_mib=round(statistics.median(one.tables_mib for one in samples), 1),
        files=statistics.median(one.files for one in samples),
        threads=statistics.median(one.threads for one in samples),
        lists=int(lists),
        p50_ms=round(1e3 * quantile(calm, 0.5), 1),
        p99_ms=round(1e3 * quantile(calm, 0.99), 1),
        late=round(1.0 - every[1.0] / lists, 4),
    )


def written(samples: Sequence[Sample], *, calm: bool) -> dict[float, float]:
    """Lists written from the first sample to the last, or in the calm between them, by their delay; empty where there were none."""
    found: dict[float, float] = {}
    for before, after in itertools.pairwise(samples):
        if after.calm or not calm:
            for bound, count in after.fresh.items():
                found[bound] = found.get(bound, 0.0) + count - before.fresh.get(bound, 0.0)
    return found if found.get(float("inf")) else {}


def quantile(cumulative: Buckets, share: float) -> float:
    """A quantile of a cumulative histogram whose last bound is infinite, drawn evenly through the bucket that it is in, as Prometheus does.

    >>> quantile({0.1: 50.0, 0.3: 90.0, float("inf"): 100.0}, 0.6)
    0.15
    >>> quantile({0.1: 50.0, 0.2: 90.0, float("inf"): 100.0}, 0.99)
    0.2
    """
    wanted = share * cumulative[float("inf")]
    below_s, below = 0.0, 0.0
    for bound_s, count in sorted(cumulative.items()):
        if count >= wanted:
            return below_s if bound_s == float("inf") else below_s + (bound_s - below_s) * (wanted - below) / (count - below)
        below_s, below = bound_s, count
    return below_s


def bounds(before: Third, after: Third) -> dict[str, Bound]:
    """What a part may be at most after another one, beyond what chance explains."""
    return {
        "memory_mib": Bound(after.memory_mib, before.memory_mib * (1.0 + MEMORY_GROWTH_MAX) + MEMORY_SLACK_MIB),
        "files": Bound(after.files, before.files + HANDLES_SLACK),
        "threads": Bound(after.threads, before.threads + HANDLES_SLACK),
        "p99_ms": Bound(after.p99_ms, LATENCY_GROWTH_MAX * before.p99_ms),
    }


def curves(samples: Sequence[Sample]) -> dict[str, Curve]:
    """Memory and freshness over the run."""
    minutes = samples[-1].at_s / 60
    at = [f"{minutes * n / 4:.3g}" for n in range(5)]
    places = max(1, len(samples) // PLACES)
    parts = [written(samples[n : n + places + 1], calm=True) for n in range(0, len(samples) - 1, places)]
    parts = [part for part in parts if part]
    memory = {"process": [one.memory_mib for one in samples], "of it tables of the state": [one.tables_mib for one in samples]}
    fresh = {name: [1e3 * quantile(part, share) for part in parts] for name, share in (("p99", 0.99), ("p50", 0.5))}
    return {
        "memory_over_time": Curve("Memory over a run with faults", "minutes", "MiB", at, memory),
        "freshness_over_time": Curve("Freshness of lists between faults", "minutes", "ms", at, fresh),
    }
