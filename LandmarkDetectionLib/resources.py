"""Where the files are that come with the program besides code."""

from __future__ import annotations

from pathlib import Path


def resource_path(*parts: str) -> Path:
    """A file of `Resources`: beside the library in the source tree and in an installed extension."""
    return Path(__file__).parents[1].joinpath("Resources", *parts)
