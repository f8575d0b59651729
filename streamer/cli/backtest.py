"""``streamer backtest``: a recorded stream straight into the engine and its rivals, without a broker, and a report of who is better."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from producers.formats import AUTO, FORMAT_HELP
from streamer import __version__
from streamer.cli.common import config_option, json_option, prepare, say_json
from streamer.config import Config
from streamer.config.masking import masked
from streamer.evaluate.names import METHODS, OURS, RERANKED, TOWERS, is_method

# The engine takes a second to import, which the help need not wait for.
# ruff: noqa: PLC0415
if TYPE_CHECKING:
    from streamer.cli.backtest_input import Read
    from streamer.evaluate.prequential import Run
    from streamer.tracking import Place

OFF, DEFAULT = "off", "default"
VERSIONS_OF = ("numpy", "numba", "torch", "river", "implicit")
WATCHED_S, UNWATCHED_S = 0.2, 10.0
"""Between two lines of progress, where stderr is a terminal and where it is none."""
SEPARATORS = re.compile(r"[,\s]+")


class Backtest(click.Command):
    """Options that take several words: ``--methods a b``, ``--served 60 off``, also with commas."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the words that belong to such an option together before click looks at them."""
        joined = _together(args, "--methods", is_method, None)
        return super().parse_args(ctx, _together(joined, "--served", _is_period, DEFAULT))


def _is_period(word: str) -> bool:
    return word == OFF or bool(re.fullmatch(r"\d+(\.\d+)?", word))


def _together(args: list[str], option: str, belongs: Callable[[str], bool], default: str | None) -> list[str]:
    """Arguments in which the option is followed by one: the words after it that belong to it, with commas between."""
    found: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        found.append(word)
        if word == option:
            taken = []
            while rest and all(belongs(part) for part in SEPARATORS.split(rest[0].strip(", "))):
                taken.append(rest.pop(0))
            if taken:
                found.append(",".join(taken))
            elif default is not None:
                found.append(default)
    return found


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback of --methods."""
    names = tuple(dict.fromkeys(name for name in SEPARATORS.split(value or "") if name)) or METHODS
    unknown = [name for name in names if not is_method(name)]
    if unknown:
        raise click.BadParameter(
            f"no method is called {', '.join(unknown)}; there are {', '.join((*METHODS, TOWERS, *RERANKED))}, where X is the setting",
            ctx,
            param,
        )
    return names


def _places(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Place, ...]:
    """Callback of --track: places, each with its package installed."""
    from streamer.tracking import parsed, require

    try:
        found = tuple(map(parsed, value))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    for place in found:
        require(place)
    return found


def _periods(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback of --served: seconds, OFF or DEFAULT, as words."""
    words = tuple(dict.fromkeys(word for word in SEPARATORS.split(value or "") if word))
    for word in words:
        if word != DEFAULT and (not _is_period(word) or (word != OFF and float(word) <= 0)):
            raise click.BadParameter(f"{word!r} is no period: expected seconds above 0, or {OFF}", ctx, param)
    return words


@click.command(cls=Backtest)
@click.argument("events", type=click.Path(path_type=Path), metavar="EVENTS")
@click.option("--items", type=click.Path(path_type=Path), help="Item documents; their texts are encoded before the run.")
@click.option(
    "--providers-from",
    type=click.Choice(["documents", "category"]),
    default="documents",
    show_default=True,
    help="category: a document that names no provider has its first category for one.",
)
@click.option("--format", "format_name", default=AUTO, show_default=True, help=FORMAT_HELP)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for report.html, report.json, lists.jsonl.")
@click.option("--lists", "keeps_lists", is_flag=True, help="Write lists.jsonl: the list of every event.")
@click.option(
    "--methods",
    callback=_names,
    metavar="NAME...",
    help=f"Of {', '.join(METHODS)}; all unless given. {TOWERS}: the engine's two towers alone over the whole catalogue. {' and '.join(RERANKED)}: the engine with ranking.provider_exposure_min or ranking.diversity set to X.",
)
@click.option(
    "--served",
    callback=_periods,
    metavar="[SECONDS|off]...",
    help="Judge lists as served too, with a sweep every so many seconds of event time, or off; ranking.refresh_ms_max and off unless given.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Methods run at a time; one a core unless given, at most 4.",
)
@click.option(
    "--track",
    multiple=True,
    callback=_places,
    metavar="KIND:WHERE",
    help="Tell the runs to tensorboard:FOLDER or mlflow:URI too (extras of these names).",
)
@json_option
@config_option
@click.pass_context
def backtest(
    ctx: click.Context,
    events: Path,
    items: Path | None,
    providers_from: str,
    format_name: str,
    out: Path,
    methods: tuple[str, ...],
    served: tuple[str, ...],
    processes: int | None,
    track: tuple[Place, ...],
    config_path: Path | None,
    *,
    keeps_lists: bool,
    as_json: bool,
) -> None:
    """Run recorded EVENTS through the engine and through other methods, test then learn, and report who is better.

    Events are sorted by time, nothing is dropped. Exit status 1 where records were rejected.
    """
    if OURS not in methods and (keeps_lists or served):
        raise click.UsageError(f"--lists and --served are about the method {OURS}: name it among --methods")
    config = prepare(config_path)
    _make_folder(out)
    read = _read(events, items, format_name, config, providers_from)
    runs = _run(methods, read, config, processes or _processes(), keeps_lists=keeps_lists, served=served)
    report = _written(out, events, items, read, config, runs, providers_from, keeps_lists=keeps_lists)
    _tell(report, out, as_json=as_json)
    _track(track, report, out)
    ctx.exit(1 if read.problems.count else 0)


def _track(places: tuple[Place, ...], report: dict[str, Any], out: Path) -> None:
    """Tells each tracker each method's run; the report is written by then, so that nothing is lost with a tracker that is away."""
    from streamer.evaluate.tracked import track, track_files
    from streamer.tracking import open_tracker

    group = f"{out.resolve().name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    for place in places:
        for method in report["methods"]:
            with contextlib.closing(open_tracker(place, group, method)) as tracker:
                track(tracker, report, method)
                if method == report["compared_with"]:
                    track_files(tracker, out)
        click.echo(f"tracked as {group} at {place.kind}:{masked('uri', place.where)}", err=True)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(
            f"{out}: {error.strerror or error}; expected a folder that can be written", param_hint="--out"
        ) from error


def _processes() -> int:
    return min(4, len(os.sched_getaffinity(0)))


def _read(events: Path, items: Path | None, format_name: str, config: Config, providers_from: str) -> Read:
    from streamer.cli.backtest_input import read_stream

    with _bar("reading", " records") as reading, _bar("encoding items", " items") as encoding:
        read = read_stream(events, items, format_name, config, reading=reading.add, encoding=encoding.add)
    if providers_from == "category":
        from streamer.cli.backtest_input import with_providers_of_categories

        read, named = with_providers_of_categories(read)
        click.echo(f"{named:,} documents without a provider have their first category for one", err=True)
    for problem in read.problems.named:
        click.echo(f"rejected: {problem}", err=True)
    if read.problems.count > len(read.problems.named):
        click.echo(f"rejected: {read.problems.count} records in all, {read.problems.by_reason}", err=True)
    for content in read.problems.contents:
        click.echo(f"without a vector: {content}", err=True)
    if read.problems.contents_count > len(read.problems.contents):
        click.echo(f"without a vector: {read.problems.contents_count:,} texts and images in all", err=True)
    if read.left_out:
        told = ", ".join(f"{count:,} {kind}" for kind, count in read.left_out.items())
        click.echo(f"left out, being no interactions: {told}", err=True)
    stream = read.stream
    order = "they stood in the order of their times" if read.in_order else "sorted by time, those of equal time as they stood"
    click.echo(
        f"{stream.events:,} events of {len(stream.user_ids):,} users and {stream.items_in_events:,} items; {order}", err=True
    )
    if read.repeated_ids:
        click.echo(f"{read.repeated_ids:,} events repeat an event_id: kept here, a worker would apply them once", err=True)
    return read


def _run(
    methods: tuple[str, ...], read: Read, config: Config, processes: int, *, keeps_lists: bool, served: tuple[str, ...]
) -> dict[str, Run]:
    from streamer.evaluate.methods import Task, run_all

    task = Task(
        stream=read.stream,
        config=config,
        clock=time.perf_counter,
        keeps_lists=keeps_lists,
        served_ms=_served_ms(served, config),
    )
    with contextlib.ExitStack() as stack:
        bars: dict[str, _Bar] = {}

        def told(name: str, done: int) -> None:
            if name not in bars:
                bars[name] = stack.enter_context(_bar(name, " events", read.stream.events))
            bars[name].move_to(done)

        return run_all(methods, task, processes=processes, told=told)


def _served_ms(words: tuple[str, ...], config: Config) -> tuple[int | None, ...]:
    found: list[int | None] = []
    for word in words:
        if word == DEFAULT:
            found += [config.ranking.refresh_ms_max, None]
        else:
            found.append(None if word == OFF else round(1_000 * float(word)))
    return tuple(dict.fromkeys(found))


def _written(
    out: Path,
    events: Path,
    items: Path | None,
    read: Read,
    config: Config,
    runs: dict[str, Run],
    providers_from: str,
    *,
    keeps_lists: bool,
) -> dict[str, Any]:
    """Writes the files, and gives back the report."""
    import msgspec

    from streamer.cli.backtest_input import sha256_of
    from streamer.evaluate.page import page
    from streamer.evaluate.report import list_lines, report_of

    ran_on = {
        "events_file": {"path": str(events), "sha256": sha256_of(events), "format": read.format},
        "items_file": None
        if items is None
        else {"path": str(items), "sha256": sha256_of(items), "providers_from": providers_from},
        "in_order": read.in_order,
        "repeated_event_ids": read.repeated_ids,
        "contents_unusable": {"count": read.problems.contents_count, "named": read.problems.contents},
        "rejected": {"count": read.problems.count, "by_reason": read.problems.by_reason, "named": read.problems.named},
    }
    report = report_of(read.stream, runs, config, ran_on=ran_on, versions=_versions())
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    (out / "report.html").write_text(page(report), encoding="utf-8")
    if keeps_lists:
        with (out / "lists.jsonl").open("wb") as file:
            file.writelines(list_lines(read.stream, runs[OURS]))
    return report


def _versions() -> dict[str, str]:
    found = {
        "streamer": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    for name in VERSIONS_OF:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _tell(report: dict[str, Any], out: Path, *, as_json: bool) -> None:
    from streamer.evaluate import reranking

    window = report["protocol"]["chief_window"]
    click.echo(f"{window.replace('-', ' to ')} % of the stream     HR@10  NDCG@10      MRR  seconds", err=as_json)
    for name, found in report["methods"].items():
        means = found["windows"][window]
        told = [f"{means[metric] or 0.0:9.4f}" for metric in report["protocol"]["metrics"]]
        click.echo(f"{name:24s}{''.join(told)}{found['seconds']:9.1f}", err=as_json)
    for sentence in (*report["verdict"], *reranking.text_table(report)):
        click.echo(sentence, err=as_json)
    click.echo(f"{out / 'report.html'} shows it all", err=as_json)
    if as_json:
        shown = ("compared_with", "verdict", "served", "reranking")
        methods = {name: found["windows"] | {"seconds": found["seconds"]} for name, found in report["methods"].items()}
        say_json(
            {name: report[name] for name in shown if name in report}
            | {"methods": methods, "ran_on": report["ran_on"], "out": str(out)}
        )


class _Bar:
    """A line of progress on stderr, shown once there is something to show."""

    def __init__(self, name: str, unit: str, total: int | None) -> None:
        self._name, self._unit, self._total = name, unit, total
        self._bar: Any = None

    def add(self, count: int) -> None:
        """Moves on by so many."""
        from tqdm import tqdm

        if self._bar is None:
            watched = sys.stderr.isatty()
            self._bar = tqdm(
                total=self._total,
                desc=f"{self._name:14s}",
                unit=self._unit,
                unit_scale=True,
                file=sys.stderr,
                mininterval=WATCHED_S if watched else UNWATCHED_S,
            )
        self._bar.update(count)

    def move_to(self, done: int) -> None:
        """Shows that so many are done."""
        self.add(done - (self._bar.n if self._bar is not None else 0))

    def close(self) -> None:
        """Leaves the line as it stands."""
        if self._bar is not None:
            self._bar.close()


@contextlib.contextmanager
def _bar(name: str, unit: str, total: int | None = None) -> Iterator[_Bar]:
    with contextlib.closing(_Bar(name, unit, total)) as bar:
        yield bar
