"""A comparison as one page: complete in itself, no script, nothing fetched, in the style of the backtest's report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from streamer.compare import words
from streamer.compare.words import Result
from streamer.evaluate.plots import OF_STREAM, SHARES, figure
from streamer.evaluate.style import STYLE
from streamer.evaluate.svg import Series, lines

TEACHES = 0.1
"""Part of the stream that only teaches."""
MORE_STYLE = ".left td, .left th { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7em; }"


def page(found: Result) -> str:
    """The page of what ``compare_backtests`` or ``compare_snapshots`` found."""
    title = f"{found['a']['run']} and {found['b']['run']}"
    body = [
        f"<h1>What differs between {escape(title)}</h1>",
        '<p class="dim">A is the first run, B the second.</p>',
        _tiles(found),
        '<section><h2>In short</h2><div class="verdict">',
        *(f"<p>{escape(sentence)}</p>" for sentence in words.sentences(found)),
        "</div></section>",
        _changes("Settings", found["configuration"]),
        _changes("Versions", found["versions"]),
        _changes("Input", found.get("inputs", ())),
        *(_backtests(found) if found["kind"] == "backtests" else _snapshots(found)),
        _changes("What counts as no difference", found["circumstances"]),
        _hashes(found),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{MORE_STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{chr(10).join(filter(None, body))}\n</main></body></html>\n'


def _tiles(found: Result) -> str:
    count = "applied" if found["kind"] == "snapshots" else "events"
    tiles = [
        ("none" if found["equal"] else "yes", "difference"),
        ("the same" if found["same_results"] else "not the same", "what came out"),
        *((f"{found[side][count]:,}", f"events in {side.upper()}") for side in "ab"),
    ]
    lists = found["lists"]
    if lists and lists.get("compared"):
        tiles += [
            (words.percent(lists["equal_share"]), "lists identical"),
            (words.percent(lists["mean_overlap"]), "of entries in common"),
        ]
    return f'<ul class="tiles">{"".join(f"<li><b>{escape(value)}</b>{name}</li>" for value, name in tiles)}</ul>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: bool = False) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    kind = ' class="left"' if left else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _section(title: str, *inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(inside)}</section>"


def _changes(title: str, changes: Sequence[Result]) -> str:
    if not changes:
        return ""
    rows = [(one["key"], words.value(one["a"]), words.value(one["b"])) for one in changes]
    return _section(title, _table(("", "A", "B"), rows, left=True))


def _backtests(found: Result) -> Iterator[str]:
    yield from (_method(name, method) for name, method in found["methods"].items() if method["differing"])
    same = [name for name, method in found["methods"].items() if not method["differing"]]
    if same:
        yield _section("Methods with the same figures", f"<p>{escape(', '.join(same))}</p>")
    yield _changes("Lists as served", found["served"])
    state, lists = found["state"], found["lists"]
    if state and state["differing"]:
        names = ", ".join(state["differing"])
        yield _section(
            "State at the end", f"<p>{len(state['differing'])} of {state['tables']} tables differ: {escape(names)}.</p>"
        )
    if lists and lists["compared"] and lists["differing"]:
        yield _lists(lists)


def _method(name: str, method: Result) -> str:
    rows = [
        (
            f"{metric.upper()}, {window.replace('-', ' to ')} %",
            *(words.number(one[side]) for side in "ab"),
            words.signed(one["difference"]),
        )
        for window, means in method["windows"].items()
        for metric, one in means.items()
    ]
    plots = "".join(_plot(metric, one) for metric, one in method["over_time"].items())
    return _section(name, _table(("", "A", "B", "B less A"), rows), f'<p></p><div class="plots">{plots}</div>')


def _plot(metric: str, one: Result) -> str:
    shown = metric.upper()
    if one["first"] is None:
        caption = "The same in every part of the stream."
    else:
        caption = f"Differs in {one['parts_differing']} of {one['parts']} parts, first in part {words.part(one['first'])}."
    series = [Series("A", one["a"], 0), Series("B", one["b"], 1)]
    drawing = lines(series, SHARES, x_title=OF_STREAM, y_title=shown, mark=TEACHES)
    return figure(f"{shown} over the stream", f"{caption} What lies before the dashed line only teaches.", drawing, series)


def _lists(lists: Result) -> str:
    events = [
        (
            words.event_in_words(one),
            words.percent(one["overlap"]),
            f"{one['rbo']:.4f}",
            str(one["first_place"]),
            ", ".join(one["went"]) or "-",
            ", ".join(one["came"]) or "-",
        )
        for one in [lists["first"], *lists["most"]]
    ]
    heads = ("event", "in common", "rank-biased overlap", "from place", "went", "came")
    inside = ["<p>The first list that differs, then those that differ most.</p>", _table(heads, events, left=True)]
    if lists["users"]:
        users = [(one["user_id"], f"{one['lists']:,}", words.percent(one["mean_overlap"])) for one in lists["users"]]
        inside += ["<p></p>", _table(("user", "lists that differ", "in common, of those"), users)]
    return _section("Lists", *inside)


def _snapshots(found: Result) -> Iterator[str]:
    yield _changes("How far they have come", found["reached"])
    yield _changes("Counters", found["counters"])
    if found["tables"]["differing"]:
        rows = [
            (
                one["name"],
                one["about"],
                words.table_in_words(one),
                *((one["sha256"][side] or "-")[: words.HASH] for side in "ab"),
            )
            for one in found["tables"]["differing"]
        ]
        yield _section("Tables", _table(("table", "holds", "in what it differs", "sha256 in A", "in B"), rows, left=True))
    if found["lists"] and found["lists"]["users"]:
        yield _section(
            "Users whose lists differ most",
            "<p>With the terms of the score that changed most; an item whose own score is the same came or went because others' changed.</p>",
            *(_user(user) for user in found["lists"]["users"]),
        )


def _user(user: Mapping[str, Any]) -> str:
    rows = [(kind, one["item_id"], words.reason_in_words(one)) for kind in ("went", "came", "moved") for one in user[kind]]
    title = f"{user['user_id']}: {words.percent(user['overlap'])} in common, rank-biased overlap {user['rbo']:.4f}"
    return f"<details open><summary>{escape(title)}</summary>{_table(('', 'item', 'why'), rows, left=True)}</details>"


def _hashes(found: Result) -> str:
    name = "state_sha256" if found["kind"] == "snapshots" else "results_sha256"
    rows = [("state" if found["kind"] == "snapshots" else "results", found["a"][name], found["b"][name])]
    if found["kind"] == "backtests":
        rows.append(("recording", found["a"]["events_sha256"], found["b"]["events_sha256"]))
        for what, one in (("state at the end", found["state"]), ("lists", found["lists"])):
            if one and "sha256" in one:
                rows.append((what, one["sha256"]["a"], one["sha256"]["b"]))
    return _section("Hashes (SHA-256)", _table(("", "A", "B"), rows, left=True))
