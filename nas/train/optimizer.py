"""A recipe's optimizer and its learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from nas.arch import Recipe


class Optimizer:
    """The recipe's optimizer: one fused kernel over all parameters, as torch.optim's classes have with `fused=True`.

    Those classes import torch's compiler on first use, which takes each worker as long as importing torch itself.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], recipe: Recipe) -> None:
        """Optimize `parameters`, which lie on one device."""
        self._parameters: list[Tensor] = list(parameters)
        self._recipe = recipe
        # Set in place before every step, to `learning_rate_at`, so that a step can be part of a CUDA graph.
        self.learning_rate = torch.tensor(recipe.learning_rate, device=self._parameters[0].device)
        self._means = self._zeros() if recipe.optimizer != "sgd" or recipe.momentum else []
        self._squares = self._zeros() if recipe.optimizer != "sgd" else []
        self._steps = [torch.zeros((), device=p.device) for p in self._parameters] if self._squares else []

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(p, requires_grad=False) for p in self._parameters]

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients. Settings that a recipe lacks are torch's defaults."""
        recipe, rate, decay = self._recipe, self.learning_rate, self._recipe.weight_decay
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if recipe.optimizer == "sgd":
            nesterov = recipe.nesterov and recipe.momentum > 0
            sgd(
                self._parameters,
                gradients,
                list(self._means) or [None] * len(gradients),
                fused=True,
                lr=rate,
                weight_decay=decay,
                momentum=recipe.momentum,
                dampening=0.0,
                nesterov=nesterov,
                maximize=False,
            )
            return
        adam(
            self._parameters,
            gradients,
            self._means,
            self._squares,
            [],
            self._steps,
            fused=True,
            decoupled_weight_decay=recipe.optimizer == "adamw",
            lr=rate,
            weight_decay=decay,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


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
