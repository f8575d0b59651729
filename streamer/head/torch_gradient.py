"""The head's gradient by automatic differentiation: the readable reference of the one by hand, and the one that runs on CUDA.

A block goes to the device as one array and its slopes come back as one. Blocks are filled up to few shapes, so that the device's
allocator finds memory of the same sizes again; what fills them up is weighed by 0 and read by nothing else. Nothing of the block is
kept there: the optimizer's state is the CPU's, and every block has other items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from streamer.head.bilinear import ATTENTION_MAX
from streamer.head.device import require_device
from streamer.head.gradient import Batch, Gradient, Parameters
from streamer.tables.arrays import Array

ITEMS_MIN, EXAMPLES_MIN = 1_024, 64
"""Smaller blocks are filled up to so many."""
INDICES = ("context_BC", "target_B", "negative_N")
SENT = tuple(name for name in Batch._fields if name != "item_T")
"""What of a batch its likelihood depends on."""


class Shape(NamedTuple):
    """The sizes in which a batch is computed: powers of two of items and examples."""

    items: int
    examples: int
    negatives: int
    content: int


def shape_of(batch: Batch) -> Shape:
    """The smallest that holds the batch, and at least one item that is none: those examples that are none are about it."""
    return Shape(
        items=max(ITEMS_MIN, 1 << len(batch.item_T).bit_length()),
        examples=max(EXAMPLES_MIN, 1 << (len(batch.target_B) - 1).bit_length()),
        negatives=len(batch.negative_N),
        content=batch.content_TE.shape[1],
    )


def log_likelihood(values: tuple[torch.Tensor, ...], batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The weighted binomial log-likelihood of a batch (SENT): targets are hits, negatives (but for the target itself) are not.

    A target of negative weight was shown and not chosen: no hit, and nothing was drawn against it.
    """
    free_TD, bias_T, content_ED, turn_DD, place_C, key_D = values
    content_TE, trust_T, context_BC, used_BC, target_B, negative_N, target_odds_B, negative_odds_N, weight_B = batch
    fused_TD = trust_T[:, None] * free_TD + content_TE @ content_ED
    fused_BCD = fused_TD[context_BC]
    logit_BC = bounded(place_C + fused_BCD @ key_D)
    share_BC = torch.softmax(logit_BC.masked_fill(used_BC == 0, -torch.inf), dim=1)
    query_BD = (share_BC[:, :, None] * fused_BCD).sum(dim=1) @ turn_DD.T
    hit_B = (query_BD * fused_TD[target_B]).sum(dim=1) + bias_T[target_B] - target_odds_B
    miss_BN = query_BD @ fused_TD[negative_N].T + bias_T[negative_N] - negative_odds_N
    other_BN = (negative_N[None, :] != target_B[:, None]).float()
    chosen_B, ignored_B = weight_B.clamp(min=0), (-weight_B).clamp(min=0)
    targets = (chosen_B * logsigmoid(hit_B) + ignored_B * logsigmoid(-hit_B)).sum()
    return targets + (chosen_B[:, None] * other_BN * logsigmoid(-miss_BN)).sum()


def bounded(logit_BC: torch.Tensor) -> torch.Tensor:
    """Logits of places within their bounds, whose slopes are as if there were none: what is beyond them can come back."""
    return logit_BC + (logit_BC.clamp(-ATTENTION_MAX, ATTENTION_MAX) - logit_BC).detach()


def gradient_torch(device: str) -> Gradient:
    """The gradient on a torch device: arrays in, arrays out. Raises DeviceUnavailable."""
    require_device(device)
    staging = Staging(pinned=torch.device(device).type == "cuda")

    def gradient(values: Parameters, batch: Batch) -> Parameters:
        layout = Layout(values, shape_of(batch))
        sent_S = staging.filled(layout, values, batch).to(device, non_blocking=True)
        value_P = sent_S[: layout.parameters].detach().requires_grad_()
        parameters, parts = layout.tensors(value_P, Parameters._fields), layout.tensors(sent_S[layout.parameters :], SENT)
        [slope_P] = torch.autograd.grad(log_likelihood(parameters, parts), value_P)
        slopes = layout.tensors(slope_P.cpu(), Parameters._fields)  # the staging is read by now
        return Parameters(*(slope.numpy()[: len(value)] for slope, value in zip(slopes, values, strict=True)))

    return gradient


class Layout:
    """Where each array of a block lies among the numbers that are sent: the parameters first, ``parameters`` of them in all."""

    def __init__(self, values: Parameters, shape: Shape) -> None:
        length = {"T": shape.items, "B": shape.examples, "N": shape.negatives, "E": shape.content}
        length |= {"C": len(values.place_C), "D": len(values.key_D)}
        names = (*Parameters._fields, *SENT)
        self.none = shape.items - 1
        """The place of an item that is none."""
        self._shape = {name: tuple(length[axis] for axis in name.rpartition("_")[2]) for name in names}
        self._size = {name: math.prod(of_array) for name, of_array in self._shape.items()}
        self.size, self.parameters = sum(self._size.values()), sum(self._size[name] for name in Parameters._fields)

    def tensors(self, flat: torch.Tensor, names: tuple[str, ...]) -> tuple[torch.Tensor, ...]:
        """The tensors of those names, which fill ``flat`` one behind the other."""
        parts = flat.split([self._size[name] for name in names])
        return tuple(
            (part.view(torch.int32) if name in INDICES else part).view(self._shape[name])
            for name, part in zip(names, parts, strict=True)
        )

    def arrays(self, flat: Array) -> Iterator[tuple[str, Array]]:
        """All arrays by name."""
        first = 0
        for name, of_array in self._shape.items():
            part = flat[first : first + self._size[name]]
            yield name, (part.view(np.int32) if name in INDICES else part).reshape(of_array)
            first += self._size[name]


class Staging:
    """Memory of this machine from which blocks are sent, used again for each."""

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._flat = torch.empty(0)

    def filled(self, layout: Layout, values: Parameters, batch: Batch) -> torch.Tensor:
        """The block as it is sent, whatever the memory held before. The next call writes over it."""
        if len(self._flat) < layout.size:
            self._flat = torch.empty(1 << layout.size.bit_length(), pin_memory=self._pinned)
        sent = self._flat[: layout.size]
        nothing = {"context_BC": layout.none, "target_B": layout.none, "used_BC": 1}
        given = values._asdict() | batch._asdict()
        for name, array in layout.arrays(sent.numpy()):
            array[: len(given[name])] = given[name]
            array[len(given[name]) :] = nothing.get(name, 0)
        return sent
