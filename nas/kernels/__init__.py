"""Faster layers for training: chains of layers compiled for the CPU, and batch norms compiled for a GPU."""
