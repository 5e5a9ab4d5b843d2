"""Frames, volumes, landmark sets, masks, cases and splits."""
