"""The report as one page that a person reads without help: complete in itself, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import PurePath
from typing import Any

from streamer.evaluate import plots, reranking
from streamer.evaluate.names import is_engine
from streamer.evaluate.style import STYLE

Report = Mapping[str, Any]


def page(report: Report) -> str:
    """The page of a report as ``report_of`` makes it."""
    name = PurePath(report["ran_on"]["events_file"]["path"]).name
    body = [
        f"<h1>Backtest of {escape(name)}</h1>",
        '<p class="dim">Each event was predicted from what came before it, then learned. This page says how good the lists were.</p>',
        _tiles(report),
        *_warnings(report),
        '<section><h2>Verdict</h2><div class="verdict">',
        *(f"<p>{escape(sentence).replace(' %', '&nbsp;%')}</p>" for sentence in report["verdict"]),
        "</div></section>",
        "<section><h2>All methods</h2>",
        _explained_table(report),
        "</section>",
        *plots.sections(report),
        _served(report),
        _exposure(report),
        reranking.section(report),
        _ran_on(report),
        _how_to_read(report),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Backtest of {escape(name)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{chr(10).join(filter(None, body))}\n</main></body></html>\n'


def _tiles(report: Report) -> str:
    ran = report["ran_on"]
    excluded = report["protocol"]["exclude_seen_share"]
    seen = (
        "left out of lists" if excluded == 1 else "may come again" if excluded == 0 else f"left out in {excluded:.0%} of lists"
    )
    tiles = (
        (f"{ran['events']:,}", "events"),
        (f"{ran['users']:,}", "users"),
        (f"{ran['items']:,}", "items"),
        (f"{_day(ran['first_ms'])} to {_day(ran['last_ms'])}", "recorded"),
        (f"{ran['documents']:,}" if ran["documents"] else "none", "item documents"),
        (seen, "items that a user has had"),
    )
    return f'<ul class="tiles">{"".join(f"<li><b>{escape(value)}</b>{name}</li>" for value, name in tiles)}</ul>'


def _warnings(report: Report) -> Iterable[str]:
    ran = report["ran_on"]
    if ran["rejected"]["count"]:
        named = "".join(f"<li>{escape(problem)}</li>" for problem in ran["rejected"]["named"])
        yield f'<div class="warn"><p>{ran["rejected"]["count"]:,} records could not be used and are not in these figures. The first:</p><ul>{named}</ul></div>'
    if ran["repeated_event_ids"]:
        yield f'<p class="warn">{ran["repeated_event_ids"]:,} events repeat an event id. They were kept here; a worker would apply them once.</p>'


def _explained_table(report: Report) -> str:
    window = report["protocol"]["chief_window"]
    ours = report["compared_with"]
    return (
        f"<p>Means over {window.replace('-', ' to ')} % of the stream; the first tenth only teaches. <b>HR@10</b>: how often the item chosen next was "
        "among the first ten. <b>NDCG@10</b>: the same, counting more the higher it stood. <b>MRR</b>: the mean of 1 / its place in "
        f"the list of {report['protocol']['list_items']}. The difference is {escape(ours)} less the method, with a 95 % interval: "
        '<span class="sure">green</span>, '
        f'{escape(ours)} is surely better; <span class="against">red</span>, surely worse; <span class="open">grey</span>, open.</p>'
        f'<div class="wide">{_table(report, window)}</div>{_other_windows(report)}'
    )


def _table(report: Report, window: str) -> str:
    ours, methods = report["compared_with"], report["methods"]
    by_quality = sorted(methods, key=lambda name: -(methods[name]["windows"][window]["ndcg@10"] or 0.0))
    parts = (
        ("Methods", [name for name in by_quality if name == ours or not is_engine(name)]),
        ("The engine run otherwise", [name for name in by_quality if name != ours and is_engine(name)]),
    )
    heads = ("method", "NDCG@10", "difference", "HR@10", "difference", "MRR", "lists with entries", "seconds")
    rows = []
    for title, names in parts:
        if names:
            rows.append(f'<tr class="part"><th colspan="{len(heads)}">{title}</th></tr>')
            rows += [_row(report, window, name) for name in names]
    return (
        f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _row(report: Report, window: str, name: str) -> str:
    found = report["methods"][name]
    means, told = found["windows"][window], report["intervals"][window].get(name)
    mine = name == report["compared_with"]
    cells = []
    for metric in ("ndcg@10", "hr@10"):
        cells += [_mean(means[metric]), "" if mine or told is None else _difference(told[metric])]
    cells.append(_mean(means["mrr"]))
    answered = found["answered_share"]
    cells += ["" if answered is None else f"{answered:.0%}", f"{found['seconds']:.0f}"]
    head = f"<th>{escape(name)}<small>{escape(found['about'])}</small></th>"
    kind = ' class="mine"' if mine else ""
    return f"<tr{kind}>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _difference(told: Mapping[str, Any]) -> str:
    low, high = told["difference_interval"]
    kind = "sure" if low > 0 else "against" if high < 0 else "open"
    return f'<span class="{kind}">{told["difference"]:+.4f}</span><small>{low:+.4f} to {high:+.4f}</small>'


def _mean(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _other_windows(report: Report) -> str:
    """The same for the other windows, for users with a history and for purchases alone, folded away."""
    chief = report["protocol"]["chief_window"]
    folded = [
        f'<details><summary>Over {window.replace("-", " to ")} % of the stream</summary><div class="wide">{_table(report, window)}</div></details>'
        for window in report["protocol"]["windows"]
        if window != chief
    ]
    for field, title in (("known_users", "Users who had chosen something before, alone"), ("purchases", "Purchases alone")):
        by_method = {name: found[field] for name, found in report["methods"].items()}
        count = next(iter(by_method.values()))[chief]["targets"]
        if count:
            folded.append(f"<details><summary>{title} ({count:,} choices)</summary>{_part_of(by_method)}</details>")
    return "".join(folded)


def _part_of(by_method: Mapping[str, Mapping[str, Any]]) -> str:
    windows = list(next(iter(by_method.values())))
    heads = [f"{metric}, {window.replace('-', ' to ')} %" for window in windows for metric in ("HR@10", "NDCG@10", "MRR")]
    rows = [
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{_mean(found[window][metric])}</td>" for window in windows for metric in ("hr@10", "ndcg@10", "mrr"))
        + "</tr>"
        for name, found in by_method.items()
    ]
    head = "".join(f"<th>{one}</th>" for one in ("method", *heads))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _served(report: Report) -> str:
    if "served" not in report:
        return ""
    return (
        "<section><h2>Fresh and as served</h2>"
        "<p>A fresh list is made at the moment the reader asks. A list as served was made earlier: right after the user's last visit, or by "
        "the sweep that makes all lists anew every so often. The sweep is modelled in event time, the time of the recording.</p>"
        f'<div class="plots">{plots.served(report)}</div></section>'
    )


def _exposure(report: Report) -> str:
    """How unequally lists show items, providers, categories."""
    shown = {name: found["exposure"] for name, found in report["methods"].items() if "exposure" in found}
    kinds = [kind for kind in ("items", "providers", "categories") if any(kind in found for found in shown.values())]
    if not shown:
        return ""
    head = "".join(f"<th>{kind}: Gini</th><th>shown</th>" for kind in kinds)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(
            f"<td>{found[kind]['gini']:.3f}</td><td>{found[kind]['shown']:,} of {found[kind]['known']:,}</td>" for kind in kinds
        )
        + "</tr>"
        for name, found in shown.items()
    )
    return (
        "<section><h2>Who is shown</h2><p>How the lists' attention is shared: an entry gets the less the lower it stands, as in NDCG. "
        "<b>Gini</b> is 0 where all get the same, near 1 where few get all. Items include those that no list can show yet.</p>"
        f'<div class="wide"><table><thead><tr><th>method</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _ran_on(report: Report) -> str:
    ran = report["ran_on"]
    events, items = ran["events_file"], ran["items_file"]
    rows: list[tuple[str, str]] = [
        ("events", f"{events['path']} ({events['format']})"),
        ("SHA-256", events["sha256"]),
        ("order", "by time as they stood" if ran["in_order"] else "sorted by time here; those of equal time as they stood"),
        ("by type", ", ".join(f"{count:,} {name}" for name, count in ran["types"].items())),
        ("groups", f"{ran['groups']:,}, events of one user at one time, ranked together before any of them is learned"),
        ("choices judged", f"{ran['targets']:,} in all"),
    ]
    if items:
        more = f", {ran['items_only_in_documents']:,} of them without events" if ran["items_only_in_documents"] else ""
        rows += [("items", f"{items['path']}: {ran['documents']:,} documents{more}"), ("SHA-256", items["sha256"])]
        if items.get("providers_from") == "category":
            rows.append(
                ("providers", "where a document names none, its first category stands for one (--providers-from category)")
            )
    settings = ", ".join(f"{key} = {value}" for key, value in report["config"].items()) or "the defaults"
    rows += [("settings", settings), ("seed", str(report["seed"]))]
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())))
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<section><h2>What was run on what</h2><dl>{listed}</dl></section>"


def _how_to_read(report: Report) -> str:
    protocol = report["protocol"]
    points: Sequence[str] = (
        (
            "Every method sees the same events in the same order. It ranks the whole catalogue seen so far for the user of each group, "
            "knowing the user, the time and all groups before; then it learns the group. An item that was never seen before is a miss."
        ),
        "Nothing is sampled: ranks are among all items. Ties count at their middle.",
        (
            f"Intervals: {protocol['resamples']:,} times, as many users as there are were drawn with replacement, the same for every method; 95 % of the "
            "means, or of the differences, lie within the interval. Where that of a difference holds 0, the stream does not decide."
        ),
        "Methods marked as the engine run otherwise tell what learning adds; they are no rivals.",
        f"The stream over time is cut into {protocol['bins']} parts with the same number of events.",
    )
    return f"<section><h2>How it was measured</h2><ul>{''.join(f'<li>{escape(point)}</li>' for point in points)}</ul></section>"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d")
