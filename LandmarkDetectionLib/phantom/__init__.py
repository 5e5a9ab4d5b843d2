"""Synthetic skulls with exact landmarks, for tests and the demo only.

No accuracy of anything may be claimed from these images: they are far simpler than a real scan.
"""
