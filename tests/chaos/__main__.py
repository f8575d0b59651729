"""``python -m tests.chaos --minutes N --seed S --out DIR``: a campaign of faults, and its report; status 1 where a promise was broken."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    from chaos.campaign import campaign

    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults from a seeded plan, and a report.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--out", type=Path, default=Path(".chaos"))
    parser.add_argument("--keep", type=Path, help="a folder for what the parts write, kept; by default a temporary one")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="chaos") as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = campaign(folder, chosen.seed, chosen.minutes, chosen.out)
    sys.stdout.write((chosen.out / "chaos.md").read_text())
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
