"""Taking results and models elsewhere."""
