"""How fast each format's records become events, beside bare reading of the lines of the same file.

    python -m benchmarks.format_readers [FILE...]

Without FILE, every golden sample of events is repeated to a file of about RECORDS records. Rounds alternate; each figure is the
median. The ratio is that of records to bare lines a second: it hardly depends on the machine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.machine import machine
from producers.formats import open_events
from producers.formats.lines import read_lines

SAMPLES = Path(__file__).resolve().parents[1] / "tests" / "golden" / "formats"
HEADED = {".csv", ".tsv", ".inter"}
RECORDS = 20_000
ROUNDS = 5


def samples() -> list[Path]:
    """Golden samples of events that are whole."""
    names = sorted(path for path in SAMPLES.iterdir() if not path.name.endswith(".expected.json"))
    return [path for path in names if "-items" not in path.name and "-broken" not in path.name]


def repeated(path: Path, folder: Path) -> Path:
    """A file with the records of a sample over and over."""
    lines = path.read_bytes().splitlines(keepends=True)
    header, body = (lines[:1], lines[1:]) if path.suffix in HEADED else ([], lines)
    found = folder / path.name
    found.write_bytes(b"".join(header + body * (RECORDS // len(body))))
    return found


def seconds(run: Callable[[], Iterator[object]]) -> tuple[float, int]:
    """How long a pass takes, and over how much."""
    started_s = perf_counter()
    count = sum(1 for _ in run())
    return perf_counter() - started_s, count


def measured(path: Path) -> str:
    """One line of the table."""
    reading = open_events(path)
    lines_s, records_s = [], []
    lines = events = 0
    for _ in range(ROUNDS):
        took_s, lines = seconds(lambda: read_lines(path))
        lines_s.append(took_s)
        took_s, events = seconds(lambda: iter(reading))
        records_s.append(took_s)
    rate, bare = lines / median(records_s), lines / median(lines_s)
    return f"{reading.format.name:16s} {path.name[:34]:34s} {lines:8,d} {events:8,d} {rate:12,.0f} {bare:12,.0f} {rate / bare:7.3f}"


def main() -> None:
    """Prints the table, with the machine above it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    files = parser.parse_args().files
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, load {about['load_before']}; medians of {ROUNDS}")
    print(f"{'format':16s} {'file':34s} {'lines':>8s} {'events':>8s} {'lines read/s':>12s} {'bare lines/s':>12s} {'ratio':>7s}")
    with tempfile.TemporaryDirectory() as folder:
        for path in files or [repeated(sample, Path(folder)) for sample in samples()]:
            print(measured(path), flush=True)


if __name__ == "__main__":
    main()
