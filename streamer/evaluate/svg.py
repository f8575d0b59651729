"""Plots as SVG text for a page: lines over the stream, lines over classes, intervals, bars. Colours come from the page's style.

A plot is drawn about as wide as a phone, so that its text is readable there; on wider screens two stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 40
ROW = 22
"""Height of a row of intervals or bars."""
CHARACTER = 6.6
"""Width of a letter of a label, at the style's font size."""


class Series(NamedTuple):
    """A named line; None is a gap. ``colour`` numbers a colour of the style, 0 is that of the chief method."""

    name: str
    values: Sequence[float | None]
    colour: int


class Interval(NamedTuple):
    """A row of a plot of intervals."""

    name: str
    low: float
    middle: float
    high: float


def lines(series: Sequence[Series], labels: Sequence[str], *, x_title: str, y_title: str, mark: float | None = None) -> str:
    """Lines over equally spaced places.

    Args:
        series: Each with one value a place.
        labels: Of ticks along x, equally spaced from the first place to the last.
        x_title: What x is.
        y_title: What y is, for readers that hear the page.
        mark: A place along x, 0 to 1, where a dashed line stands.
    """
    found = [value for one in series for value in one.values if value is not None]
    ticks = ticks_of(min([0.0, *found]), max([0.0, *found]))
    low, high = ticks[0], ticks[-1]
    body = [_grid(ticks, low, high)]
    for n, label in enumerate(labels):
        at = _across(n / max(1, len(labels) - 1))
        anchor = "end" if 0 < n == len(labels) - 1 else "middle"  # the last would be cut at the edge
        body.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{escape(label)}</text>')
    body.append(f'<text class="tick" x="{_across(0.5):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>')
    if mark is not None:
        body.append(f'<path class="mark" d="M{_across(mark):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    dots = len(labels) <= 10 and all(len(one.values) == len(labels) for one in series)
    body += [_line(one, low, high, dots=dots) for one in reversed(series)]  # the first lies on top
    return _svg(HEIGHT, f"{y_title} by {x_title}: {', '.join(one.name for one in series)}", body)


def intervals(rows: Sequence[Interval], *, x_title: str) -> str:
    """Differences with their intervals, a row each, beside the line of no difference."""
    left = _left_for(row.name for row in rows)
    ticks = ticks_of(min([0.0, *(row.low for row in rows)]), max([0.0, *(row.high for row in rows)]), 5)
    height = TOP + ROW * len(rows) + BOTTOM
    bottom = height - BOTTOM

    def across(value: float) -> float:
        return left + (WIDTH - RIGHT - 8 - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    body = []
    for tick in ticks:
        body.append(f'<path class="{"zero" if tick == 0 else "grid"}" d="M{across(tick):.1f} {TOP}V{bottom}"/>')
        body.append(f'<text class="tick" x="{across(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{_number(tick)}</text>')
    for n, row in enumerate(rows):
        y = TOP + ROW * (n + 0.5)
        kind = "sure" if row.low > 0 else "against" if row.high < 0 else "open"
        title = f"<title>{escape(row.name)}: {row.middle:+.4f}, {row.low:+.4f} to {row.high:+.4f}</title>"
        body.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>')
        body.append(
            f'<g class="{kind}">{title}<path d="M{across(row.low):.1f} {y:.1f}H{across(row.high):.1f}"/>'
            f'<circle cx="{across(row.middle):.1f}" cy="{y:.1f}" r="4.5"/></g>'
        )
    body.append(
        f'<text class="tick" x="{(left + WIDTH) / 2:.1f}" y="{height - 6}" text-anchor="middle">{escape(x_title)}</text>'
    )
    return _svg(height, x_title, body)


def bars(rows: Sequence[tuple[str, float, int]], *, x_title: str) -> str:
    """Rows of (name, value, colour) as bars from 0, each with its value."""
    left = _left_for(name for name, _, _ in rows)
    most = max([value for _, value, _ in rows], default=0.0) or 1.0
    body = []
    for n, (name, value, colour) in enumerate(rows):
        y = TOP + ROW * n
        width = (WIDTH - RIGHT - left - 56) * value / most
        body.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        body.append(f'<rect class="bar c{colour}" x="{left}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}" rx="2"/>')
        body.append(f'<text x="{left + width + 6:.1f}" y="{y + 15}">{value:.4f}</text>')
    return _svg(TOP + ROW * len(rows) + 6, x_title, body)


def ticks_of(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span from ``low`` to ``high``, about ``count`` of them.

    >>> ticks_of(0.0, 0.43)
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    """
    span = high - low or 1.0
    step = 10.0 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, max(last, first + 1) + 1)]


def _left_for(names: Iterable[str]) -> float:
    return 12 + CHARACTER * max((len(name) for name in names), default=0)


def _number(value: float) -> str:
    return f"{value:g}"


def _across(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _up(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)


def _grid(ticks: Sequence[float], low: float, high: float) -> str:
    body = []
    for tick in ticks:
        y = _up(tick, low, high)
        kind = "zero" if tick == 0 else "grid"
        body.append(f'<path class="{kind}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        body.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    return "".join(body)


def _line(one: Series, low: float, high: float, *, dots: bool) -> str:
    """One line, broken where a value lacks; a single value between gaps is a dot."""
    path, circles, pen_down = [], [], False
    for n, value in enumerate(one.values):
        if value is None:
            pen_down = False
            continue
        x, y = _across(n / max(1, len(one.values) - 1)), _up(value, low, high)
        path.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        if dots:
            circles.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"><title>{escape(one.name)}: {value:.4f}</title></circle>')
        pen_down = True
    title = f"<title>{escape(one.name)}</title>"
    return f'<g class="line c{one.colour}">{title}<path d="{"".join(path) or "M0 0"}"/>{"".join(circles)}</g>'


def _svg(height: float, label: str, body: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{"".join(body)}</svg>'
