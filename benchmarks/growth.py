"""Whether a process that runs for long grows: samples of it, thirds of a run, and what the last may be beside the one before."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.bounds import Bound
from benchmarks.figures import rounded
from benchmarks.measured import Curve
from consumers.measurements import BUCKETS_S, Durations

MEMORY_GROWTH_MAX, MEMORY_SLACK_MIB = 0.03, 16.0
"""The share of memory, and what may come beside it at once: a buffer that was needed for the first time."""
HANDLES_SLACK = 3
"""Files, or threads: those of a reconnect."""
LATENCY_GROWTH_MAX = 2.0
LATE_S = 1.0
PLACES = 30
"""Of a curve over a whole run."""


@dataclass(frozen=True)
class Sample:
    """The process at one moment."""

    at_s: float
    memory_mib: float
    tables_mib: float
    """Of it, what the state's tables hold; a copy for snapshots and the room that they grow into are beside it."""
    files: int
    threads: int
    written_B: NDArray[np.int64]
    """Lists ever written, by their delay: in each of ``BUCKETS_S`` and beyond the last."""
    calm: bool
    """Whether no fault had to do with those since the sample before."""


@dataclass(frozen=True)
class Third:
    """A part of the run: medians; quantiles are of lists between faults, None where there were none."""

    memory_mib: float
    tables_mib: float
    files: float
    threads: float
    lists: int
    p50_ms: float | None
    p99_ms: float | None
    late: float
    """The share of all lists that came later than ``LATE_S``: faults make it what it is, so it is told and not judged."""


def thirds(samples: Sequence[Sample]) -> list[Third]:
    """What each third of a run was like, by time."""
    return [_third(part) for part in _parts(samples, 3)]


def _third(samples: Sequence[Sample]) -> Third:
    calm, every = delays_between(samples, calm=True), delays_between(samples, calm=False)
    lists, late = int(every.count_B.sum()), int(every.count_B[BUCKETS_S.index(LATE_S) + 1 :].sum())
    return Third(
        memory_mib=round(statistics.median(one.memory_mib for one in samples), 1),
        tables_mib=round(statistics.median(one.tables_mib for one in samples), 1),
        files=statistics.median(one.files for one in samples),
        threads=statistics.median(one.threads for one in samples),
        lists=lists,
        p50_ms=_quantile_ms(calm, 0.5),
        p99_ms=_quantile_ms(calm, 0.99),
        late=round(late / max(1, lists), 4),
    )


def delays_between(samples: Sequence[Sample], *, calm: bool) -> Durations:
    """Of the lists written from the first sample to the last, or only of those in the calm between them."""
    found = Durations()
    for before, after in itertools.pairwise(samples):
        if after.calm or not calm:
            found.count_B += after.written_B - before.written_B
    return found


def _quantile_ms(delays: Durations, share: float) -> float | None:
    return rounded(1e3 * delays.quantile(share)) if delays.count_B.any() else None


def _parts(samples: Sequence[Sample], count: int) -> Iterator[list[Sample]]:
    """The samples of equal parts of the time; each begins with the last one of the part before."""
    edges = [samples[-1].at_s * n / count for n in range(count + 1)]
    for first, last in itertools.pairwise(edges):
        inside = [n for n, one in enumerate(samples) if first < one.at_s <= last]
        if inside:
            yield list(samples[max(0, inside[0] - 1) : inside[-1] + 1])


def bounds(before: Third, after: Third) -> dict[str, Bound]:
    """What a part may be at most after another one, beyond what chance explains."""
    found = {
        "memory_mib": Bound(after.memory_mib, rounded(before.memory_mib * (1.0 + MEMORY_GROWTH_MAX) + MEMORY_SLACK_MIB)),
        "files": Bound(after.files, before.files + HANDLES_SLACK),
        "threads": Bound(after.threads, before.threads + HANDLES_SLACK),
        "thirds_without_lists": Bound(sum(one.p99_ms is None for one in (before, after)), 0),
    }
    if before.p99_ms is not None and after.p99_ms is not None:
        found["p99_ms"] = Bound(after.p99_ms, LATENCY_GROWTH_MAX * before.p99_ms)
    return found


def curves(samples: Sequence[Sample]) -> dict[str, Curve]:
    """Memory and freshness over the run."""
    at = [f"{samples[-1].at_s * n / 4 / 60:.3g}" for n in range(5)]
    places = list(_parts(samples, PLACES))
    memory = {
        "process": [statistics.median(one.memory_mib for one in place) for place in places],
        "of it tables of the state": [statistics.median(one.tables_mib for one in place) for place in places],
    }
    delays = [delays_between(place, calm=True) for place in places]
    fresh = {name: [_quantile_ms(one, share) for one in delays] for name, share in (("p99", 0.99), ("p50", 0.5))}
    return {
        "memory_over_time": Curve("Memory over a run with faults", "minutes", "MiB", at, memory),
        "freshness_over_time": Curve("Freshness of lists between faults", "minutes", "ms", at, fresh),
    }
