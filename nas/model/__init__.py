"""An architecture as a torch module, and what such a network says of itself."""
