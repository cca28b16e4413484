"""Trial records, the front, tables and pictures: what a study says, free of Optuna and torch."""
