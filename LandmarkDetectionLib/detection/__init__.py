"""From a volume and a bundle to named landmarks."""
