"""The digits of scikit-learn: real, small, and available without a download."""

from __future__ import annotations

import torch

from nas.data.images import ImageSet, LoadedImages
from nas.data.split import split

TEST_FRACTION = 1 / 5
SPLIT_SEED = 0  # fixed: what is test data must not depend on a study's seed


def load() -> LoadedImages:
    """Return 1,797 gray digits of 8x8 pixels; a fixed fifth of each class is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # gray levels 0 to 16
    whole = ImageSet(images, torch.from_numpy(bunch.target).long())
    train, test = split(whole.labels, TEST_FRACTION, SPLIT_SEED)
    return LoadedImages(whole.subset(train), whole.subset(test), tuple(str(d) for d in range(10)))
