"""Curves as SVG files that stand by themselves: with title, legend, background, in the light or dark of the reader's system."""

from __future__ import annotations

from html import escape

from benchmarks.measured import Curve
from streamer.evaluate.style import COLOURS, DRAWINGS, PALETTE
from streamer.evaluate.svg import HEIGHT, LEFT, WIDTH, Series, lines

HEAD, ROW = 30, 18
STYLE = f"{PALETTE}{DRAWINGS}svg {{ font-family: system-ui, sans-serif; }} .title {{ font-size: 13px; font-weight: 600; }}"


def drawn(curve: Curve) -> str:
    """The whole file."""
    series = [Series(name, values, n % COLOURS) for n, (name, values) in enumerate(curve.series.items())]
    plot = lines(series, curve.at, x_title=curve.x_title, y_title=curve.y_title)
    names = series if len(series) > 1 else []
    height = HEAD + HEIGHT + ROW * len(names) + 8
    legend = [
        f'<g class="c{one.colour}"><rect class="bar" x="{LEFT}" y="{HEAD + HEIGHT + ROW * n + 5}" width="16" height="4" rx="2"/>'
        f'<text x="{LEFT + 24}" y="{HEAD + HEIGHT + ROW * n + 11}">{escape(one.name)}</text></g>'
        for n, one in enumerate(names)
    ]
    placed = plot.replace("<svg ", f'<svg y="{HEAD}" width="{WIDTH}" height="{HEIGHT}" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{2 * WIDTH}"><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="var(--card)"/>'
        f'<text class="title" x="12" y="20">{escape(curve.title)}, {escape(curve.y_title)}</text>'
        f"{placed}{''.join(legend)}</svg>\n"
    )
