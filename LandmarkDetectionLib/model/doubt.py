"""Whether a model's own validation speaks against its use."""

from __future__ import annotations

from LandmarkDetectionLib.model.bundle import Bundle

FEWEST_FOUND = 0.5
"""Share of the landmarks of the validation cases that a model must give a position, to be called usable."""


def doubt_of(bundle: Bundle) -> str:
    """Why the model should not be relied on, in one sentence; '' where nothing speaks against it.

    A model without validation cases has no doubt: nobody knows how good it is.
    """
    found = bundle.metrics.get("validation", {}).get("val_found")
    if not isinstance(found, int | float) or found >= FEWEST_FOUND:
        return ""
    return (
        f"The model {bundle.name} found {found:.0%} of the landmarks of the cases that it was validated on: "
        "it was trained too short, most likely, or on too few or too different cases; plan with more --hours "
        "and train it anew before you use it."
    )
