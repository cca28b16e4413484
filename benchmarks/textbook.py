"""The rival: the training loop that a good course would teach, honestly written.

torchvision transforms image by image, a DataLoader with two workers, an eager loop, batches of 128, Adam
with OneCycleLR. Nothing in it is made slow on purpose, and nothing of nas is used but the network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

MEAN, STD = (0.1307,), (0.3081,)


def loaders(
    root: Path,
    strength: float,
    batch_size: int = 128,
    train_images: int | None = None,
    test_images: int | None = None,
) -> tuple[DataLoader[tuple[torch.Tensor, int]], DataLoader[tuple[torch.Tensor, int]]]:
    """Training batches (augmented, shuffled) and test batches of MNIST, unpacked below `root`."""
    plain = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    affine = transforms.RandomAffine(
        degrees=10 * strength,
        translate=(0.1 * strength, 0.1 * strength),
        scale=(1 - 0.1 * strength, 1 + 0.1 * strength),
        shear=5 * strength,
        interpolation=transforms.InterpolationMode.BILINEAR,
    )
    train: Dataset[tuple[torch.Tensor, int]] = datasets.MNIST(
        root, train=True, transform=transforms.Compose([affine, *plain] if strength else plain)
    )
    test: Dataset[tuple[torch.Tensor, int]] = datasets.MNIST(root, train=False, transform=transforms.Compose(plain))
    if train_images is not None:
        train = Subset(train, range(train_images))
    if test_images is not None:
        test = Subset(test, range(test_images))
    return (
        DataLoader(train, batch_size=batch_size, shuffle=True, num_workers=2),
        DataLoader(test, batch_size=1000, num_workers=2),
    )


def train(
    network: nn.Module,
    batches: DataLoader[tuple[torch.Tensor, int]],
    tests: DataLoader[tuple[torch.Tensor, int]],
    epochs: int,
    learning_rate: float,
    device: torch.device,
) -> Iterator[tuple[float, float]]:
    """Yields the test accuracy (percent) and the seconds of each epoch, evaluation included."""
    network.to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    scheduler = OneCycleLR(optimizer, learning_rate, epochs=epochs, steps_per_epoch=len(batches))
    for _ in range(epochs):
        started = time.perf_counter()
        network.train()
        for images, labels in batches:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
        network.eval()
        correct = count = 0
        with torch.no_grad():
            for images, labels in tests:
                images, labels = images.to(device), labels.to(device)
                correct += (network(images).argmax(dim=1) == labels).sum().item()
                count += len(labels)
        yield 100.0 * correct / count, time.perf_counter() - started
