"""A comparison as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamer.compare import words
from streamer.compare.words import HASH, Result

ITEMS = 3
"""Items told a user or event, of those that came and of those that went: the page and ``--json`` have more."""


def lines(found: Result) -> Iterator[str]:
    """All that a terminal shows; A is always the first of the two runs."""
    yield from (f"{side.upper()}: {_run(found[side])}" for side in "ab")
    yield from words.sentences(found)
    for title, name in (("settings", "configuration"), ("versions", "versions"), ("input", "inputs"), ("reached", "reached")):
        yield from _changes(title, found.get(name, ()))
    yield from _changes("beside that, which counts as no difference", found["circumstances"])
    yield from _backtests(found) if found["kind"] == "backtests" else _snapshots(found)


def _run(about: Mapping[str, Any]) -> str:
    if "snapshot" in about:
        return (
            f"snapshot {about['run']}, {about['applied']:,} events applied, head step {about['head_step']}, "
            f"state sha256 {about['state_sha256'][:HASH]}"
        )
    return f"backtest {about['run']}, {about['events']:,} events, results sha256 {about['results_sha256'][:HASH]}"


def _changes(title: str, changes: Sequence[Result]) -> Iterator[str]:
    if changes:
        yield f"{title}:"
    for one in changes:
        only = f"  (only in {one['only_in'].upper()})" if "only_in" in one else ""
        yield f"  {one['key']:34s} {words.value(one['a'])}  ->  {words.value(one['b'])}{only}"


def _backtests(found: Result) -> Iterator[str]:
    for name, method in found["methods"].items():
        yield f"{name}:" if method["differing"] else f"{name}: all figures are the same"
        if method["differing"]:
            yield from _windows(method["windows"])
            yield from _series(method["over_time"])
    yield from _changes("lists as served", found["served"])
    if found["lists"] and found["lists"]["compared"]:
        yield from _lists(found["lists"])


def _windows(windows: Mapping[str, Result]) -> Iterator[str]:
    for window, means in windows.items():
        for metric, one in means.items():
            if metric != "targets" or one["difference"]:
                yield (
                    f"  {window + ' %':10s} {metric.upper():9s}{words.number(one['a']):>10s}{words.number(one['b']):>10s}"
                    f"{words.signed(one['difference']):>10s}"
                )


def _series(over_time: Mapping[str, Result]) -> Iterator[str]:
    for metric, one in over_time.items():
        if one["first"] is None:
            yield f"  over time  {metric.upper()}: the same in every part"
            continue
        largest = one["largest"]
        most = f", most by {largest['difference']:.4f} in part {words.part(largest['part'])}" if largest else ""
        yield (
            f"  over time  {metric.upper()}: differs in {one['parts_differing']} of {one['parts']} parts, first in part "
            f"{words.part(one['first'])}{most}"
        )


def _lists(lists: Result) -> Iterator[str]:
    yield f"lists: sha256 {lists['sha256']['a'][:HASH]} and {lists['sha256']['b'][:HASH]}"
    if lists["most"]:
        yield "lists that differ most:"
    for one in lists["most"]:
        yield f"  {words.event_in_words(one)}: {words.percent(one['overlap'])} in common, from place {one['first_place']} on"
        for kind in ("went", "came"):
            if one[kind]:
                yield f"    {kind}: {_some(one[kind])}"
    if lists["users"]:
        yield "users whose lists differ most:"
    for one in lists["users"]:
        yield f"  {words.shown(one['user_id'])}: {one['lists']:,} lists differ, {words.percent(one['mean_overlap'])} in common on average"


def _snapshots(found: Result) -> Iterator[str]:
    tables, lists = found["tables"], found["lists"]
    yield from _changes("counters", found["counters"])
    if tables["differing"]:
        yield "tables that differ:"
    for one in tables["differing"]:
        hashes = " ".join((one["sha256"][side] or "-")[:HASH] for side in "ab")
        yield f"  {one['name']:22s} {hashes}  {words.table_in_words(one)}"
    if lists is None or not lists["users"]:
        return
    yield "users whose lists differ most:"
    for user in lists["users"]:
        yield f"  {words.shown(user['user_id'])}: {words.percent(user['overlap'])} in common, rank-biased overlap {user['rbo']:.4f}"
        for kind in ("went", "came", "moved"):
            for one in user[kind][:ITEMS]:
                yield f"    {kind} {words.shown(one['item_id'])}: {words.reason_in_words(one)}"


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - ITEMS} more" if len(items) > ITEMS else ""
    return ", ".join(words.shown(item) for item in items[:ITEMS]) + more
