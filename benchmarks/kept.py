"""The one file of results a suite, day and machine, in which stages measured one by one come together, and its plots beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.drawn import drawn
from benchmarks.figures import shown
from benchmarks.machine import short_name
from benchmarks.measured import Curve, Measured

RESULTS = Path(__file__).resolve().parent / "results"
SECTIONS = ("ratios", "bounds", "medians", "ranges", "repetitions", "units", "curves")


class Kept:
    """Results as they will be written; a stage measured again takes the place of what it found before."""

    def __init__(self, about: dict[str, object], folder: Path | None, suite: str = "full") -> None:
        """``about``: the machine; ``folder``: where the file of today goes, and is gone on with if it is there. None: nowhere. ``suite`` begins its name."""
        date = datetime.now(UTC).date().isoformat()
        self._path = None if folder is None else folder / f"{suite}-{date}-{short_name(about)}.json"
        self.found: dict[str, Any] = {"date": date, "machine": about, "versions": {}, "stages": {}}
        self.found |= {section: {} for section in SECTIONS}

    def put(self, stage: str, measured: Measured, notes: dict[str, object]) -> None:
        """Takes in what a stage found beside what is kept already, and under what conditions: ``notes``."""
        sections = measured.as_json()
        if self._path is not None and self._path.exists():  # read late: another stage may have been kept meanwhile
            self.found |= json.loads(self._path.read_text(encoding="utf-8")) | {"machine": self.found["machine"]}
        for section, names in self.found["stages"].get(stage, {}).get("names", {}).items():
            for name in names:
                self.found[section].pop(name, None)
        for section in SECTIONS:
            self.found[section] |= sections[section]
        names = {section: list(sections[section]) for section in ("ratios", "bounds", "medians", "curves")}
        names |= dict.fromkeys(("ranges", "repetitions", "units"), names["medians"])
        self.found["stages"][stage] = notes | {"names": names}

    def write(self) -> list[Path]:
        """The file and a plot for each curve; those that were written."""
        if self._path is None:
            return []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.found, indent=2) + "\n", encoding="utf-8")
        written = [self._path]
        for name, curve in self.found["curves"].items():
            written.append(self._path.with_name(f"{self._path.stem}-{name.replace('_', '-')}.svg"))
            written[-1].write_text(drawn(Curve(**curve)), encoding="utf-8")
        return written

    def in_words(self) -> str:
        """A table for people."""
        lines = [f"{'':36}{'median':>16}{'min':>16}{'max':>16}  unit, of how many"] if self.found["medians"] else []
        for name, median in self.found["medians"].items():
            low, high = self.found["ranges"][name]
            lines.append(
                f"{name:36}{shown(median):>16}{shown(low):>16}{shown(high):>16}  {self.found['units'][name]}, {self.found['repetitions'][name]}"
            )
        lines += ["", *(f"{name:36}{ratio:16.3f}" for name, ratio in self.found["ratios"].items()), ""]
        for name, bound in self.found["bounds"].items():
            verdict = "within" if bound["ok"] else "OVER"
            lines.append(f"{name:36}{shown(bound['measured']):>16} {verdict} {shown(bound['bound'])}")
        return "\n".join(lines)
