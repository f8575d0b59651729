"""What a comparison found, in words: the sentences that stand first, and how its values are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from streamer.evaluate.plots import in_words
from streamer.evaluate.prequential import BINS

Result = Mapping[str, Any]
HASH = 12
"""Digits of a hash that are shown where it stands beside another."""
NAMES_SHOWN = 6
RAN_WITH = {"configuration": "settings", "versions": "versions", "inputs": "input"}
"""What is compared of what the runs were run with, by its name in a result."""


def sentences(found: Result) -> list[str]:
    """What differs, the chief thing first."""
    told = [_chief(found), _of_what_was_run(found)]
    told += _of_backtests(found) if found["kind"] == "backtests" else _of_snapshots(found)
    return [sentence for sentence in told if sentence]


def _chief(found: Result) -> str:
    what = "figure" if found["kind"] == "backtests" else "table"
    if found["equal"]:
        return f"No difference: {_all_that_is_equal(found)}."
    if found["kind"] == "backtests" and not found["methods"]:
        return "No method is in both runs, so nothing that came out can be compared."
    if found["same_results"]:
        return f"The runs differ in what they were run on or with, not in what came out: {_all_that_is_equal(found)}."
    ran = [words for name, words in RAN_WITH.items() if found.get(name)]
    if ran:
        return f"The runs differ in what came out, and in {_listed(ran)}, which may be why."
    more = "; the snapshots did not read the same records" if found.get("reached") else ""
    why = "" if more else ", though nothing that is compared of what they were run on or with does: look for what is random"
    return f"The runs differ in what came out, {what} by {what}{why}{more}."


def _all_that_is_equal(found: Result) -> str:
    if found["kind"] == "snapshots":
        return f"all {found['tables']['count']} tables are the same bit for bit, sha256 {found['a']['state_sha256'][:HASH]}, and so is every list made of them"
    parts = ["every figure of the methods that both ran"]
    if found["lists"] and found["lists"]["compared"]:
        parts.append(f"all {found['lists']['events']:,} lists")
    if found["state"] and not found["state"]["differing"]:
        parts.append(
            f"all {found['state']['tables']} tables of the state at the end, sha256 {found['state']['sha256']['a'][:HASH]}"
        )
    return f"{_listed(parts)} {'are' if len(parts) > 1 else 'is'} the same"


def _of_what_was_run(found: Result) -> str:
    keys = [one["key"] for one in found["configuration"]]
    parts = [f"settings: {_some(keys)}"] * bool(keys)
    versions = [one["key"] for one in found["versions"]]
    parts += [f"versions: {_some(versions)}"] * bool(versions)
    inputs = [one["key"] for one in found.get("inputs", ())]
    parts += [f"input: {_some(inputs)}"] * bool(inputs)
    return f"What differs in {'; '.join(parts)}." if parts else ""


def _of_backtests(found: Result) -> list[str]:
    told = []
    for name, method in found["methods"].items():
        if method["differing"]:
            told.append(_of_method(name, method))
    state, lists = found["state"], found["lists"]
    if state and state["differing"]:
        told.append(
            f"{len(state['differing'])} of {state['tables']} tables of the state at the end differ: {_some(state['differing'])}."
        )
    if lists is None:
        told.append("Neither run kept its lists: run both with --lists to have them compared event by event.")
    elif not lists["compared"]:
        told.append(
            f"Only run {lists['only_in'].upper()} kept its lists: run both with --lists to have them compared event by event."
        )
    else:
        told += _of_lists(lists)
    return told


def _of_method(name: str, method: Result) -> str:
    window, means = next(iter(method["windows"].items()))
    parts = [
        f"{metric.upper()} {number(found['a'])} and {number(found['b'])} ({signed(found['difference'])})"
        for metric, found in means.items()
        if metric != "targets" and found["a"] != found["b"]
    ]
    begun = [one["first"] for one in method["over_time"].values() if one["first"] is not None]
    where = f"; the first part of the stream that differs is {part(min(begun))}" if begun else ""
    over = f"over {window.replace('-', ' to ')} % of the stream "
    return f"{name}: {over + ', '.join(parts) if parts else 'its means are the same, other figures are not'}{where}."


def _of_lists(lists: Result) -> list[str]:
    told = []
    if any(lists["only_in"].values()):
        told.append(f"Lists of {lists['only_in']['a']:,} events are in A alone, of {lists['only_in']['b']:,} in B alone.")
    if not lists["differing"]:
        return told
    told.append(
        f"{lists['differing']:,} of {lists['events']:,} lists differ, {percent(1 - lists['equal_share'])}; on average two lists of one "
        f"event share {percent(lists['mean_overlap'])} of their entries (rank-biased overlap {lists['mean_rbo']:.4f})."
    )
    first = lists["first"]
    told.append(f"The first in time is that of {event_in_words(first)}, from place {first['first_place']} on.")
    if lists["users_differing"]:
        least = "at least " if lists["users_left_out"] else ""
        told.append(f"They are lists of {least}{lists['users_differing']:,} users.")
    return told


def _of_snapshots(found: Result) -> list[str]:
    tables, lists = found["tables"], found["lists"]
    told = []
    if found["reached"]:
        told.append(f"How far they have come differs: {_some([one['key'] for one in found['reached']])}.")
    if found["counters"]:
        parts = [f"{one['key']} {value(one['a'])} and {value(one['b'])}" for one in found["counters"]]
        told.append(f"Counters differ: {', '.join(parts)}.")
    if tables["differing"]:
        names = [one["name"] for one in tables["differing"]]
        told.append(f"{len(names)} of {tables['count']} tables differ: {_some(names)}.")
    if lists is None:
        return told
    told.append(
        f"Of {lists['users_in_both']:,} users in both, {lists['compared']:,} were ranked in both at the same time: "
        f"{percent(lists['equal_share'])} have identical lists; on average two lists share {percent(lists['mean_overlap'])} of their "
        f"entries (rank-biased overlap {lists['mean_rbo']:.4f})."
        if lists["compared"]
        else "No user is in both, so no lists were compared."
    )
    fixed = lists["by_fixed_weights"]
    if fixed["a"] != fixed["b"]:
        told.append(
            f"{'A' if fixed['a'] else 'B'} ranks by the weights of the start, since its learned ones have been worse lately."
        )
    return told


def table_in_words(one: Result) -> str:
    """In what a table differs."""
    if "rows" not in one:
        return f"in {'A' if one['sha256']['b'] is None else 'B'} alone"
    if one["rows"] == "shape":
        return f"another shape: {one['shape']['a']} and {one['shape']['b']}"
    kind = one["rows"]
    parts = [
        f"{one['only_in'][side]:,} {_rows(kind, one['only_in'][side])} in {side.upper()} alone"
        for side in "ab"
        if one["only_in"][side]
    ]
    if one["differing"]:
        parts.append(f"{one['differing']:,} of {one['in_both']:,} {_rows(kind, one['in_both'])} in both differ")
        if one["largest"] is not None:
            parts.append(f"by {one['largest']:.3g} at most")
    if not parts:
        parts.append("the same by id, in another order or place")
    examples = f" ({', '.join(map(shown, one['examples']))}{', …' if one['differing'] + sum(one['only_in'].values()) > len(one['examples']) else ''})"
    return ", ".join(parts) + (examples if one["examples"] else "")


def _rows(kind: str, count: int) -> str:
    singular = {"users": "user", "items": "item", "entries": "entry", "places": "place"}[kind]
    return singular if count == 1 else kind


def event_in_words(one: Result) -> str:
    """An event by its number, and by user and time where they are known."""
    user = f" of user {shown(one['user_id'])}" if one["user_id"] is not None else ""
    when = f" at {moment(one['timestamp'])}" if one["timestamp"] is not None else ""
    return f"event {one['event']}{user}{when}"


def term_in_words(term: str) -> str:
    """A term of the score for people."""
    return "trends and popularity" if term == "trends" else in_words(term)


def reason_in_words(one: Result) -> str:
    """Why an item came or went: its places and scores, and the terms of its score that changed most."""
    place, score = one["place"], one["score"]
    if place["a"] is None and place["b"] is None:
        return "no candidate in either"
    sides = ["no candidate" if place[side] is None else f"place {place[side]} with {score[side]:.3f}" for side in "ab"]
    terms = [f"{term_in_words(term['term'])} {term['a']:.3f} to {term['b']:.3f}" for term in one["terms"]]
    return f"{sides[0]}, then {sides[1]}" + (f": {'; '.join(terms)}" if terms else ": its score is the same, others' changed")


def part(n: int) -> str:
    """A part of the stream.

    >>> part(5)
    '6 of 50 (10 to 12 %)'
    """
    return f"{n + 1} of {BINS} ({100 * n // BINS} to {100 * (n + 1) // BINS} %)"


def moment(ms: int) -> str:
    """Epoch milliseconds as RFC 3339."""
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(text: str) -> str:
    r"""The text with what a terminal would act on escaped: ids are their producer's words.

    >>> shown("a\x1b[0m")
    'a\\x1b[0m'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def value(one: object) -> str:
    """A value of a setting or counter; None is what is not there.

    >>> value(None), value(1_000), value(["a"])
    ('-', '1000', 'a')
    """
    if one is None:
        return "-"
    return ", ".join(map(str, one)) if isinstance(one, list | tuple) else str(one)


def number(one: float | None) -> str:
    """A mean, or a count."""
    return "-" if one is None else f"{one:,}" if isinstance(one, int) else f"{one:.4f}"


def signed(one: float | None) -> str:
    """A difference, in enough digits to be seen.

    >>> signed(0.0123), signed(-2e-07), signed(0.0)
    ('+0.0123', '-2e-07', '0')
    """
    if one is None:
        return "-"
    if one == 0:
        return "0"
    return f"{one:+,}" if isinstance(one, int) else f"{one:+.4f}" if abs(one) >= 5e-5 else f"{one:+.1g}"


def percent(share: float) -> str:
    """A share in percent; what is not quite all or nothing does not look so.

    >>> percent(1.0), percent(0.99999), percent(0.25)
    ('100 %', '99.999 %', '25.0 %')
    """
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    return f"{100 * share:.1f} %" if 0.0005 <= share <= 0.9995 else f"{100 * share:.5g} %"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
