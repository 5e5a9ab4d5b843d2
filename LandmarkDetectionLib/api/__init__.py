"""The names that `import LandmarkDetectionLib` gives to Python programs."""
