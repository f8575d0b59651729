"""What the demo says at its end: to people, and as one line of JSON to programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from consumers.compose import snapshots_place
from consumers.words import in_words as reasons_in_words
from streamer.config import Config

if TYPE_CHECKING:
    from consumers.runtime import Worker
    from producers.formats.base import Recorded
    from streamer.ports import Recommended

SHOWN = 5
"""Of the sample user: last events, and entries of the list."""


class Played:
    """What the producer did, and the quality sums where the teaching part ended."""

    def __init__(self, records: list[Recorded]) -> None:
        self.records = records
        self.sent = 0
        self.seconds = 0.0
        self.taught: dict[str, dict[str, float]] = {}


def summary(config: Config, worker: Worker, played: Played, root: Path) -> dict[str, Any]:
    """All figures of the run, by name."""
    measured = worker.measurements
    counters: Any = worker.owner.status().counters or {}
    applied = sum(counters.get("applied", {}).values())
    served = measured.served
    user, events = _sample_user(played)
    found = worker.store.read(user)
    titles = _titles()
    return {
        "events": {name: counters.get(name, 0) for name in ("rejected", "duplicate", "late", "clamped")} | {"applied": applied},
        "events_per_s": round(played.sent / played.seconds) if played.seconds and played.sent else 0,
        "seconds": round(played.seconds, 1),
        "freshness_s": {"p50": round(measured.freshness.quantile(0.5), 3), "p99": round(measured.freshness.quantile(0.99), 3)},
        "lists_written": measured.lists_written,
        "fresh": {method: _quality(sums, played.taught.get(method, {})) for method, sums in measured.quality.items()},
        "as_served": {
            "hr@10": _ratio(served["hits"], served["judged"]),
            "ndcg@10": _ratio(served["ndcg"], served["judged"]),
            "judged_share": _ratio(served["judged"], served["arrived"]),
        },
        "user": {
            "user_id": user,
            "last_events": [titles.get(item, item) for item in events],
            "list": [_entry(entry, titles) for entry in (found.items if found else ())[:SHOWN]],
        },
        "where": {
            "data": str(root),
            "lists": worker.url,
            "key": f"{config.namespace}:v1:rec:{user}",
            "snapshots": snapshots_place(config),
            "console": worker.page.url,
            "metrics": f"{worker.page.url}/metrics",
        },
    }


def _quality(sums: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """HR@10 and NDCG@10 over what was judged after the teaching part."""
    judged = sums["judged"] - before.get("judged", 0.0)
    return {
        "hr@10": _ratio(sums["hits"] - before.get("hits", 0.0), judged),
        "ndcg@10": _ratio(sums["ndcg"] - before.get("ndcg", 0.0), judged),
        "judged": judged,
    }


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _sample_user(played: Played) -> tuple[str, list[str]]:
    """The user of the last event, with his last items, newest first."""
    decoded = [msgspec.json.decode(record.value) for record in played.records]
    user = decoded[-1]["user_id"]
    return user, [event["item_id"] for event in reversed(decoded) if event["user_id"] == user][:SHOWN]


def _titles() -> dict[str, str]:
    from producers.formats import read_items  # noqa: PLC0415 - the help need not wait for it
    from producers.recordings import movielens_100k  # noqa: PLC0415 - as above

    documents = (msgspec.json.decode(record.value) for record in read_items(movielens_100k().items))
    return {document["item_id"]: document["title"] for document in documents}


def _entry(entry: Recommended, titles: Mapping[str, str]) -> dict[str, Any]:
    return {"title": titles.get(entry.item_id, entry.item_id), "score": entry.score, "why": reasons_in_words(entry, titles)}


def in_words(result: Mapping[str, Any]) -> str:
    """The summary for people."""
    events, fresh, served, where, user = (result[name] for name in ("events", "fresh", "as_served", "where", "user"))
    freshness = result["freshness_s"]
    command = "streamer" if shutil.which("streamer") else sys.argv[0]
    served_label = f"as served, {served['judged_share']:.0%} judged (lists lag in a replay at full speed)"
    lines = [
        "",
        f"{events['applied']:,} events applied, {events['rejected']} rejected, {events['duplicate']} duplicate",
        f"{result['events_per_s']:,} events/s for {result['seconds']} s; {result['lists_written']:,} lists written",
        f"from an event to the list in the store: {freshness['p50']} s for half of them, at most {freshness['p99']} s for 99 %",
        "",
        "how good the lists are (after the first tenth of the stream)   HR@10   NDCG@10",
        *(
            f"  {label:60s} {fresh[method]['hr@10']:6.3f}    {fresh[method]['ndcg@10']:6.3f}"
            for method, label in (
                ("live", "fresh: scored just before each event is learned"),
                ("fixed", "the same signals with fixed weights"),
                ("popularity", "popularity"),
            )
        ),
        f"  {served_label:60s} {served['hr@10']:6.3f}    {served['ndcg@10']:6.3f}",
        "",
        f"user {user['user_id']} last chose: {'; '.join(user['last_events'])}",
        "and is offered:",
        *(f"  {n}. {entry['title']}: {entry['why']}" for n, entry in enumerate(user["list"], 1)),
        "",
        f"data in {where['data']}; lists in {where['lists']} as {where['key']}; snapshots in {where['snapshots']}",
        f"next: `{command} demo --root {where['data']} --resume --serve` keeps it up, with a page to look at; README.md says how to send your own events, with Kafka and Redis",
    ]
    return "\n".join(lines)
