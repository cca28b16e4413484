"""File formats of a trained network, each with a writer and a reader."""
