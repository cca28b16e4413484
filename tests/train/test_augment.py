from __future__ import annotations

import torch

from nas.data.policy import AugmentationPolicy
from nas.train.augment import augment

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
