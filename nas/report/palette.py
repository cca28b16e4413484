"""The colors of every picture. Each can be read on white and on black."""

from __future__ import annotations

BLUE = "#3b82f6"
GRAY = "#8b949e"
TEAL = "#12a594"
ORANGE = "#d9822b"
RED = "#e5484d"
PURPLE = "#a371e8"

# What they stand for in a picture of trials.
CONFIRMED = BLUE
TRIAL = GRAY
VALIDATION_FRONT = TEAL
REFERENCE = ORANGE
LIMIT = RED  # the budget and the target
STOPPED = PURPLE
BUTTON = "#6e7781"  # words of plotly's buttons: the chosen one is pale in the dark too
