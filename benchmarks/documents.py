"""Documents with texts and pictures made up from a seed, and how fast they become vectors."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.encoders import encoded
from benchmarks.measured import Measured
from streamer.config.tree import Encoder
from streamer.events.model import ItemDocument

WORDS_FROM = Path(__file__).resolve().parent.parent / "docs"
WORDS_MIN, WORDS_MAX = 30, 120
"""Of a text."""
PIXELS = (640, 480)
COARSE = 24
"""A picture is made of so many times so many random patches, drawn out smoothly, and of noise."""
NOISE = 12.0


def documents(root: Path, count: int, seed: int = 7) -> list[ItemDocument]:
    """Texts of words that occur in the documentation, JPEG pictures under ``root``."""
    random = np.random.default_rng(seed)
    pages = "\n".join(path.read_text(encoding="utf-8") for path in sorted(WORDS_FROM.glob("*.md")))
    words = sorted(set(re.findall(r"\b[a-z]{2,14}\b", pages)))
    found = []
    for n in range(count):
        coarse = random.integers(0, 256, (COARSE, COARSE, 3)).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize(PIXELS, Image.Resampling.BICUBIC), np.float32)
        pixels = np.clip(smooth + random.normal(0.0, NOISE, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{n}.jpg", quality=85)
        text = " ".join(random.choice(words, random.integers(WORDS_MIN, WORDS_MAX)))
        title = " ".join(random.choice(words, 4))
        found.append(ItemDocument(item_id=f"item-{n}", title=title, text=text, image=f"{n}.jpg"))
    return found


def encoders(found: Measured, *, items: int, rounds: int) -> None:
    """Bare models and the pipeline, with shipped models."""
    with tempfile.TemporaryDirectory() as folder:
        made = documents(Path(folder), items)
        for _ in range(rounds):
            once = encoded(Encoder(), made, Path(folder))
            found.figures.add("bare_texts", "texts/s", once.texts.wall)
            found.figures.add("bare_pictures", "pictures/s", once.pictures.wall)
            found.figures.add("bare_models", "items/s", once.bare.wall)
            found.figures.add("encoder_pipeline", "items/s", once.first.wall)
            found.figures.add("encoder_pipeline_cached", "items/s", once.second.wall)
    found.ratio("encoder_pipeline_to_bare_models", "encoder_pipeline", "bare_models")
