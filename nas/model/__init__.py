"""An architecture as a torch module."""
