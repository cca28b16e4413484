"""A recipe's optimizer and its learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from nas.arch import Recipe


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over `parameters`.

    Its learning rate is a tensor on their device. It is set in place before every step, to `learning_rate_at`, so that
    a step can be part of a CUDA graph.
    """
    parameters = list(parameters)
    learning_rate = torch.tensor(recipe.learning_rate, device=parameters[0].device)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov and recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    capturable = learning_rate.is_cuda
    return kind(parameters, lr=learning_rate, weight_decay=recipe.weight_decay, fused=True, capturable=capturable)


def learning_rate_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of step `step` (from 0).

    `one_cycle` rises from 1/25 of the peak to the peak and falls to 1/250,000 of it, both along half a cosine (Smith
    and Topin 2017; the form and numbers of torch's OneCycleLR). `cosine` falls to 0 (Loshchilov and Hutter 2016,
    section 3, without restarts). `step` drops every `step_epochs` epochs.
    """
    peak, total = recipe.learning_rate, recipe.epochs * steps_per_epoch
    if recipe.schedule == "constant":
        return peak
    if recipe.schedule == "step":
        return peak * recipe.step_factor ** (step // (recipe.step_epochs * steps_per_epoch))
    if recipe.schedule == "cosine":
        return peak * _half_cosine(step / total, 1.0, 0.0)
    start, end = peak / 25, peak / 25 / 10_000
    rise = recipe.warmup * total - 1  # the step of the peak
    if step < rise:
        return _half_cosine(step / rise, start, peak)
    return _half_cosine((step - max(rise, 0)) / max(total - 1 - max(rise, 0), 1), peak, end)


def _half_cosine(fraction: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2
