"""The head's gradient by automatic differentiation: the readable reference of the one by hand, and the one that runs on CUDA."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from streamer.head.gradient import Batch, Gradient, Parameters


def log_likelihood(values: tuple[torch.Tensor, ...], batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The weighted binomial log-likelihood of a batch: targets are hits, negatives (but for the target itself) are not.

    A target of negative weight was shown and not chosen: no hit, and nothing was drawn against it.
    """
    free_TD, bias_T, content_ED, turn_DD, place_C, key_D = values
    _, content_TE, trust_T, context_BC, used_BC, target_B, negative_N, target_odds_B, negative_odds_N, weight_B = batch
    fused_TD = trust_T[:, None] * free_TD + content_TE @ content_ED
    logit_BC = place_C + fused_TD[context_BC] @ key_D
    share_BC = torch.softmax(logit_BC.masked_fill(used_BC == 0, -torch.inf), dim=1)
    context_BD = (share_BC[:, :, None] * fused_TD[context_BC]).sum(dim=1)
    query_BD = context_BD @ turn_DD.T
    hit_B = (query_BD * fused_TD[target_B]).sum(dim=1) + bias_T[target_B] - target_odds_B
    miss_BN = query_BD @ fused_TD[negative_N].T + bias_T[negative_N] - negative_odds_N
    other_BN = (negative_N[None, :] != target_B[:, None]).float()
    chosen_B, ignored_B = weight_B.clamp(min=0), (-weight_B).clamp(min=0)
    targets = (chosen_B * logsigmoid(hit_B) + ignored_B * logsigmoid(-hit_B)).sum()
    return targets + (chosen_B[:, None] * other_BN * logsigmoid(-miss_BN)).sum()


def gradient_torch(device: str) -> Gradient:
    """The gradient on a torch device: arrays in, arrays out."""

    def gradient(values: Parameters, batch: Batch) -> Parameters:
        leaves = tuple(torch.from_numpy(value).to(device).requires_grad_() for value in values)
        log_likelihood(leaves, tuple(torch.from_numpy(part).to(device) for part in batch)).backward()
        return Parameters(*(leaf.grad.cpu().numpy() for leaf in leaves))

    return gradient
