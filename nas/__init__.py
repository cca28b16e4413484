"""Neural architecture search under a hard parameter budget."""
