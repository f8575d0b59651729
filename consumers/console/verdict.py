"""How the line is, in words: what is wrong, and what to do. Of numbers alone; nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from consumers.console.history import Row, recent_ndcg
from consumers.drift import Drift
from consumers.measurements import Measurements
from streamer.config.tree import Config
from streamer.ports import OwnerStatus

Level = Literal["good", "note", "warn", "bad"]
LEVELS: tuple[Level, ...] = ("good", "note", "warn", "bad")

LOOKED_BACK_S = 60
"""What is judged by what happened lately is judged by this."""
FRESH_S, STALE_S = 1.0, 10.0
"""From an event to its list, for 99 %: below the first all is well, beyond the second it is bad."""
BEHIND_RECORDS = 1_000
BEHIND_S = 30.0
"""Of the present rate: a worker so far behind needs longer to catch up than readers should wait."""
JUDGED_MIN = 500
"""Interactions before which quality says nothing."""
WORSE_BELOW = 0.97
"""Of another method's recent NDCG."""
DEAD_SHARE = 0.01
SNAPSHOT_LATE = 6
"""Intervals after which the last snapshot is old."""
SNAPSHOT_LATE_S_MIN = 60.0
DRIFT_TOLD_MS = 3_600_000
"""How long an alarm of drift stands among the findings."""
DRIFTS = {
    "new_items": "the share of events that brought a new item",
    "new_users": "the share of events that brought a new user",
    "quality_fresh": "the quality of what is learned (NDCG@10)",
    "quality_served": "the quality of lists as served (NDCG@10)",
}


class Finding(NamedTuple):
    """Something that an operator should know; ``todo`` is empty where nothing is to be done."""

    level: Level
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the verdict is made from."""

    status: OwnerStatus
    measured: Measurements
    config: Config
    rows: Sequence[Row]
    """The history's last minute."""
    now_ms: int
    role_since_ms: int
    fresh_s: tuple[float, float] | None = None
    """From an event to its list, of those written within the last minute: half of them, 99 %."""


class Verdict(NamedTuple):
    """The worst level, one sentence, and all findings, the worst first."""

    level: Level
    title: str
    text: str
    findings: list[Finding]


def verdict(sight: Sight) -> Verdict:
    """How the line is now."""
    if sight.status.role != "owner":
        return _without_state(sight)
    findings = sorted(_findings(sight), key=lambda one: -LEVELS.index(one.level))
    level = findings[0].level if findings else "good"
    wrong = sum(one.level in {"warn", "bad"} for one in findings)
    if not wrong:
        level = "good"
    titles = {"good": "All is well", "warn": "It works, with something to look at", "bad": "Something is wrong"}
    return Verdict(
        level, titles[level], " ".join(filter(None, (_freshness_words(sight), quality_words(sight.measured)))), findings
    )


def _without_state(sight: Sight) -> Verdict:
    role, measured, since_s = sight.status.role, sight.measured, (sight.now_ms - sight.role_since_ms) // 1_000
    findings = (
        [] if measured.log_fault is None else [Finding("bad", f"The log does not answer as it should: {measured.log_fault}")]
    )
    if role == "standby":
        text = "Another worker owns the stream; this one takes over within seconds when that one fails. It has no state: ask the owner."
        return Verdict("bad" if findings else "note", "Standing by", text, findings)
    if role == "restoring":
        text = "This worker owns the stream and reads the last snapshot. Lists in the store stay as they were meanwhile."
        return Verdict("note", f"Restoring its state, for {since_s} s", text, findings)
    if not findings and since_s > BEHIND_S:
        todo = "See the worker's log, and `streamer doctor`."
        findings = [Finding("warn", f"It has been starting for {since_s} s.", todo)]
    text = "It joins the group of workers. Readers get the lists that are in the store."
    return Verdict(
        "bad" if measured.log_fault else "note", "It cannot start yet" if measured.log_fault else "Starting", text, findings
    )


def _findings(sight: Sight) -> Iterator[Finding]:
    measured = sight.measured
    if measured.log_fault is not None:
        yield Finding(
            "bad", f"The log does not answer as it should: {measured.log_fault}", "Lists stay as they are until it does."
        )
    if measured.store_fault is not None:
        since_s = (sight.now_ms - measured.store_fault_ms) // 1_000
        yield Finding(
            "bad",
            f"The store has taken no lists for {since_s} s: {measured.store_fault}",
            "Look whether Redis runs and is reachable (redis.url). Learning and snapshots go on; lists are written when it is back.",
        )
    yield from _of_learning(sight)
    yield from _of_freshness(sight)
    yield from _of_records(sight)
    yield from _of_snapshots(sight)
    yield from _of_drift(sight)


def _of_learning(sight: Sight) -> Iterator[Finding]:
    measured, frozen = sight.measured, sight.measured.frozen
    if frozen is not None and frozen.get("by") == "operator":
        who = f" by {frozen.get('name') or 'an operator'}" + (f": {frozen['reason']}" if frozen.get("reason") else "")
        yield Finding("warn", f"Learning is frozen{who}.", "Counts and lists go on. `streamer unfreeze` lets it learn again.")
    elif frozen is not None:
        yield Finding(
            "bad",
            "Learning has frozen itself: ten blocks in a row had a gradient that was not finite.",
            "Roll back to a snapshot from before (`streamer rollback`), then `streamer unfreeze`.",
        )
    if measured.falls_back:
        yield Finding(
            "warn",
            "Lists come from the fixed weights, since the learned ones were lately worse.",
            "It goes back by itself. If it lasts: roll back to a snapshot from before it began, and see what changed in the events.",
        )
    live, others = recent_ndcg(measured.quality.get("live", {})), ("fixed", "popularity")
    enough = measured.quality.get("live", {}).get("judged", 0.0) >= JUDGED_MIN
    for other in others if live is not None and enough and not measured.falls_back else ():
        theirs = recent_ndcg(measured.quality.get(other, {})) or 0.0
        if live is not None and live < WORSE_BELOW * theirs:
            name = "the same signals with fixed weights" if other == "fixed" else "plain popularity"
            yield Finding(
                "warn", f"What is learned is worse than {name}: NDCG@10 {live:.3f} against {theirs:.3f}.", "See quality below."
            )


def _of_freshness(sight: Sight) -> Iterator[Finding]:
    most_s = sight.fresh_s[1] if sight.fresh_s is not None and sight.measured.store_fault is None else 0.0
    if most_s > FRESH_S and _behind_s(sight) is None:
        yield Finding(
            "bad" if most_s > STALE_S else "warn",
            f"Within the last minute lists came {about(most_s)} after their event.",
            "See lists waiting and the stages in /metrics (streamer_stage_seconds_total): which of them is busy.",
        )
    behind_s = _behind_s(sight)
    if behind_s is not None:
        lag = _lag(sight)
        yield Finding(
            "warn",
            f"It is {lag:,} records behind the log, about {seconds(behind_s)} at the present rate.",
            "It catches up by itself, and renders fewer lists meanwhile. If the lag grows, the stream is faster than this worker.",
        )


def _of_records(sight: Sight) -> Iterator[Finding]:
    counters = sight.status.counters or {}
    lost = counters.get("lost")
    if isinstance(lost, int) and lost:
        yield Finding(
            "warn",
            f"{lost:,} events were removed by the log's retention before they were read, in the life of this state.",
            "Keep events for longer than a worker may be away (retention.ms of the topic).",
        )
    dead, events = _sum(sight.rows, "dead_per_s"), _sum(sight.rows, "events_per_s")
    if dead and dead > DEAD_SHARE * max(events, 1.0):
        share = dead / max(dead + events, 1e-9)
        yield Finding(
            "warn",
            f"{100 * share:.0f} % of the records of the last minute were rejected.",
            "Look at dead letters below: reason and value.",
        )
    if sight.measured.went_back:
        yield Finding(
            "note",
            f"The fold failed at a record {sight.measured.went_back} times since the start, and left it out.",
            "See the log.",
        )


def _of_snapshots(sight: Sight) -> Iterator[Finding]:
    measured = sight.measured
    if not measured.snapshot_ms:
        return
    age_s = (sight.now_ms - measured.snapshot_ms) / 1_000
    late_s = max(SNAPSHOT_LATE * sight.config.snapshots.interval_ms / 1_000, SNAPSHOT_LATE_S_MIN)
    if age_s > late_s and _sum(sight.rows, "events_per_s"):
        yield Finding(
            "warn",
            f"The last snapshot is {seconds(age_s)} old, {measured.snapshot_failures} failed since the start.",
            "A restart would do that much again. See the worker's log; look whether there is room and right to write (snapshots.root).",
        )


def _of_drift(sight: Sight) -> Iterator[Finding]:
    for name, drift in dict(sight.measured.drift).items():
        if drift.alarm_ms is not None and sight.now_ms - drift.alarm_ms < DRIFT_TOLD_MS:
            since = seconds((sight.now_ms - drift.alarm_ms) / 1_000)
            todo = "Nothing was changed by itself. Is it a release, a new feed, a campaign?"
            yield Finding("note", f"{since} ago {drift_words(name, drift)}.", todo)


def drift_words(name: str, drift: Drift) -> str:
    """What an alarm says.

    >>> drift_words("purchase", Drift(mean=0.2, samples=40, before=0.05))
    'the share of purchases among events went from 0.050 to 0.200'
    """
    what = DRIFTS.get(name, f"the share of {name.replace('_', ' ')}s among events")
    return f"{what} went from {drift.before or 0.0:.3f} to {drift.mean:.3f}"


def _freshness_words(sight: Sight) -> str:
    """How stale a list is."""
    last_ms = sight.measured.lists_written_ms
    last = (
        f"lists were last written {seconds((sight.now_ms - last_ms) / 1_000)} ago"
        if last_ms
        else "none was written since the start"
    )
    if sight.measured.store_fault is not None:
        return f"{last[0].upper()}{last[1:]}: readers get those."
    if sight.fresh_s is not None:
        half_s, most_s = sight.fresh_s
        return f"Lists follow an event in {seconds(half_s)}, 99 % of them in {about(most_s, most='')}, within the last minute."
    return f"{'No list' if _sum(sight.rows, 'events_per_s') else 'No events'} within the last minute; {last}."


def quality_words(measured: Measurements) -> str:
    """Whether learning helps."""
    if measured.quality.get("live", {}).get("judged", 0.0) < JUDGED_MIN:
        return f"Too little is judged yet to say whether learning helps ({JUDGED_MIN} interactions are needed)."
    live, fixed, popular = (recent_ndcg(measured.quality.get(name, {})) or 0.0 for name in ("live", "fixed", "popularity"))
    beside = f"NDCG@10 is {live:.3f}, {_beside(live, popular)} popularity ({popular:.3f}) and {_beside(live, fixed)} counting ({fixed:.3f})"
    says = "Learning helps" if live > fixed and live > popular else "Learning does not help now"
    return f"{says}: {beside}, over about the last 1,000 judged."


def _beside(one: float, other: float) -> str:
    if other <= 0.0:
        return "beside"
    share = one / other - 1.0
    return f"{100 * abs(share):.0f} % {'above' if share >= 0 else 'below'}"


def seconds(value: float) -> str:
    """A duration as people say it.

    >>> seconds(0.042), seconds(3.14), seconds(75.0), seconds(7200.0)
    ('0.042 s', '3.1 s', '75 s', '2.0 h')
    """
    if value < 1.0:
        return f"{value:.3f} s"
    if value < 10.0:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 600.0 else f"{value / 60:.0f} min" if value < 5_400.0 else f"{value / 3_600:.1f} h"


def about(value: float, most: str = "up to ") -> str:
    """A duration out of the histogram, whose buckets are wide beyond 10 s.

    >>> about(0.2), about(44.0), about(44.0, most=""), about(900.0)
    ('up to 0.200 s', '10 to 60 s', '10 to 60 s', 'more than 10 min')
    """
    if value <= 10.0:
        return f"{most}{seconds(value)}"
    return "10 to 60 s" if value <= 60.0 else "1 to 10 min" if value < 600.0 else "more than 10 min"


def _lag(sight: Sight) -> int:
    return sum(sum(parts.values()) for parts in dict(sight.status.lag).values())


def _behind_s(sight: Sight) -> float | None:
    """Seconds of work ahead where it is much, None where the worker is up with the log."""
    rate = _sum(sight.rows, "events_per_s") / max(len(sight.rows), 1)
    lag = _lag(sight)
    behind_s = lag / rate if rate else float(lag)
    return behind_s if lag > BEHIND_RECORDS and behind_s > BEHIND_S else None


def _sum(rows: Sequence[Row], name: str) -> float:
    return sum(value for row in rows if isinstance(value := row[name], int | float))
