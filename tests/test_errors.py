"""What is suggested in place of a name that is not known."""

from __future__ import annotations

import pytest

from nas.errors import near_misses

RECIPE = ("recipe.learning_rate", "recipe.warmup", "recipe.nesterov", "recipe.weight_decay", "recipe.batch_size")


@pytest.mark.parametrize(
    ("name", "known", "suggested"),
    [
        ("recipe.lr", (*RECIPE, "block.kernel"), "recipe.learning_rate"),
        ("recipe.weightdecay", RECIPE, "recipe.weight_decay"),
        ("recipe.WD", RECIPE, "recipe.weight_decay"),
        ("block.wdith", ("block.width", "block.first", "block.padding", "recipe.width"), "block.width"),
        ("swish", ("relu", "hardswish", "silu"), "silu"),
        ("swish", ("relu", "hardswish"), "hardswish"),  # where the right one is not among what is known
        ("LeakyReLU", ("relu", "leaky_relu", "prelu"), "leaky_relu"),
        ("depthwise", ("plain", "separable"), "separable"),
        ("MaxPool", ("block", "pool", "transition"), "pool"),
        ("AdamW", ("adam", "adamw", "sgd"), "adamw"),
        ("Fashion-MNIST", ("fashion_mnist", "kmnist", "mnist"), "fashion_mnist"),
    ],
)
def test_the_nearest_name_is_suggested_and_no_stranger(name: str, known: tuple[str, ...], suggested: str) -> None:
    assert near_misses(name, known) == f"did you mean {suggested!r}?"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("", "block.width, recipe.warmup"),
        ("x", "block.width, recipe.warmup"),
        ("recipe.temperature", "recipe.warmup"),
        ("....", "block.width, recipe.warmup"),
        ("ÄÖ", "block.width, recipe.warmup"),
    ],
)
def test_what_resembles_nothing_gets_the_list_of_its_section(name: str, known: str) -> None:
    assert near_misses(name, ("recipe.warmup", "block.width")) == f"known: {known}"
