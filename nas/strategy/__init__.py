"""Decisions: what to try next, what to stop, what to confirm."""
