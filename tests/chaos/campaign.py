"""A campaign: two workers, a broker and a store of their own, events that keep coming, and faults from a seeded plan."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from chaos import report
from chaos.check import DEAD_TOPICS, TOPICS, Found, LogCopy, at_rest, check
from chaos.faults import KINDS, Fault, Scene, plan
from chaos.feed import Feed
from chaos.parts import Parts
from chaos.watch import Watch

logger = logging.getLogger(__name__)

CHECK_EVERY = 5
"""Faults between two checks."""
EVENTS_A_SECOND = 150
EVENTS_FIRST_S = 3.0


class Campaign:
    """Runs faults one after the other; ``figures`` is the report."""

    def __init__(self, folder: Path, seed: int, *, partitions: int | None = None) -> None:
        self.seed = seed
        self.partitions = partitions or 1 + seed % 4
        self.violations: list[str] = []
        self.happened: list[dict[str, Any]] = []
        self.checks: list[Found] = []
        self._stack = contextlib.ExitStack()
        self._started_s = time.monotonic()
        try:
            self.parts = self._stack.enter_context(contextlib.closing(Parts(folder, self.partitions)))
            self.watch = self._stack.enter_context(contextlib.closing(Watch(self.parts)))
            self.scene = Scene(self.parts, self.watch)
            self.scene.second()
            self.parts.wait_owner()
            self.feed = self._stack.enter_context(contextlib.closing(Feed(self.parts.config, seed, EVENTS_A_SECOND)))
            self._log = LogCopy(self.parts, TOPICS)
            self._dead = LogCopy(self.parts, DEAD_TOPICS)
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        self._stack.close()

    def run(self, faults: Iterable[Fault], *, until_s: float) -> None:
        """Faults until ``until_s`` seconds have gone by or there are no more; a check now and then, and one at the end."""
        started_s = time.monotonic()
        self.feed.go()
        time.sleep(EVENTS_FIRST_S)
        try:
            for n, fault in enumerate(faults, 1):
                if time.monotonic() - started_s > until_s:
                    break
                self._fault(fault)
                if n % CHECK_EVERY == 0:
                    self._check(whole=False)
                    self.feed.go()
            self._check(whole=True)
        except Exception as error:  # noqa: BLE001 - the report tells of it
            self.violations.append(f"the campaign ended early: {error}\n{traceback.format_exc()[-1500:]}")
        self.violations += self.watch.violations

    def _fault(self, fault: Fault) -> None:
        time.sleep(fault.rest_s)
        began_s = time.monotonic()
        logger.info("%.0f s: %s", began_s - self._started_s, fault)
        one: dict[str, Any] = {"at_s": round(began_s - self._started_s), "kind": fault.kind, "seconds": round(fault.seconds, 1)}
        self.happened.append(one | {"took_s": None})
        KINDS[fault.kind](self.scene, fault)
        self.happened[-1] = one | {"took_s": round(time.monotonic() - began_s, 1)}

    def _check(self, *, whole: bool) -> None:
        self.feed.pause()
        at_rest(self.scene)
        found = check(self.scene, self.feed, self._log, self._dead, whole=whole)
        logger.info("check: %s", found)
        self.checks.append(found)
        self.violations += found.faults

    @property
    def figures(self) -> dict[str, Any]:
        """All that is worth telling."""
        last = self.checks[-1] if self.checks else Found()
        scene = self.scene
        restores_s = report.restores_in([worker.process.text for worker in self.parts.all_workers])
        return {
            "seed": self.seed,
            "minutes": round((time.monotonic() - self._started_s) / 60, 1),
            "partitions": self.partitions,
            "violations": self.violations,
            "faults": dict(Counter(one["kind"] for one in self.happened)),
            "kills survived": scene.kills,
            "outage seconds": {name: round(value, 1) for name, value in scene.outage_s.items()},
            "sent": dict(self.feed.sent),
            "acknowledged events": len(self.feed.acknowledged),
            "refused sends": len(self.feed.refused),
            "records folded": last.records,
            "counters": last.counters,
            "lost": last.lost + last.acknowledged_and_missing,
            "doubled": last.doubled,
            "dead letters": {"records": last.dead_letters, "sent again": last.dead_letters_twice},
            "takeover seconds": report.spread(scene.takeovers_s),
            "restore seconds": report.spread(restores_s),
            "seconds to end at SIGTERM": report.spread(scene.ends_s),
            "seconds until lists were complete": report.spread([found.lists_s for found in self.checks]),
            "checks": len(self.checks),
            "looks": dict(self.watch.looks),
            "slowest probe seconds": round(self.watch.slowest_probe_s, 2),
            "starts refused": scene.refused_starts,
            "workers started": len(self.parts.all_workers),
            "plan": self.happened,
        }


def campaign(folder: Path, seed: int, minutes: float, out: Path) -> dict[str, Any]:
    """Runs one and writes its report."""
    with contextlib.closing(Campaign(folder, seed)) as running:
        running.run(plan(seed), until_s=60 * minutes)
        figures = running.figures
    report.write(out, figures)
    return figures


def first_of(seed: int, kinds: Iterable[str]) -> list[Fault]:
    """What the plan of a seed has for these kinds, each once, in the order of ``kinds``."""
    drawn = {fault.kind: fault for fault in islice(plan(seed), 4 * len(KINDS))}
    return [drawn[kind] for kind in kinds]
