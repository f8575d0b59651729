"""The whole line through Kafka by the number of partitions of its topics."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import traffic
from benchmarks.measured import Curve, Measured
from benchmarks.report import EVENTS_PER_S
from benchmarks.whole_line import whole_line
from benchmarks.world import World, fill


def by_partitions(found: Measured, bare: World, counts: list[int], *, events: int, rounds: int) -> None:
    """Fills topics of their own for each count with the same traffic, then runs the line on each in turns."""
    logs = {count: fill(replace(bare, topic_prefix=f"p{count}.", partitions=count), traffic.Shape(events)) for count in counts}
    for n in range(rounds):
        for count, log in logs.items():
            if len(log.ends) != count:
                raise RuntimeError(f"the topic of events has {len(log.ends)} partitions, made with {count}")
            run = whole_line(log, f"partitions-{count}-{n}")
            found.figures.add(_name(count), EVENTS_PER_S, run.events_per_s)
    found.ratio(f"whole_line_{counts[-1]}_to_{counts[0]}_partitions", _name(counts[-1]), _name(counts[0]))
    found.curves["events_by_partitions"] = Curve(
        "Whole line through Kafka, one worker",
        "partitions (log)",
        EVENTS_PER_S,
        [str(count) for count in counts],
        {"whole line": found.medians([_name(count) for count in counts])},
    )


def _name(count: int) -> str:
    return f"whole_line_{count}_partition{'s' if count > 1 else ''}"
