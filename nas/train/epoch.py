"""What an epoch of a training gives, as a value that needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave."""

    number: int  # from 1
    train_loss: float  # mean over the epoch's images
    accuracy: float  # percent of the images held out for evaluation
    seconds: float  # training and evaluation; of several seeds trained as one, each has its share
    images: int  # trained on
