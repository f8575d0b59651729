"""Simulated runs: one of a seed, or as many as fit in a time, and what happened in them."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator
from unittest import mock

from world import FragileEngine, World


def simulate(seed: int) -> World:
    """One run and the check of all that must be so after it; the world as it is then. An error names the seed."""
    with _prepared():
        world = World(seed)
        try:
            world.run()
            world.check()
        except BaseException as error:
            error.add_note(f"simulation {seed}: run it again with STREAMER_SIMULATION_SEED={seed}")
            raise
    return world


def simulate_for(seconds: float, first_seed: int) -> tuple[int, Counter[str]]:
    """Runs of successive seeds, silent, until the time is up, at least one; their number and what happened in them."""
    started_s, runs, happened = time.monotonic(), 0, Counter[str]()
    logging.disable(logging.CRITICAL)
    try:
        while not runs or time.monotonic() - started_s < seconds:
            happened += simulate(first_seed + runs).happened
            runs += 1
    finally:
        logging.disable(logging.NOTSET)
    return runs, happened


def random_seed() -> int:
    """Another at every call."""
    return random.SystemRandom().randrange(10**9)


@contextlib.contextmanager
def _prepared() -> Iterator[None]:
    """Engines that fail at poison, and names of snapshots that the same seed makes again."""
    rng = random.Random(0)
    with contextlib.ExitStack() as patches:
        for module in ("consumers.fold", "consumers.restoring"):
            patches.enter_context(mock.patch(f"{module}.Engine", FragileEngine))
        patches.enter_context(
            mock.patch("consumers.snapshotter.secrets.token_hex", side_effect=lambda _: f"{rng.randrange(1 << 32):08x}")
        )
        yield
