"""Two backtests, from what ``streamer backtest --out DIR`` wrote: what they ran on, and what came out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from streamer.compare.lists import compare_lists
from streamer.compare.values import MACHINE, Found, RunUnreadable, Told, changes, leaves

REPORT, LISTS = "report.json", "lists.jsonl"
FORMATS = (1,)
"""Of reports that can be compared."""
NEEDED = ("ran_on", "config", "versions", "protocol", "compared_with", "methods")
NO_FIGURES = ("seconds", "about")
"""Of a method: how long it took, and what it is."""
STATE_NAMED = "state"


def read_report(folder: Path) -> Found:
    """The report of a backtest's folder. Raises RunUnreadable where there is none that can be used."""
    path = folder / REPORT
    try:
        report = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise RunUnreadable(
            f"{folder}: holds no {REPORT}; expected the folder of a `streamer backtest EVENTS --out DIR`"
        ) from None
    except OSError as error:
        raise RunUnreadable(f"{path}: cannot be read: {error.strerror or error}") from error
    except msgspec.MsgspecError as error:
        raise RunUnreadable(f"{path}: is cut or damaged: {error}; run the backtest again") from error
    if not isinstance(report, dict) or report.get("format") not in FORMATS:
        found = report.get("format") if isinstance(report, dict) else type(report).__name__
        raise RunUnreadable(
            f"{path}: expected a report of format {FORMATS[-1]}, found {found!r}; compare with the release that wrote it"
        )
    missing = [name for name in NEEDED if name not in report]
    if missing:
        raise RunUnreadable(f"{path}: is no report of a backtest: it lacks {', '.join(missing)}")
    try:
        results_hash(report), {name: found["over_time"] for name, found in report["methods"].items()}, report["ran_on"].items()
    except (AttributeError, KeyError, TypeError) as error:
        raise RunUnreadable(f"{path}: is no report of a backtest as it stands: {error!r}; run the backtest again") from error
    return report


def results_of(report: Mapping[str, Any]) -> Found:
    """The figures that the methods reached, by method, and those of lists as served, by period: the same runs have the same.

    Not among them are times, and intervals, whose last bits may depend on the threads of a matrix product.
    """
    methods = {name: _figures(found) for name, found in report["methods"].items()}
    return {"methods": methods, "served": report.get("served", {})}


def _figures(found: Mapping[str, Any]) -> Found:
    return {field: value for field, value in found.items() if field not in NO_FIGURES}


def _figures_beside(found: Mapping[str, Any], other: Mapping[str, Any]) -> Found:
    """Those to be compared with another's: hashes of the state only where the other has some, which reports of former releases lack."""
    return {field: value for field, value in _figures(found).items() if field != STATE_NAMED or field in other}


def results_hash(report: Mapping[str, Any]) -> str:
    """A hash of all that came out."""
    return hashlib.sha256(msgspec.json.encode(results_of(report), order="deterministic")).hexdigest()


def compare_backtests(folders: tuple[Path, Path], told: Told) -> Found:
    """What differs between two backtests. Raises RunUnreadable, OSError."""
    a, b = (read_report(folder) for folder in folders)
    lists = _lists(folders, told)
    versions = changes(a["versions"], b["versions"])
    found: Found = {
        "kind": "backtests",
        "a": _about(folders[0], a),
        "b": _about(folders[1], b),
        "configuration": _configuration(a, b),
        "versions": [one for one in versions if one["key"] != MACHINE],
        "inputs": changes(_inputs(a), _inputs(b)),
        "circumstances": _circumstances(folders, a, b) + [one for one in versions if one["key"] == MACHINE],
        "methods": _methods(a, b),
        "served": _served(a.get("served", {}), b.get("served", {})),
        "state": _state(a, b),
        "lists": lists,
    }
    figures = changes(_shared(a, b), _shared(b, a))
    found["figures_differing"] = [one["key"] for one in figures]
    listed = lists is not None and lists.get("compared") and not lists["equal"]
    found["same_results"] = bool(found["methods"]) and not figures and not listed
    found["equal"] = found["same_results"] and not any(found[name] for name in ("configuration", "versions", "inputs"))
    return found


def _shared(report: Mapping[str, Any], other: Mapping[str, Any]) -> Found:
    """All figures of what both ran, by their way through the report."""
    mine, theirs = results_of(report), results_of(other)
    both = {
        kind: {name: _figures_beside(mine[kind][name], theirs[kind][name]) for name in mine[kind] if name in theirs[kind]}
        for kind in mine
    }
    return dict(leaves(both))


def _about(folder: Path, report: Mapping[str, Any]) -> Found:
    ran = report["ran_on"]
    return {
        "run": str(folder),
        "results_sha256": results_hash(report),
        "events_sha256": ran["events_file"]["sha256"],
        "events": ran["events"],
        "methods": list(report["methods"]),
        "seed": report.get("seed"),
    }


def _configuration(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Found]:
    """Settings that differ: all that a backtest reads where both reports hold them, else those that are not the defaults."""
    if "effective" in a and "effective" in b:
        return changes(a["effective"], b["effective"])
    return changes(a["config"], b["config"])


def _inputs(report: Mapping[str, Any]) -> Found:
    ran = report["ran_on"]
    items = ran.get("items_file")
    facts = {key: value for key, value in ran.items() if key not in {"events_file", "items_file", "rejected"}}
    return dict(leaves(facts)) | {
        "events_file.sha256": ran["events_file"]["sha256"],
        "events_file.format": ran["events_file"]["format"],
        "items_file.sha256": None if items is None else items["sha256"],
        "rejected.count": ran["rejected"]["count"],
        "methods": sorted(report["methods"]),
        "served": sorted(report.get("served", {})),
    }


def _circumstances(folders: Sequence[Path], a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Found]:
    """What may differ between two runs that are the same: where things lay, how long it took."""

    def of(folder: Path, report: Mapping[str, Any]) -> Found:
        items = report["ran_on"].get("items_file")
        return {
            "events_file.path": report["ran_on"]["events_file"]["path"],
            "items_file.path": None if items is None else items["path"],
            "lists are kept": (folder / LISTS).is_file(),
            **{f"seconds of {name}": round(found["seconds"], 1) for name, found in report["methods"].items()},
        }

    return changes(of(folders[0], a), of(folders[1], b))


def _methods(a: Mapping[str, Any], b: Mapping[str, Any]) -> Found:
    """By method that both ran: windows and series side by side."""
    metrics = a["protocol"]["metrics"]
    both = {}
    for name, found in a["methods"].items():
        other = b["methods"].get(name)
        if other is not None:
            both[name] = {
                "windows": {
                    window: {
                        metric: _values(means, other["windows"].get(window, {}), metric) for metric in (*metrics, "targets")
                    }
                    for window, means in found["windows"].items()
                },
                "over_time": {
                    metric: _series(found["over_time"][metric], other["over_time"].get(metric, [])) for metric in metrics
                },
                "differing": _figures_beside(found, other) != _figures_beside(other, found),
            }
    return both


def _values(a: Mapping[str, Any], b: Mapping[str, Any], metric: str) -> Found:
    one, other = a.get(metric), b.get(metric)
    return {"a": one, "b": other, "difference": None if one is None or other is None else other - one}


def _series(a: Sequence[float | None], b: Sequence[float | None]) -> Found:
    """Two series with where they part first, and where most; parts count from 0."""
    parts = range(max(len(a), len(b)))
    values = [(a[n] if n < len(a) else None, b[n] if n < len(b) else None) for n in parts]
    differing = [n for n, (one, other) in enumerate(values) if one != other]
    sizes = {n: abs(other - one) for n in differing for one, other in [values[n]] if one is not None and other is not None}
    most = max(sizes, key=lambda n: (sizes[n], -n), default=None)
    return {
        "a": list(a),
        "b": list(b),
        "parts": len(parts),
        "parts_differing": len(differing),
        "first": differing[0] if differing else None,
        "largest": None if most is None else {"part": most, "difference": sizes[most]},
    }


def _served(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Found]:
    """Figures of lists as served that differ, of the periods that both ran."""
    both = [period for period in a if period in b]
    return changes(dict(leaves({one: a[one] for one in both})), dict(leaves({one: b[one] for one in both})))


def _state(a: Mapping[str, Any], b: Mapping[str, Any]) -> Found | None:
    """Tables of the engine at the end of the stream; None where a report of a former release lacks their hashes."""
    with_state = [{name for name, one in report["methods"].items() if STATE_NAMED in one} for report in (a, b)]
    ours = next((name for name in a["methods"] if all(name in names for names in with_state)), None)
    if ours is None:
        return None
    states = [report["methods"][ours][STATE_NAMED] for report in (a, b)]
    return {
        "method": ours,
        "sha256": {"a": states[0]["sha256"], "b": states[1]["sha256"]},
        "tables": len(states[0]["tables"].keys() | states[1]["tables"].keys()),
        "differing": [one["key"] for one in changes(states[0]["tables"], states[1]["tables"])],
    }


def _lists(folders: tuple[Path, Path], told: Told) -> Found | None:
    kept = [(folder / LISTS).is_file() for folder in folders]
    if not all(kept):
        return None if not any(kept) else {"compared": False, "only_in": "a" if kept[0] else "b"}
    return {"compared": True} | compare_lists(folders[0] / LISTS, folders[1] / LISTS, told)
