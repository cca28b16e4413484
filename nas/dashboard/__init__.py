"""optuna-dashboard served on this machine, and what it shows of a study."""
