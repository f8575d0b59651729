"""What a backtest found, as one tree of plain values (``report.json``), and the lists that the engine gave (``lists.jsonl``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from streamer.config.keys import Key, all_keys
from streamer.config.masking import masked
from streamer.config.tree import Config
from streamer.evaluate import figures, reranking
from streamer.evaluate.engines import FREEZE_AT
from streamer.evaluate.exposure import exposure_figures
from streamer.evaluate.metrics import LIST, TOP
from streamer.evaluate.names import OURS, reranked
from streamer.evaluate.prequential import BINS, Run
from streamer.evaluate.stream import Stream
from streamer.evaluate.verdict import verdict
from streamer.events.model import EVENT_TYPE_NAMES

FORMAT = 1
"""Of the report; raised when a field changes its meaning or goes."""

READ_SECTIONS = ("windows", "catalog", "signals", "head", "ranking", "encoder")
READ_KEYS = ("seed", "redis.ttl_s")
UNREAD_KEYS = ("ranking.publish_ms", "encoder.batch_items_max", "encoder.cache_root", "encoder.cache_vectors_max")
"""Of the sections that a backtest reads: keys on which nothing in its report depends."""

ABOUT = {
    "streamer": "the engine as configured, learning online",
    "bilinear": "the engine with the plain two-tower head",
    "attention": "the engine with the attention head",
    "towers": "the engine's two towers alone, over the whole catalogue: no candidates, no counting signals, no gate",
    "frozen": f"the engine, gate and head learning no more after {FREEZE_AT:.0%} of the stream; counts go on",
    "fixed": "the engine's counting signals with fixed weights, nothing learned",
    "popularity": "how often each item was chosen so far",
    "decayed": "popularity of late: counts that decay",
    "transition": "what was chosen right after the user's last item",
    "covisit": "what was chosen near the user's last items",
    "repeat": "the user's own items, then what was chosen near them",
    "vsknn": "V-SKNN: neighbouring sessions (Ludewig and Jannach 2018)",
    "stan": "STAN: neighbouring sessions with decay by place and time (Garg et al. 2019)",
    "isgd": "ISGD: matrix factorization by one step an event (Vinagre et al. 2014)",
    "ials": "iALS: implicit matrix factorization, refitted now and then (Hu et al. 2008)",
    "biasedmf": "biased matrix factorization, online, by the river library",
}
"""What each method is, for people; the engine re-ranked says its setting."""


def report_of(
    stream: Stream, runs: Mapping[str, Run], config: Config, *, ran_on: Mapping[str, Any], versions: Mapping[str, str]
) -> dict[str, Any]:
    """All that ``report.json`` says.

    Args:
        stream: What the methods ran over.
        runs: The runs by method, at least one.
        config: What the engine ran with.
        ran_on: What the caller knows of the files.
        versions: Of this program and what it runs on.
    """
    targets = figures.targets_of(stream)
    names = sorted(runs, key=lambda name: name != OURS)  # the first is the one that the others are compared with
    value_MTQ = {name: figures.values_of(runs[name].rank_M[targets.reference_T]) for name in names}
    report: dict[str, Any] = {
        "format": FORMAT,
        "ran_on": dict(ran_on) | _stream_facts(stream, targets),
        "config": changed(config),
        "effective": effective(config),
        "seed": config.seed,
        "versions": dict(versions),
        "protocol": _protocol(config, runs),
        "compared_with": names[0],
        "methods": {name: {"about": about(name)} | figures.figures_of(runs[name], targets) for name in names},
        "intervals": {window: figures.intervals(value_MTQ, targets, window, config.seed) for window in figures.WINDOWS},
    }
    for name in names:
        exposure_I = runs[name].exposure_I
        if exposure_I is not None:
            report["methods"][name]["exposure"] = exposure_figures(exposure_I, stream)
        if runs[name].likeness:
            report["methods"][name]["likeness"] = runs[name].likeness
    report["reranking"] = reranking.rows(report)
    if OURS in runs and runs[OURS].served:
        report["served"] = figures.served_figures(runs[OURS], targets)
    report["verdict"] = verdict(report)
    return report


def about(name: str) -> str:
    """What a method is, for people."""
    return ABOUT[name] if reranked(name) is None else f"the engine with {reranking.setting_in_words(name)}"


def _stream_facts(stream: Stream, targets: figures.Targets) -> dict[str, Any]:
    count_by_type = np.bincount(stream.type_N, minlength=len(EVENT_TYPE_NAMES)).tolist()
    return {
        "events": stream.events,
        "types": {name: count for name, count in zip(EVENT_TYPE_NAMES, count_by_type, strict=True) if count},
        "groups": stream.groups,
        "targets": len(targets.reference_T),
        "users": len(stream.user_ids),
        "items": stream.items_in_events,
        "items_only_in_documents": len(stream.item_ids) - stream.items_in_events,
        "documents": len(stream.documents),
        "first_ms": int(stream.time_N[0]),
        "last_ms": int(stream.time_N[-1]),
    }


def _protocol(config: Config, runs: Mapping[str, Run]) -> dict[str, Any]:
    some = next(iter(runs.values()))
    return {
        "windows": {name: list(edges) for name, edges in figures.WINDOWS.items()},
        "chief_window": figures.CHIEF,
        "metrics": list(figures.METRICS),
        "top": TOP,
        "list_items": LIST,
        "exclude_seen": config.ranking.exclude_seen,
        "exclude_seen_share": float(some.leaves_out_G.mean()),
        "bins": BINS,
        "resamples": figures.RESAMPLES,
        "interval": "95 %, paired bootstrap by user",
        "frozen_at": FREEZE_AT,
    }


def changed(config: Config) -> dict[str, object]:
    """The settings that are not the defaults, by key; secrets masked.

    >>> changed(Config(seed=7))
    {'seed': 7}
    """
    return {key.name: masked(key.field, value) for key, value in _values(config) if value != key.default}


def effective(config: Config) -> dict[str, object]:
    """What a backtest reads of the settings, the defaults too, which another release may change; by key.

    >>> effective(Config())["head.kind"], "kafka.partitions" in effective(Config())
    ('gated', False)
    """
    found = {key.name: value for key, value in _values(config) if key.section in READ_SECTIONS or key.name in READ_KEYS}
    return {name: value for name, value in found.items() if name not in UNREAD_KEYS}


def _values(config: Config) -> Iterator[tuple[Key, object]]:
    for key in all_keys().values():
        section = getattr(config, key.section) if key.section else config
        yield key, getattr(section, key.field)


def list_lines(stream: Stream, run: Run) -> Iterator[bytes]:
    """The lines of ``lists.jsonl``: the list of every event with its user and time, in the order of the file that was read."""
    assert run.item_GK is not None
    group_N = stream.group_N
    for event in np.argsort(stream.line_N, kind="stable").tolist():
        items = [stream.item_ids[item] for item in run.item_GK[group_N[event]].tolist() if item >= 0]
        line = {
            "event": int(stream.line_N[event]),
            "items": items,
            "user_id": stream.user_ids[stream.user_N[event]],
            "timestamp": int(stream.time_N[event]),
        }
        yield msgspec.json.encode(line) + b"\n"
