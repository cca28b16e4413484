from __future__ import annotations

from typing import get_args

import torch
from torch import nn

from nas.arch import Recipe
from nas.arch.recipe import AugmentationKind
from nas.data.images import ImageSet
from nas.data.known import KNOWN_DATASETS
from nas.data.policy import POLICIES, AugmentationPolicy
from nas.train.augment import augment
from nas.train.engine import _TrainingState
from nas.train.prepared_data import prepare

FULL = AugmentationPolicy(rotation=10, shift=0.1, scale=0.1, shear=5, mirror=True)


def _images(count: int = 64, size: int = 28) -> torch.Tensor:
    return torch.rand(count, 2, size, size, generator=torch.Generator().manual_seed(0))


def _augmented(policy: AugmentationPolicy, strength: float = 1.0, seed: int = 0) -> torch.Tensor:
    return augment(_images(), policy, strength, torch.Generator().manual_seed(seed))


def test_strength_0_changes_nothing() -> None:
    assert torch.equal(_augmented(FULL, 0.0), _images())


def test_no_ranges_change_nothing() -> None:
    torch.testing.assert_close(_augmented(AugmentationPolicy()), _images(), atol=1e-5, rtol=1e-5)


def test_each_image_gets_a_map_of_its_own_and_the_seed_decides() -> None:
    one = torch.ones(1, 1, 28, 28).repeat(16, 1, 1, 1)
    out = augment(one, FULL, 1.0, torch.Generator().manual_seed(1))
    assert len({tuple(image.flatten().tolist()) for image in out}) == 16
    assert torch.equal(_augmented(FULL, seed=3), _augmented(FULL, seed=3))
    assert not torch.equal(_augmented(FULL, seed=3), _augmented(FULL, seed=4))


def test_mirror_flips_about_half_of_the_images_and_only_left_to_right() -> None:
    out, images = _augmented(AugmentationPolicy(mirror=True)), _images()
    same = torch.tensor([torch.allclose(a, b, atol=1e-4) for a, b in zip(out, images, strict=True)])
    flipped = torch.tensor([torch.allclose(a, b.flip(-1), atol=1e-4) for a, b in zip(out, images, strict=True)])
    assert (same ^ flipped).all()
    assert 16 <= int(flipped.sum()) <= 48


def test_a_policy_without_mirror_never_flips() -> None:
    out, images = _augmented(AugmentationPolicy(shift=1e-6)), _images()
    torch.testing.assert_close(out, images, atol=1e-3, rtol=0)


def test_shift_moves_by_at_most_its_fraction_of_the_size() -> None:
    dot = torch.zeros(200, 1, 21, 21)
    dot[:, :, 10, 10] = 1.0
    out = augment(dot, AugmentationPolicy(shift=0.2), 1.0, torch.Generator().manual_seed(0))
    places = torch.arange(21.0)
    rows = (out.sum(dim=(1, 3)) * places).sum(1) / out.sum(dim=(1, 2, 3))
    assert (rows - 10).abs().max() <= 0.2 * 21 + 0.01
    assert (rows - 10).abs().max() > 0.15 * 21


def test_rotation_keeps_distances_to_the_centre() -> None:
    ring = torch.zeros(100, 1, 41, 41)
    ring[:, :, 20, 34] = 1.0
    out = augment(ring, AugmentationPolicy(rotation=90), 1.0, torch.Generator().manual_seed(0))
    grid = torch.arange(41.0) - 20
    distance = (grid[:, None] ** 2 + grid**2).sqrt()
    mean = (out[:, 0] * distance).sum(dim=(1, 2)) / out[:, 0].sum(dim=(1, 2))
    torch.testing.assert_close(mean, torch.full((100,), 14.0), atol=0.3, rtol=0)


def test_cutout_blanks_a_square_of_its_side_in_the_mean_color() -> None:
    images = _images(200, 24)
    out = augment(images, AugmentationPolicy(cutout=0.5), 1.0, torch.Generator().manual_seed(0))
    changed = ((out - images).abs() > 1e-4).any(dim=1)
    rows, columns = changed.any(dim=2).sum(dim=1), changed.any(dim=1).sum(dim=1)
    assert (changed.sum(dim=(1, 2)) == rows * columns).all()  # a square, cut off at the edges
    assert rows.max() == columns.max() == 12
    assert rows.min() >= 5
    for before, after, where in zip(images[:8], out, changed, strict=False):
        mean = before.mean(dim=(1, 2))
        torch.testing.assert_close(after[:, where], mean[:, None].expand(-1, int(where.sum())), atol=1e-4, rtol=0)


def test_colors_are_changed_image_by_image_within_their_range() -> None:
    plain = torch.full((500, 3, 4, 4), 0.5)
    out = augment(plain, AugmentationPolicy(color=0.2), 1.0, torch.Generator().manual_seed(0))
    brightness = out[:, 0, 0, 0] / 0.5
    torch.testing.assert_close(out, (plain * brightness.view(-1, 1, 1, 1)), atol=1e-5, rtol=0)
    assert 0.8 - 1e-4 <= brightness.min() < 0.82
    assert 1.18 < brightness.max() <= 1.2 + 1e-4
    colors = torch.rand(500, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    out = augment(colors, AugmentationPolicy(color=0.2), 1.0, torch.Generator().manual_seed(0))
    contrast = out.mean(1).std((1, 2)) / out.mean((1, 2, 3)) / (colors.mean(1).std((1, 2)) / colors.mean((1, 2, 3)))
    assert 0.8 - 1e-3 <= contrast.min() < 0.82
    saturation = out.std(1).mean((1, 2)) / colors.std(1).mean((1, 2)) / brightness / contrast
    assert 0.8 - 1e-3 <= saturation.min() < 0.82
    assert 1.18 < saturation.max() <= 1.2 + 1e-3


def test_a_recipe_says_what_images_are_varied_as() -> None:
    assert POLICIES.keys() | {"data"} == set(get_args(AugmentationKind))
    assert POLICIES["glyphs"] == KNOWN_DATASETS["mnist"].policy
    color = torch.full((4, 3, 8, 8), 100, dtype=torch.uint8)
    images = ImageSet(color, torch.tensor([0, 1, 0, 1]))
    data = prepare(images, images, AugmentationPolicy(), torch.device("cpu"))
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    for kind, changes in (("data", False), ("photos", True)):
        recipe = Recipe(epochs=1, augmentation=1.0, augmentation_kind=kind)  # type: ignore[arg-type]
        inputs, _ = _TrainingState(network, recipe, data, 0, torch.Generator()).inputs(torch.tensor([0, 1]))
        assert bool((inputs[0] != inputs[1]).any()) is changes
