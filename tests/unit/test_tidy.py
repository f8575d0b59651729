"""The source's own rules: who imports whom, what the core never touches, how long a file may be, what is never written down."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("streamer", "consumers", "producers")
CODE = (*PACKAGES, "tests", "benchmarks")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 80

BELOW_WINDOWS = {"events", "tables", "config"}
BELOW_SIGNALS = BELOW_WINDOWS | {"windows", "catalog"}
BELOW_RANKING = BELOW_SIGNALS | {"signals", "head"}
BELOW_SNAPSHOTS = BELOW_RANKING | {"ranking", "engine"}

ROOMS: dict[str, set[str]] = {
    "config": set(),
    "events": set(),
    "ports": {"events"},
    "tables": {"events", "config"},
    "windows": BELOW_WINDOWS,
    "catalog": BELOW_WINDOWS,
    "signals": {"windows", "catalog", "tables", "config"},
    "head": BELOW_SIGNALS | {"signals"},
    "ranking": BELOW_RANKING,
    "engine": BELOW_SNAPSHOTS - {"engine"},
    "snapshots": BELOW_SNAPSHOTS | {"ports"},
    "tracking": {"config"},
    "evaluate": BELOW_SNAPSHOTS | {"ports", "snapshots", "tracking"},
    "compare": BELOW_SNAPSHOTS | {"ports", "snapshots", "evaluate"},
    "encoders": {"events", "config", "ports"},
    "embedded": {"ports", "events", "config"},
}
"""What each room of ``streamer`` may import of the others; ``cli`` may import everything."""

CORE = set(ROOMS) - {"embedded"}
ONLY_STDLIB_AND = {"config": {"msgspec"}, "events": {"msgspec"}}
ONLY_IMPORTERS = {
    "transformers": ("streamer.encoders",),
    "timm": ("streamer.encoders",),
    "PIL": ("streamer.encoders",),
    "redis": ("consumers",),
    "prometheus_client": ("consumers",),
    "river": ("streamer.evaluate", "consumers.drift"),
    "kafka": ("consumers", "producers"),
    "confluent_kafka": ("consumers.kafka_fast",),
    "mlflow": ("streamer.tracking",),
    "tensorboard": ("streamer.tracking",),
    "opentelemetry": ("consumers.tracing", "producers.tracing"),
    "recbole": (),
}
"""Third parties that few may import, and these few; recbole carries a recording and is never imported."""

CLOCKS = {
    *(
        f"time.{name}{unit}"
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
        for unit in ("", "_ns")
    ),
    *(f"time.{name}" for name in ("sleep", "localtime", "gmtime", "ctime", "strftime")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"}
SEEDED = {"Generator", "BitGenerator", "SeedSequence", "Philox", "PCG64", "default_rng"}
"""What ``numpy.random`` has that keeps no global state."""


def sources(*folders: str) -> list[Path]:
    """The Python files of these top-level folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module: ast.Module, name: str, *, is_package: bool) -> Iterator[tuple[str, int]]:
    """Every module imported anywhere in the file, with its line; ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".")
                kept = parents[: len(parents) - node.level + is_package]
                base = ".".join([*kept, base]).rstrip(".")
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    return imports(parsed(path), module_of(path), is_package=path.name == "__init__.py")


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def may_import(importer: str, imported: str) -> bool:
    """Whether the table of rooms lets one module of ours import another."""
    top, _, rest = importer.partition(".")
    imported_top, _, imported_rest = imported.partition(".")
    room, imported_room = rest.partition(".")[0], imported_rest.partition(".")[0]
    if top == imported_top and (top != "streamer" or room == imported_room):
        return True
    if top == "streamer":
        if room == "cli":
            return True
        return imported_top == "streamer" and (imported_room not in {*ROOMS, "cli"} or imported_room in ROOMS.get(room, set()))
    if top == "consumers":
        senders = ("producers.sender", "producers.kafka_client", "producers.tracing")
        return (imported_top == "streamer" and imported_room != "cli") or any(within(imported, name) for name in senders)
    return imported_top == "streamer" and imported_room in {"events", "config", "ports"}


def test_imports_follow_the_direction_of_the_rooms() -> None:
    wrong = [
        f"{where(path, line)}: {module_of(path)} may not import {imported}"
        for path in sources(*PACKAGES)
        for imported, line in imports_of(path)
        if imported.partition(".")[0] in PACKAGES and not may_import(module_of(path), imported)
    ]
    assert wrong == []


def test_every_room_is_in_the_table() -> None:
    rooms = {path.parent.name for path in (ROOT / "streamer").glob("*/__init__.py")}
    assert rooms - {*ROOMS, "cli"} == set()


def test_config_and_events_need_nothing_but_the_standard_library_and_msgspec() -> None:
    wrong = [
        f"{where(path, line)}: {imported}"
        for room, allowed in ONLY_STDLIB_AND.items()
        for path in sources(f"streamer/{room}")
        for imported, line in imports_of(path)
        if imported.partition(".")[0] not in {*sys.stdlib_module_names, *allowed, "streamer"}
    ]
    assert wrong == []


def test_third_parties_are_imported_only_where_they_belong() -> None:
    wrong = [
        f"{where(path, line)}: {imported.partition('.')[0]} belongs to {', '.join(ONLY_IMPORTERS[imported.partition('.')[0]]) or 'nobody'}"
        for path in sources(*PACKAGES)
        for imported, line in imports_of(path)
        if imported.partition(".")[0] in ONLY_IMPORTERS
        and not any(within(module_of(path), owner) for owner in ONLY_IMPORTERS[imported.partition(".")[0]])
    ]
    assert wrong == []


def aliases(module: ast.Module) -> dict[str, str]:
    """What each imported name stands for: ``np`` is ``numpy``, ``now`` of ``from time import time as now`` is ``time.time``."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else alias.name.partition(".")[0]
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """The full name of an expression such as ``np.random.rand``, None where it is no imported name."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (base := dotted(node.value, names)):
        return f"{base}.{node.attr}"
    return None


def impurity(name: str) -> str | None:
    """What the core must not touch behind a full name, None where it is harmless."""
    if name in CLOCKS:
        return f"{name} reads a clock or waits: take the time as an argument"
    if name in ENVIRONMENT:
        return f"{name} reads the environment: only streamer.config does"
    if name.startswith("random."):
        return f"{name} is global random state: draw from a seed"
    if name.startswith("numpy.random.") and name.split(".")[2] not in SEEDED:
        return f"{name} is global random state: draw from a seed"
    return None


def impurities(module: ast.Module) -> Iterator[tuple[str, int]]:
    names = aliases(module)
    for node in ast.walk(module):
        if (
            isinstance(node, ast.Call)
            and dotted(node.func, names) == "numpy.random.default_rng"
            and not node.args + node.keywords
        ):
            yield "numpy.random.default_rng() without a seed", node.lineno
        if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node, names)) and (why := impurity(name)):
            yield why, node.lineno


def test_the_core_reads_no_clock_no_environment_and_no_global_random_state() -> None:
    wrong = [
        f"{where(path, line)}: {why}"
        for room in sorted(CORE)
        for path in sources(f"streamer/{room}")
        for why, line in impurities(parsed(path))
        if not (room == "config" and "environment" in why)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.monotonic()",
        "from time import time as now\nnow()",
        "import time as t\nclock = t.perf_counter_ns",
        "from datetime import datetime\ndatetime.now()",
        "import datetime as dt\ndt.datetime.now(dt.UTC)",
        "import os\nos.environ['A']",
        "from os import getenv\ngetenv('A')",
        "import random\nrandom.random()",
        "import numpy as np\nnp.random.rand(3)",
        "from numpy.random import default_rng\ndefault_rng()",
    ],
)
def test_an_impure_line_is_found_whatever_its_alias(code: str) -> None:
    assert list(impurities(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np\nnp.random.default_rng(7)",
        "def f(time: int) -> int:\n    return time",
        "import datetime\ndatetime.datetime(2026, 1, 1)",
    ],
)
def test_a_pure_line_is_left_alone(code: str) -> None:
    assert list(impurities(ast.parse(code))) == []


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("streamer.signals.pairs", "streamer.windows.state", True),
        ("streamer.windows.state", "streamer.signals.pairs", False),
        ("streamer.engine.step", "streamer.ports", False),
        ("streamer.engine.step", "streamer.__version__", True),
        ("streamer.engine.step", "consumers.owner", False),
        ("streamer.cli.main", "consumers.owner", True),
        ("consumers.owner", "streamer.engine.step", True),
        ("consumers.owner", "streamer.cli.main", False),
        ("consumers.owner", "producers.sender.Sender", True),
        ("consumers.owner", "producers.replay", False),
        ("producers.replay", "streamer.ports.LogWriter", True),
        ("producers.replay", "streamer.engine.step", False),
    ],
)
def test_the_table_of_rooms_allows_and_forbids(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


def test_relative_imports_are_resolved() -> None:
    code = ast.parse("from . import a\nfrom ..windows import b")
    assert [name for name, _ in imports(code, "streamer.signals.pairs", is_package=False)] == [
        "streamer.signals.a",
        "streamer.windows.b",
    ]
    assert [name for name, _ in imports(code, "streamer.signals", is_package=True)] == [
        "streamer.signals.a",
        "streamer.windows.b",
    ]


def test_a_file_can_be_read_in_one_sitting() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*CODE)}
    assert [f"{where(path, 1)}: {length} lines" for path, length in lengths.items() if length > FILE_LINES_MAX] == []


def test_a_function_can_be_read_on_a_screen() -> None:
    wrong = [
        f"{where(path, node.lineno)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in sources(*CODE)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert wrong == []


def test_only_the_command_and_the_benchmarks_print() -> None:
    wrong = [
        where(path, node.lineno)
        for path in sources(*PACKAGES, "tests")
        if not within(module_of(path), "streamer.cli")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []


HOSTS = (
    ("py", "pi.org"),
    ("pythonho", "sted.org"),
    ("repo.ma", "ven.apa", "che.org"),
    ("repo1.ma", "ven.org"),
    ("np", "mjs.org"),
)
"""In pieces, so that this file does not name them itself."""

FOLDERS = re.compile(r"(?<![\w.}*])/(?:" + "|".join(("wo" + "rk", "t" + "mp", "ro" + "ot")) + r")(?:/|\b(?=[\s\"'`]))")
NOTES = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")

FORBIDDEN: dict[str, Callable[[str], bool]] = {
    "a path of one machine": lambda line: bool(FOLDERS.search(line)),
    "the host of a package registry": lambda line: any("".join(host) in line for host in HOSTS),
    "a note that something is unfinished": lambda line: bool(NOTES.search(line)),
}


def texts() -> Iterator[Path]:
    """Everything that people read: code, documents, deployment files, the files at the top."""
    suffixes = {".py", ".md", ".toml", ".txt", ".json", ".yml", ".yaml", ".xml", ".sh", ".properties", ".html", ""}
    for folder in (*CODE, "deploy", "docs", ".ci"):
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in suffixes)
    yield from (path for path in ROOT.iterdir() if path.is_file() and (path.suffix in suffixes or path.name == ".gitignore"))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_that_people_read_holds(what: str) -> None:
    wrong = [
        f"{where(path, number)}: {line.strip()[:100]}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if FORBIDDEN[what](line)
    ]
    assert wrong == []


def test_machine_paths_are_told_from_other_paths() -> None:
    for folder in ("wo" + "rk", "t" + "mp", "ro" + "ot"):
        assert FOLDERS.search(f'open("/{folder}/x")')
        assert FOLDERS.search(f"cd /{folder} && ls")
        assert not FOLDERS.search(f"deploy/{folder}/x")
        assert not FOLDERS.search(f"either/{folder}s")
