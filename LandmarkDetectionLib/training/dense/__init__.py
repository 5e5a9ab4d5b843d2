"""Training of the dense engine."""
