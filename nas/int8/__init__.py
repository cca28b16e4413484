"""A network in 8 bits: its integer arithmetic, and how a trained network becomes one."""
