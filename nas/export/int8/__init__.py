"""8-bit networks."""
