"""The process that detects for the panel, and what the two say to each other."""
