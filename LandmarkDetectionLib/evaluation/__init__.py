"""Metrics and figures that compare detections with the truth."""
