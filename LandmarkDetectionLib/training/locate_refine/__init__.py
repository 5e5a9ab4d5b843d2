"""Training of the locate-refine engine."""
