"""What an accelerator is worth: learner, catalogue and encoders on a torch device, beside the CPU's own way in the same run.

    python -m benchmarks.device [--device cuda] [--quick]

The device is CUDA where there is any, unless one is named; on `cpu` torch runs what it would run there, fixed shapes too. Both ways
alternate, figures are medians, and the ratio is the device's speed to the CPU's. Where they do not compute the same, the run fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.machine import machine
from streamer.catalog.items import Items, new_items
from streamer.catalog.vectors import ContentVectors
from streamer.config.tree import Config, Encoder
from streamer.encoders import EncoderUnavailable
from streamer.encoders.image import FrozenImageEncoder, find_image_model
from streamer.encoders.locate import locate
from streamer.encoders.recipe import read_recipe
from streamer.encoders.shapes import Shapes
from streamer.encoders.text import TransformerEncoder
from streamer.head.bilinear import (
    DIMENSIONS,
    Head,
    admit_item,
    affinity,
    fill_query,
    new_block,
    new_head,
    note_example,
    with_content,
)
from streamer.head.device import CPU, DeviceUnavailable, require_device
from streamer.head.gradient import Batch, Gradient, GradientByHand, Parameters, gradient_by_hand
from streamer.head.learner import Learner, refresh_all
from streamer.head.torch_gradient import gradient_torch
from streamer.ranking.catalog_scores import USERS_AT_ONCE, Asking, Best, CatalogScores
from streamer.ranking.lists import best_places
from streamer.signals.pairs import CONTEXT
from streamer.windows.users import WINDOW

AGREE = 1e-3
"""The two ways may differ by so much of the largest number."""
ENTRIES = 20
WIDTH = 256
"""Of either modality's vectors, as wide as the fold keeps them."""
SIDE = 224
"""Of a picture, in pixels."""
SEED = 7


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int = 3
    blocks: int = 20
    """In a round."""
    learned_items: int = 20_000
    catalogues: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    texts: int = 256
    pictures: int = 64
    batch: int = Encoder().batch_items_max


QUICK = Plan(rounds=1, blocks=2, learned_items=2_000, catalogues=(1_500,), texts=6, pictures=3, batch=4)


class Row(NamedTuple):
    """A line of the table: what, in which unit, and how much of it a second either way did."""

    what: str
    unit: str
    cpu: float
    device: float

    def __str__(self) -> str:
        return f"{self.what:34s} {self.unit:11s} {self.cpu:15,.1f} {self.device:15,.1f} {self.device / self.cpu:8.2f}"


HEADER = f"{'':34s} {'unit':11s} {'CPU':>15s} {'torch':>15s} {'ratio':>8s}"


def rates(amount: int, rounds: int, cpu: Callable[[], object], device: Callable[[], object]) -> tuple[float, float]:
    """How much a second both do, in turn, after one of each that is not counted."""
    cpu()
    device()
    spent = [(seconds(cpu), seconds(device)) for _ in range(rounds)]
    return amount / median(one for one, _ in spent), amount / median(one for _, one in spent)


def seconds(work: Callable[[], object]) -> float:
    """All that is measured gives arrays of this machine back, so the device is done when it returns."""
    started_s = perf_counter()
    work()
    return perf_counter() - started_s


def learner(plan: Plan, device: str, *, content: bool) -> Row:
    """Whole blocks as the fold closes them: negatives drawn, gradient, step, fused vectors refreshed."""
    by_torch = gradient_torch(device)
    Blocks(plan.learned_items, compared(by_torch), content=content).learn(1)
    ours, theirs = (Blocks(plan.learned_items, gradient, content=content) for gradient in (GradientByHand(), by_torch))
    speeds = rates(plan.blocks, plan.rounds, lambda: ours.learn(plan.blocks), lambda: theirs.learn(plan.blocks))
    return Row(f"learner, {'with' if content else 'without'} content", "blocks/s", *speeds)


class Blocks:
    """A head that learns block after block of random examples in the default sizes."""

    def __init__(self, items: int, gradient: Gradient, *, content: bool) -> None:
        config = Config()
        self._rng = np.random.default_rng(SEED)
        self._records = config.head.block_records
        self._items, self._content = new_items(items), ContentVectors(SEED)
        self._items.ids.used[0] = items
        self._head = new_head(items)
        if content:
            self._head = with_content(self._head, (WIDTH, WIDTH), SEED)
        for item in range(items):
            admit_item(self._head, item, SEED)
            if content:
                text_E, image_E = self._rng.normal(size=(2, WIDTH)).astype(np.float16)
                self._content.set(self._items, item, text_E, image_E)
        refresh_all(self._head, self._items, self._content, items)
        self._block = new_block(self._records)
        rate, negatives = config.head.learning_rate, config.head.negatives
        self._learner = Learner(learning_rate=rate, negatives=negatives, seed=SEED, gradient=gradient)

    def learn(self, blocks: int) -> None:
        items = int(self._items.ids.used[0])
        for _ in range(blocks):
            context_BW = self._rng.integers(0, items, (self._records, WINDOW), np.int32)
            for context_W, target in zip(context_BW, self._rng.integers(0, items, self._records).tolist(), strict=True):
                note_example(self._head, self._block, context_W, WINDOW, target, 1.0)
            self._learner.learn(self._head, self._block, self._items, self._content)


def compared(gradient: Gradient) -> Gradient:
    """A gradient that is held against the one by hand."""

    def both(values: Parameters, batch: Batch) -> Parameters:
        slopes = gradient(values, batch)
        for name, ours, theirs in zip(Parameters._fields, slopes, gradient_by_hand(values, batch), strict=True):
            require_same(f"the slopes of {name}", ours, theirs)
        return slopes

    return both


def require_same(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises RuntimeError where two ways to compute something differ by more than rounding does."""
    apart, largest = np.abs(ours - theirs).max(initial=0.0), np.abs(theirs).max(initial=0.0)
    if not apart <= AGREE * max(1.0, float(largest)):
        raise RuntimeError(f"{what} differ by {apart:.2g} between the device and the CPU, where the largest is {largest:.2g}")


def catalogue(plan: Plan, device: str, items: int) -> Row:
    """The best of all items for USERS_AT_ONCE users, scored by the head: compiled, one user after the other, and by torch."""
    rng = np.random.default_rng(SEED)
    head, catalog = new_head(items), new_items(items)
    head.fused_ID[:], head.bias_I[:] = rng.normal(size=head.fused_ID.shape), rng.normal(size=items)
    catalog.ids.used[0] = items
    catalog.ids.size_R[:] = 1
    asking = Asking(
        rng.integers(0, items, (USERS_AT_ONCE, CONTEXT)).astype(np.int32), np.full(USERS_AT_ONCE, CONTEXT), [[]] * USERS_AT_ONCE
    )
    scores = CatalogScores(device)
    scores.update(head, catalog)
    require_same(
        "the best scores of a catalogue", scores.best(asking, ENTRIES).score_UK, compiled(head, catalog, asking).score_UK
    )
    speeds = rates(
        items * USERS_AT_ONCE, plan.rounds, lambda: compiled(head, catalog, asking), lambda: scores.best(asking, ENTRIES)
    )
    return Row(f"catalogue of {items:,} x {USERS_AT_ONCE} users", "M scores/s", *(speed / 1e6 for speed in speeds))


def compiled(head: Head, catalog: Items, asking: Asking) -> Best:
    """The same by the kernels that rank candidates, given all items."""
    items = int(catalog.ids.used[0])
    item_I, score_I = np.arange(items, dtype=np.int32), np.zeros(items, np.float32)
    mean_D, query_D = np.zeros((2, DIMENSIONS), np.float32)
    best = Best(np.zeros((len(asking.length_U), ENTRIES), np.int64), np.zeros((len(asking.length_U), ENTRIES), np.float32))
    for context_C, length, place_K, score_K in zip(asking.context_UC, asking.length_U, *best, strict=True):
        fill_query(head, context_C, int(length), mean_D, query_D)
        affinity(head, query_D, item_I, items, score_I)
        best_places(score_I, items, place_K)
        score_K[:] = score_I[place_K]
    return best


def encoders(plan: Plan, device: str) -> Iterator[Row]:
    """Texts and pictures as the encoder worker has them; on the CPU in shapes as they come."""
    rng = np.random.default_rng(SEED)
    config, as_it_is = (Encoder(device=where, batch_items_max=plan.batch) for where in (device, CPU))
    words = rng.choice(["boots", "hat", "red", "leather", "warm", "light", "children", "rain"], (plan.texts, 60))
    texts = [" ".join(row[: 1 + n % 60]) for n, row in enumerate(words)]
    recipe = read_recipe(locate(config.text_model))
    one, other = TransformerEncoder(recipe, as_it_is), TransformerEncoder(recipe, config, Shapes(True, config.batch_items_max))
    require_same("vectors of texts", other.encode(texts).astype(np.float32), one.encode(texts).astype(np.float32))
    yield Row(
        "texts encoded", "texts/s", *rates(len(texts), plan.rounds, lambda: one.encode(texts), lambda: other.encode(texts))
    )
    assert config.image_model is not None
    found, pictures = find_image_model(config.image_model), list(rng.integers(0, 256, (plan.pictures, SIDE, SIDE, 3), np.uint8))
    eye, other_eye = (
        FrozenImageEncoder(found, as_it_is),
        FrozenImageEncoder(found, config, Shapes(True, config.batch_items_max)),
    )
    require_same("vectors of pictures", other_eye.encode(pictures).astype(np.float32), eye.encode(pictures).astype(np.float32))
    speeds = rates(len(pictures), plan.rounds, lambda: eye.encode(pictures), lambda: other_eye.encode(pictures))
    yield Row("pictures encoded", "pictures/s", *speeds)


def rows(plan: Plan, device: str) -> Iterator[Row]:
    """The table, line by line."""
    for content in (False, True):
        yield learner(plan, device, content=content)
    for items in plan.catalogues:
        yield catalogue(plan, device, items)
    try:
        yield from encoders(plan, device)
    except EncoderUnavailable as error:
        print(f"left out: {error}", file=sys.stderr)


def main() -> int:
    """Prints a table; exit status 1 where the device is not there, or computes something else."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else CPU, help="of torch; cuda where there is any"
    )
    parser.add_argument("--quick", action="store_true", help="one small round: does it still run?")
    options = parser.parse_args()
    try:
        require_device(options.device)
        name = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
        print(f"torch {torch.__version__} on {name}, {torch.get_num_threads()} threads; {machine()}\n{HEADER}", flush=True)
        for row in rows(QUICK if options.quick else Plan(), options.device):
            print(row, flush=True)
    except (DeviceUnavailable, RuntimeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
