"""Where the files are that come with the program besides code."""

from __future__ import annotations

from pathlib import Path


def resource_path(*parts: str) -> Path:
    """A file of `Resources`: beside the library in the source tree and in an installed extension."""
    return Path(__file__).parents[1].joinpath("Resources", *parts)


def bundled_model() -> Path | None:
    """The folder of the model in the box that is used where none is named; None where there is none."""
    descriptions = sorted(resource_path("Models").glob("*/model.json"))
    return descriptions[0].parent if descriptions else None


def synthetic_model() -> Path:
    """The folder of the model of synthetic heads: for the demo, and none of those that people are offered."""
    return Path(__file__).parent / "phantom" / "model"
