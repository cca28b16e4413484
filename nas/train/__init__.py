"""Training: data held on the device, batched augmentation, and the engine that trains one network."""
