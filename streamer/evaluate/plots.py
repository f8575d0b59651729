"""The plots of the report's page: which figures are drawn, beside which, with what said under them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from streamer.evaluate.names import is_engine
from streamer.evaluate.style import COLOURS
from streamer.evaluate.svg import Interval, Series, bars, intervals, lines

Report = Mapping[str, Any]

RIVALS = 4
"""Other methods shown beside ours in a plot, the best first: more are a tangle."""
SIGNALS = COLOURS
NEVER_MOVED = 1e-3
"""A weight that changed by less over the stream is the one of the start."""
SMOOTH = 5
"""Parts of the stream averaged where two runs of one engine are compared, which lie close together."""
SHARES = ("0 %", "20 %", "40 %", "60 %", "80 %", "100 %")
OF_STREAM = "part of the stream"

SIGNAL_WORDS = {
    "transition": "next after the last item",
    "transition_back": "before the last item",
    "co_visit": "near the last items",
    "co_visit_back": "before the last items",
    "neighbours": "neighbour sessions, what came after",
    "neighbours_before": "neighbour sessions, what came before",
    "repeat_recent": "repeats, lately",
    "repeat": "repeats, by count",
    "last": "is the last item",
    "popularity": "popularity for ever",
    "content": "learned vectors",
    "young_content": "learned vectors of items that are young",
    "young": "is young",
    "likeness": "content like the window's",
    "young_likeness": "content like the window's, of items that are young",
    "untried": "young with content that fits (given)",
}


def sections(report: Report) -> Iterable[str]:
    """The sections of the page that hold plots."""
    window = report["protocol"]["chief_window"]
    if len(report["methods"]) > 1 and report["intervals"][window]:
        yield _section("Differences", "", [_differences(report, metric) for metric in ("ndcg@10", "hr@10")])
    shown = chosen(report)
    said = f"Shown are {escape(shown[0])} and the best others by NDCG@10." if len(shown) > 1 else ""
    yield _section("Where the quality comes from", said, [*_over_time(report, shown), *_by_class(report, shown)])
    learning = [name for name in (report["compared_with"], "frozen", "fixed") if name in report["methods"]]
    inside = [*_learning(report, learning), *_gates(report)]
    if inside:
        yield _section("What learning does", "", inside)


def chosen(report: Report) -> list[str]:
    """The methods that plots show: ours and the best RIVALS, not the engine run otherwise."""
    ours, window = report["compared_with"], report["protocol"]["chief_window"]
    others = [name for name in report["methods"] if name != ours and not is_engine(name)]
    others.sort(key=lambda name: -(report["methods"][name]["windows"][window]["ndcg@10"] or 0.0))
    return [ours, *others[:RIVALS]]


def _section(title: str, said: str, figures: Sequence[str]) -> str:
    told = f"<p>{said}</p>" if said else ""
    return f'<section><h2>{title}</h2>{told}<div class="plots">{"".join(figures)}</div></section>'


def figure(title: str, caption: str, drawing: str, legend: Sequence[Series] = ()) -> str:
    """A plot with its title, what it says, and what its colours mean."""
    names = "".join(f'<li class="c{one.colour}"><i></i><span>{escape(one.name)}</span></li>' for one in legend)
    listed = f'<ul class="legend">{names}</ul>' if len(legend) > 1 else ""
    return f"<figure><h3>{escape(title)}</h3><figcaption>{escape(caption)}</figcaption>{drawing}{listed}</figure>"


def _differences(report: Report, metric: str) -> str:
    ours, window = report["compared_with"], report["protocol"]["chief_window"]
    told = report["intervals"][window]
    rows = [
        Interval(
            name, found[metric]["difference_interval"][0], found[metric]["difference"], found[metric]["difference_interval"][1]
        )
        for name, found in told.items()
        if name != ours
    ]
    rows.sort(key=lambda row: row.middle)
    shown = metric.upper()
    caption = f"{shown} of {ours} less that of each method, with its 95 % interval. Right of the line of 0: {ours} is better."
    return figure(f"{ours} against each method, {shown}", caption, intervals(rows, x_title=f"difference in {shown}"))


def _series(report: Report, names: Sequence[str], pick: Any) -> list[Series]:
    return [Series(name, pick(report["methods"][name]), n % COLOURS) for n, name in enumerate(names)]


def _over_time(report: Report, names: Sequence[str]) -> Iterable[str]:
    for metric in ("hr@10", "ndcg@10"):
        series = _series(report, names, lambda found, metric=metric: found["over_time"][metric])
        caption = f"{metric.upper()} in each of {report['protocol']['bins']} equal parts; what lies before the dashed line only teaches."
        yield figure(
            f"Quality over the stream, {metric.upper()}",
            caption,
            lines(series, SHARES, x_title=OF_STREAM, y_title=metric.upper(), mark=0.1),
            series,
        )


def _by_class(report: Report, names: Sequence[str]) -> Iterable[str]:
    for field, title, x_title, caption in (
        (
            "by_history",
            "By length of history",
            "choices of the user before",
            "How good lists are for newcomers and for regulars",
        ),
        (
            "by_item_age",
            "By age of the item",
            "choices of the item before",
            "How soon a new item is found; one never chosen before can be listed only through its document",
        ),
    ):
        classes = report["methods"][names[0]][field]
        series = _series(report, names, lambda found, field=field: [means["hr@10"] for means in found[field].values()])
        counts = ", ".join(f"{name}: {means['targets']:,}" for name, means in classes.items())
        drawing = lines(series, list(classes), x_title=x_title, y_title="HR@10")
        yield figure(f"{title}, HR@10", f"{caption}. Choices in each class: {counts}.", drawing, series)


def _learning(report: Report, names: Sequence[str]) -> Iterable[str]:
    if len(names) < 2:  # there is nothing to compare with
        return
    series = _series(report, names, lambda found: smoothed(found["over_time"]["ndcg@10"]))
    frozen_at = report["protocol"]["frozen_at"]
    caption = f"NDCG@10 of {names[0]} beside the same engine that stops learning at the dashed line (frozen) or never learns weights (fixed); means of {SMOOTH} parts."
    yield figure(
        "Learning on, frozen, fixed",
        caption,
        lines(series, SHARES, x_title=OF_STREAM, y_title="NDCG@10", mark=frozen_at),
        series,
    )


def smoothed(values: Sequence[float | None]) -> list[float | None]:
    """Each value's mean with its neighbours, SMOOTH in all.

    >>> smoothed([1.0, None, 3.0])
    [2.0, 2.0, 2.0]
    """
    found: list[float | None] = []
    for n in range(len(values)):
        near = [value for value in values[max(0, n - SMOOTH // 2) : n + SMOOTH // 2 + 1] if value is not None]
        found.append(sum(near) / len(near) if near else None)
    return found


def _gates(report: Report) -> Iterable[str]:
    gates = report["methods"][report["compared_with"]].get("gates")
    if not gates:
        return
    known = {name: [weight for weight in weights if weight is not None] for name, weights in gates.items()}
    learned = {name: weights for name, weights in known.items() if weights and max(weights) - min(weights) > NEVER_MOVED}
    names = sorted(learned, key=lambda name: -max(map(abs, learned[name])))[:SIGNALS]
    series = [Series(in_words(name), gates[name], n) for n, name in enumerate(names)]
    left, idle = len(learned) - len(names), len(gates) - len(learned)
    rest = f" The {left} weaker signals are in report.json." if left else ""
    rest += f" {idle} had nothing to say here, so that their weights stayed as they began." if idle else ""
    caption = f"Mean weight of each signal in the lists of that part: what the stream taught the engine to trust.{rest}"
    yield figure("Gates over time", caption, lines(series, SHARES, x_title=OF_STREAM, y_title="weight"), series)


def in_words(signal: str) -> str:
    """A signal's name for people.

    >>> in_words("trend_10"), in_words("last")
    ('popular in the last 10 choices', 'is the last item')
    """
    kind, _, half_life = signal.partition("_")
    if kind == "trend":
        return f"popular in the last {float(half_life):,.0f} choices"
    return SIGNAL_WORDS.get(signal, signal.replace("_", " "))


def served(report: Report) -> str:
    """Bars of fresh lists and of lists as served."""
    ours, window = report["compared_with"], report["protocol"]["chief_window"]
    fresh = report["methods"][ours]["windows"][window]
    found = []
    for metric in ("hr@10", "ndcg@10"):
        rows = [("fresh", fresh[metric] or 0.0, 0)]
        for n, (period, windows) in enumerate(report["served"].items()):
            name = "no sweep" if period == "off" else f"sweep every {float(period):,g} s"
            rows.append((name, windows[window][metric] or 0.0, 1 + n % (COLOURS - 1)))
        best = rows[0][1]
        shares = ", ".join(f"{name} {value / best:.1%}" for name, value, _ in rows[1:]) if best else ""
        found.append(
            figure(f"Fresh and as served, {metric.upper()}", f"Of fresh: {shares}.", bars(rows, x_title=metric.upper()))
        )
    return "".join(found)
