"""A study as values: settings, folder, trial records, front and answer."""
