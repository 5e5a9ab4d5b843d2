"""A training run: the loop, its checkpoints, and what it says of cases that were left out."""
