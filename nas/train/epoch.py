"""What an epoch of a training gives, as a value that needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

MOST_TRAIN_IMAGES = 5000  # that `train_accuracy` is measured on


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave."""

    number: int  # from 1
    train_loss: float  # mean over the epoch's images
    accuracy: float  # percent of the images held out for evaluation
    seconds: float  # training and evaluation
    images: int  # trained on
    # Percent of up to `MOST_TRAIN_IMAGES` of the images that it was trained on, without augmentation and dropout.
    # Measured after the last epoch alone, as each time would take as long as a thirtieth of an epoch; None where not.
    train_accuracy: float | None = None
