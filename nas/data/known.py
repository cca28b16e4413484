"""The image shapes and classes of the named data sets, so that a space can be judged before any data is read."""

from __future__ import annotations

from nas.arch import Input

KNOWN_IMAGES = {
    "mnist": (Input(1, 28, 28), 10),
    "fashion_mnist": (Input(1, 28, 28), 10),
    "kmnist": (Input(1, 28, 28), 10),
    "emnist_letters": (Input(1, 28, 28), 26),
    "cifar10": (Input(3, 32, 32), 10),
    "cifar100": (Input(3, 32, 32), 100),
    "svhn": (Input(3, 32, 32), 10),
    "digits": (Input(1, 8, 8), 10),
}
