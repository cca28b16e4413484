"""The loop of a search: hand out trainings, handle events, end."""
