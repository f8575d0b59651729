"""What one stage of the benchmark at size found: figures, ratios, bounds, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.bounds import Bound
from benchmarks.figures import Figures, rounded


@dataclass(frozen=True)
class Curve:
    """A plot: values of each series at equally spaced places, which stand for growing numbers of something."""

    title: str
    x_title: str
    y_title: str
    at: list[str]
    series: Mapping[str, Sequence[float | None]]
    """None is a gap."""

    def as_json(self) -> dict[str, object]:
        shown = {name: [None if value is None else rounded(value) for value in values] for name, values in self.series.items()}
        return vars(self) | {"series": shown}


@dataclass
class Measured:
    """Filled by a stage."""

    figures: Figures = field(default_factory=Figures)
    ratios: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, Bound] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)

    def ratio(self, name: str, figure: str, base: str, most: float | None = None) -> None:
        """One figure by another of the same rounds, and what that may be at most where something is asked."""
        found = self.figures.ratio(figure, base)
        self.ratios[name] = round(found, 4)
        if most is not None:
            self.bounds[name] = Bound(found, most)

    def medians(self, names: list[str]) -> list[float]:
        """For a curve."""
        return [self.figures.median(name) for name in names]

    def as_json(self) -> dict[str, dict[str, object]]:
        """Sections by name, each by figure."""
        return {
            **self.figures.as_json(),
            "ratios": dict(self.ratios),
            "bounds": {
                name: {"measured": rounded(one.measured), "bound": one.bound, "ok": one.ok} for name, one in self.bounds.items()
            },
            "curves": {name: curve.as_json() for name, curve in self.curves.items()},
        }


def word(number: int) -> str:
    """A number in a name.

    >>> word(500), word(10_000), word(1_000_000)
    ('500', '10k', '1m')
    """
    if number % 1_000_000 == 0:
        return f"{number // 1_000_000}m"
    return f"{number // 1_000}k" if number % 1_000 == 0 else str(number)


def label(number: int) -> str:
    """The same for people.

    >>> label(500), label(10_000), label(1_000_000)
    ('500', '10 k', '1 M')
    """
    short = word(number)
    return f"{short[:-1]} {short[-1].replace('m', 'M')}" if short[-1].isalpha() else short
