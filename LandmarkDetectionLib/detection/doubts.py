"""What a person should know of a result that looks as if something were wrong, and the likeliest cause."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.detection.results import Detection, lack_radii
from LandmarkDetectionLib.model.bundle import AS_COARSE, Bundle
from LandmarkDetectionLib.model.doubt import FEWEST_FOUND

_FEW = 1 / 3
"""Of the landmarks: fewer found than this are few."""
_COARSE = 2.0
"""Times the voxels that a model works with: a scan beyond is coarse, where no calibration says more."""


def doubts(detections: Sequence[Detection], bundle: Bundle, spacing: NDArray[np.float64]) -> tuple[str, ...]:
    """Sentences about a case: too little was found, or how far off it may be is not known.

    Args:
        detections: all of the case.
        bundle: the model that detected them.
        spacing: (3,) of the scan, mm.
    """
    statuses = [item.status for item in detections]
    found, all_of_them = statuses.count("found"), len(statuses)
    sentences = []
    because = f"most likely because {_cause(bundle, bundle.preparation.resolution_of(spacing))}."
    if statuses.count("absent") == all_of_them:
        sentences.append(f"none of the {all_of_them} landmarks was found, {because}")
    elif found < _FEW * all_of_them:
        sentences.append(f"only {found} of {all_of_them} landmarks were found, {because}")
    if bundle.calibration is not None and lack_radii(detections):
        sentences.append(
            "no error radii: the voxels are much larger than those of the scans that the model was "
            "calibrated on."
        )
    return tuple(sentences)


def _cause(bundle: Bundle, resolution: float) -> str:
    """The likeliest reason for a model to find little, and what to do."""
    levels = bundle.calibration.levels if bundle.calibration else ()
    coarsest = max((level.resolution for level in levels), default=_COARSE * bundle.preparation.spacing)
    if resolution > AS_COARSE * coarsest:
        return (
            f"its voxels of about {resolution:.2g} mm are too coarse for the model, which works at "
            f"{bundle.preparation.spacing:.2g} mm and reads {coarsest:.2g} mm at most; use a finer scan"
        )
    share = bundle.metrics.get("validation", {}).get("val_found")
    if share is None:
        return (
            "the training was too short or the scan shows another anatomy; the model was never validated, so "
            "try it on a scan like those that it was trained on"
        )
    if share < FEWEST_FOUND:
        return (
            f"the training was too short, for in its own validation the model found {share:.0%} of the "
            "landmarks; train it longer"
        )
    lies = ", lies otherwise" if bundle.engine == "dense" else ""
    return (
        f"the scan shows another anatomy than the model was trained on{lies}, or only a part of it; "
        "look at it beside a scan of the training"
    )
