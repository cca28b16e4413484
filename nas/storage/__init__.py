"""Where the trials of a study are kept."""
