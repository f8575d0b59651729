"""``python -m tests.simulation --minutes N [--seed S]``: simulated runs, as many as fit, and one line of JSON; status 1 where one broke a promise."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]


def main() -> int:
    from runs import random_seed, simulate_for

    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Owners that die wherever a seed says.")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random_seed(), help="of the first run; the next takes the next number")
    chosen = parser.parse_args()
    sys.stderr.write(f"first seed {chosen.seed}\n")
    started_s = time.monotonic()
    try:
        runs, happened = simulate_for(60 * chosen.minutes, chosen.seed)
    except Exception:  # noqa: BLE001 - whatever it is, the note of the error names the seed
        traceback.print_exc()
        return 1
    minutes = (time.monotonic() - started_s) / 60
    figures = {"seed": chosen.seed, "runs": runs, "minutes": round(minutes, 2), "runs a minute": round(runs / minutes)}
    sys.stdout.write(json.dumps(figures | dict(sorted(happened.items()))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
