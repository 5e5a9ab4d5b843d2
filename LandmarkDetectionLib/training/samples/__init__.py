"""What the networks learn from: crops, and how they are varied."""
