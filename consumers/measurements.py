"""What a worker measures: plain numbers that its threads write and the metrics page reads. Nothing here costs the hot path a call.

Counters only grow within a process; what must survive a restart is a counter of the fold and comes from the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consumers.drift import Drift
from streamer.ranking.exposure import Shares
from streamer.ranking.lists import PARTS

if TYPE_CHECKING:
    from consumers.tracing import Traces

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
"""Upper bounds of duration histograms, seconds; one more is infinite."""


class Durations:
    """A histogram of seconds, filled a vector at a time by one thread."""

    def __init__(self) -> None:
        self.count_B: NDArray[np.int64] = np.zeros(len(BUCKETS_S) + 1, np.int64)
        self.sum_s = 0.0

    def observe(self, seconds_N: NDArray[np.float64]) -> None:
        """Adds N durations."""
        places = np.searchsorted(BUCKETS_S, seconds_N)
        self.count_B += np.bincount(places, minlength=len(self.count_B))
        self.sum_s += float(seconds_N.sum())

    def observe_one(self, seconds: float) -> None:
        """Adds one duration."""
        self.observe(np.array([seconds]))

    def quantile(self, share: float) -> float:
        """The duration below which ``share`` of all lie, linear within a bucket; 0 where nothing was observed."""
        total = int(self.count_B.sum())
        if not total:
            return 0.0
        edges: tuple[float, ...] = (0.0, *BUCKETS_S, BUCKETS_S[-1])
        below = 0
        for bucket, count in enumerate(self.count_B.tolist()):
            if count and below + count >= share * total:
                low, high = edges[bucket], edges[bucket + 1]
                return float(low + (high - low) * (share * total - below) / count)
            below += count
        return BUCKETS_S[-1]


STAGES = ("poll", "decode", "fold", "learn", "rank", "publish", "snapshot")


@dataclass
class Backlog:
    """How far a reader is behind the ends of the log."""

    lag: dict[str, dict[str, int]] = field(default_factory=dict)
    """Records behind the end by topic and partition, from the position; empty before the first look."""
    append_ms: int = 0
    """When the log got the last record applied; before the first of a tenure, when the snapshot was made that it began with."""
    caught_up_ms: int = 0
    """When the positions were last found at the log's ends, 0 where they never were."""
    looked_ms: int = 0
    """When the log last answered what its ends are, 0 before the first time."""

    def lag_s(self, now_ms: int) -> float | None:
        """About how old the oldest record that waits is: 0 where none did when last looked. None before the first look."""
        if not self.lag:
            return None
        if not any(behind for parts in dict(self.lag).values() for behind in dict(parts).values()):
            return 0.0
        return max(0, now_ms - max(self.append_ms, self.caught_up_ms)) / 1_000.0


@dataclass
class Measurements(Backlog):
    """All that a worker's page shows beside its status. Each field is written by one thread."""

    freshness: Durations = field(default_factory=Durations)
    """From the log's append time of a user's last event to his list visible in the store."""
    stage_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    """Seconds spent a stage."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Dead letters by reason, in this process."""
    event_time_ms: int = 0
    """Largest event time applied."""
    lost_ms: int = 0
    """When events were last found to have been removed before they were read, 0 where none were."""
    list_parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    """What counting signals, text, image, the items' own vectors and re-ranking gave to the scores of entries listed, without sign."""
    lists_written: int = 0
    lists_refused: int = 0
    lists_unpublished: int = 0
    store_errors: int = 0
    store_fault: str | None = None
    """What the store of lists said when it failed last; None once a write succeeds."""
    store_fault_ms: int = 0
    """Since when it fails."""
    lists_written_ms: int = 0
    """When lists were written last."""
    log_errors: int = 0
    events_read: int = 0
    """Events folded in this process, whatever became of them."""
    log_fault: str | None = None
    """What the log said, while the worker waits for it."""
    poll_gap: Durations = field(default_factory=Durations)
    """From the end of one poll to the end of the next: what the log's bound on it is compared with."""
    poll_gap_bound_s: float = 0.0
    went_back: int = 0
    """Times that the fold failed and went back to the last snapshot."""
    snapshots: int = 0
    snapshot_failures: int = 0
    snapshot_ms: int = 0
    """Wall clock of the last committed snapshot, 0 before the first."""
    snapshot_pause: Durations = field(default_factory=Durations)
    snapshot_bytes: int = 0
    snapshot_write_s: float = 0.0
    restore_s: float = 0.0
    takeovers: int = 0
    swept: int = 0
    term_T: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """What lists were made of: the sum of what each term gave to entries, whichever way; of one portion a second at most."""
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    """Prequential sums of the fold by method (live, fixed, popularity): judged, hits, ndcg, mrr, recent_ndcg."""
    drift: dict[str, Drift] = field(default_factory=dict)
    """What ADWIN knows of each stream that it watches; each value is replaced whole."""
    shares: dict[str, Shares] = field(default_factory=dict)
    """Of the lists' attention of late, by kind (provider, category); each value is replaced whole."""
    served: dict[str, float] = field(default_factory=lambda: {"arrived": 0.0, "judged": 0.0, "hits": 0.0, "ndcg": 0.0})
    """As served: interactions that arrived, those judged against a confirmed list, and how good the list was."""
    head_steps: int = 0
    head_skipped: int = 0
    falls_back: bool = False
    """Whether lists come from the fixed weights, since the learned ones were lately worse."""
    learning_frozen: bool = False
    frozen: dict[str, object] | None = None
    """Who froze learning, and where his word was read since the start why and when; None where it is not frozen."""
    users: int = 0
    items: int = 0
    users_max: int = 0
    items_max: int = 0
    table_bytes: dict[str, int] = field(default_factory=dict)
    """Bytes held a fold table, at the last snapshot."""
    table_bound_bytes: dict[str, int] = field(default_factory=dict)
    """Bytes that each may hold."""
    queue_batches: int = 0
    traces: Traces | None = None
    """Where the way of single records is noted; None: tracing is off."""

    def lists(self) -> dict[str, object]:
        """What ``/status`` says of lists on their way to the store."""
        return {
            "unpublished": self.lists_unpublished,
            "written_ms": self.lists_written_ms or None,
            "errors": self.store_errors,
            "fault": self.store_fault,
            "fault_ms": self.store_fault_ms if self.store_fault else None,
        }
