"""Trial 0 of the nas study 'mnist-separable-8000' on mnist.

Confirmed by 3 trainings from scratch on the whole training set: the figure is the mean over seeds of the mean of the
last 3 epochs, with a spread of 0.057 points. The weights beside this file are those of the first seed after its last
epoch.

6,177 parameters, 2,375,304 multiply-accumulates an image, 103,488 bytes of activations at most; confirmed test accuracy
99.409 % on mnist, the mean over 3 seeds.
"""

import torch
from torch import nn

# What this module says of itself, for a machine to derive again.
CLAIMS = {
    "num_params": 6177,
    "num_macs": 2375304,
    "peak_activation_bytes": 103488,
    "digest": "98594fd26fb72486",
    "dataset": "mnist",
    "data_fingerprint": "e0130f111822ed58",
    "validation_accuracy": 99.3167,
    "test_accuracy": 99.4089,
    "test_spread": 0.0572,
    "seeds": 3,
    "weights_test_accuracy": 99.38,
}

INPUT_SHAPE = (1, 28, 28)  # channels, height, width
# Inputs are (image / 255 - MEAN) / STD, with one number for each channel.
MEAN = (0.13066,)
STD = (0.308108,)


class Net(nn.Module):
    """Images (N, 1, 28, 28) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.convblock1 = nn.Sequential(
            nn.Conv2d(1, 15, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(15),
        )
        self.shortcut1 = nn.Conv2d(1, 15, kernel_size=1, bias=False)
        self.tail1 = nn.Hardswish()
        self.convblock2 = nn.Sequential(
            nn.Conv2d(15, 16, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.Hardswish(),
        )
        self.convblock3 = nn.Sequential(
            nn.Conv2d(16, 16, kernel_size=3, padding=1, groups=16, bias=False),
            nn.BatchNorm2d(16),
            nn.Conv2d(16, 17, kernel_size=1, bias=False),
            nn.BatchNorm2d(17),
            nn.Hardswish(),
        )
        self.pool1 = nn.MaxPool2d(2)
        self.convblock4 = nn.Sequential(
            nn.Conv2d(17, 17, kernel_size=3, padding=1, groups=17, bias=False),
            nn.BatchNorm2d(17),
            nn.Conv2d(17, 18, kernel_size=1, bias=False),
            nn.BatchNorm2d(18),
        )
        self.shortcut4 = nn.Conv2d(17, 18, kernel_size=1, bias=False)
        self.tail4 = nn.Hardswish()
        self.pool2 = nn.MaxPool2d(2)
        self.convblock5 = nn.Sequential(
            nn.Conv2d(18, 18, kernel_size=3, padding=1, groups=18, bias=False),
            nn.BatchNorm2d(18),
            nn.Conv2d(18, 22, kernel_size=1, bias=False),
            nn.BatchNorm2d(22),
            nn.Hardswish(),
        )
        self.convblock6 = nn.Sequential(
            nn.Conv2d(22, 22, kernel_size=3, padding=1, groups=22, bias=False),
            nn.BatchNorm2d(22),
            nn.Conv2d(22, 47, kernel_size=1, bias=False),
            nn.BatchNorm2d(47),
            nn.Hardswish(),
        )
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(47, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convblock1(x) + self.shortcut1(x)
        x = self.tail1(x)
        x = self.convblock2(x)
        x = self.convblock3(x)
        x = self.pool1(x)
        x = self.convblock4(x) + self.shortcut4(x)
        x = self.tail4(x)
        x = self.pool2(x)
        x = self.convblock5(x)
        x = self.convblock6(x)
        x = self.gap(x)
        return self.fc(x.flatten(1))


def load_trained(path=None) -> Net:
    """The trained network in eval mode; the weights are at `path`, else beside this file in net.pt."""
    if path is None:
        path = __file__.removesuffix(".py") + ".pt"
    net = Net()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()
