"""Figures: repeated measurements with their median and range, as a table for people and as JSON."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Figure:
    """One thing measured several times."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Figures:
    """All figures of a run by name, in the order of their first measurement."""

    def __init__(self) -> None:
        self._by_name: dict[str, Figure] = {}

    def add(self, name: str, unit: str, value: float) -> None:
        """Notes one measurement."""
        self._by_name.setdefault(name, Figure(name, unit)).values.append(value)

    def median(self, name: str) -> float:
        """The median of everything noted under ``name``."""
        return self._by_name[name].median

    def ratio(self, name: str, base: str) -> float:
        """The median over rounds of one figure by another of the same round, so that what else the machine does falls on both alike."""
        pairs = zip(self._by_name[name].values, self._by_name[base].values, strict=True)
        return statistics.median(value / beside for value, beside in pairs)

    def all(self) -> list[Figure]:
        """Every figure."""
        return list(self._by_name.values())

    def ratios(self, base: str, unit: str) -> dict[str, float]:
        """Every figure of that unit against the median of ``base``, measured in the same run."""
        return {
            figure.name: round(figure.median / self.median(base), 4)
            for figure in self.all()
            if figure.unit == unit and figure.name != base
        }

    def as_json(self) -> dict[str, object]:
        """``medians`` as plain numbers; beside them ranges, units and how often each was measured."""
        figures = self.all()
        return {
            "medians": {figure.name: rounded(figure.median) for figure in figures},
            "ranges": {figure.name: [rounded(min(figure.values)), rounded(max(figure.values))] for figure in figures},
            "repetitions": {figure.name: len(figure.values) for figure in figures},
            "units": {figure.name: figure.unit for figure in figures},
        }

    def table(self, ratios: dict[str, float]) -> str:
        """One line a figure: median, range, ratio."""
        lines = [f"{'':28}{'median':>14}{'min':>12}{'max':>12}  {'unit':<12}{'of bare poll':>13}"]
        for figure in self.all():
            ratio = f"{ratios[figure.name]:13.3f}" if figure.name in ratios else ""
            low, high = min(figure.values), max(figure.values)
            lines.append(
                f"{figure.name:28}{shown(figure.median):>14}{shown(low):>12}{shown(high):>12}  {figure.unit:<12}{ratio}"
            )
        return "\n".join(lines)


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def shown(value: float) -> str:
    """For people: thousands grouped, small numbers with three digits."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
