"""What a person should know of a result that looks as if something were wrong, and the likeliest cause."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.results import Detection, lack_radii
from LandmarkDetectionLib.model.bundle import AS_COARSE, Bundle
from LandmarkDetectionLib.model.doubt import FEWEST_FOUND

_FEW = 1 / 3
"""Of the landmarks: fewer found than this are few."""
_COARSE = 2.0
"""Times the voxels that a model works with: a scan beyond is coarse, where no calibration says more."""
_CLOSE = 10.0
"""Voxels: landmarks that lie no farther apart do not tell how wide their anatomy is."""
_FAR_TOO_WIDE, _FAR_TOO_NARROW = 30.0, 0.3
"""Times the anatomy of the model: no scan of it is as wide or as narrow, but one in another unit is."""


def doubts(detections: Sequence[Detection], bundle: Bundle, volume: Volume) -> tuple[str, ...]:
    """Sentences about a case: too little was found, or how far off it may be is not known.

    Args:
        detections: all of the case.
        bundle: the model that detected them.
        volume: the scan.
    """
    statuses = [item.status for item in detections]
    found, all_of_them = statuses.count("found"), len(statuses)
    sentences = []
    if found < _FEW * all_of_them:
        none = statuses.count("absent") == all_of_them
        few = f"none of the {all_of_them} landmarks" if none else f"only {found} of {all_of_them} landmarks"
        said = f"{few} {'was' if none else 'were'} found"
        if all_of_them == 1:
            said = "the landmark was not found" if none else "the landmark was not found for sure"
        sentences.append(f"{said}, most likely because {_cause(bundle, volume)}")
    if bundle.calibration is not None and lack_radii(detections):
        sentences.append(
            "no error radii: the voxels are larger than those of the scans that the model was calibrated on."
        )
    return tuple(sentences)


def _cause(bundle: Bundle, volume: Volume) -> str:
    """The likeliest reason for a model to find little, and what to do."""
    return (
        _wrong_size(bundle, volume)
        or _no_picture(volume)
        or _too_coarse(bundle, volume)
        or _training_or_anatomy(bundle)
    )


def _wrong_size(bundle: Bundle, volume: Volume) -> str:
    shape = bundle.shape.mean[np.isfinite(bundle.shape.mean).all(axis=1)]
    anatomy = float(np.ptp(shape, axis=0).max()) if len(shape) else 0.0
    scan = float(volume.frame.extent.max())
    close = anatomy <= _CLOSE * bundle.preparation.spacing
    if close or _FAR_TOO_NARROW * anatomy <= scan <= _FAR_TOO_WIDE * anatomy:
        return ""
    other = "the model the right one" if scan > anatomy else "more than a small part of the anatomy in it"
    return (
        f"the scan is {_length(scan)} wide and the anatomy of the model {_length(anatomy)}; is its unit "
        f"right, and {other}?"
    )


def _no_picture(volume: Volume) -> str:
    lowest, highest = volume.voxels.min(), volume.voxels.max()
    return (
        ""
        if lowest < highest
        else f"all its voxels are {lowest:g}, so it shows nothing; export the scan again."
    )


def _too_coarse(bundle: Bundle, volume: Volume) -> str:
    levels = bundle.calibration.levels if bundle.calibration else ()
    works = bundle.preparation.spacing
    coarsest = max((level.resolution for level in levels), default=_COARSE * works)
    resolution = bundle.preparation.resolution_of(volume.frame.spacing)
    if resolution <= AS_COARSE * coarsest:
        return ""
    known = f" and was calibrated on voxels of up to {coarsest:.2g} mm" if levels else ""
    return (
        f"its voxels of about {resolution:.2g} mm are too coarse for the model, which works at {works:.2g} mm"
        f"{known}; use a finer scan."
    )


def _training_or_anatomy(bundle: Bundle) -> str:
    """What is left when the scan as such is in order."""
    share = bundle.metrics.get("validation", {}).get("val_found")
    if share is None:
        return (
            "the training was too short or the scan shows another anatomy; the model was never validated, so "
            "try it on a scan like those that it was trained on."
        )
    if share < FEWEST_FOUND:
        return (
            f"the training was too short, for in its own validation the model found {share:.0%} of the "
            "landmarks; train it longer."
        )
    lies = ", lies otherwise" if bundle.engine == "dense" else ""
    return (
        f"the scan shows another anatomy than the model was trained on{lies}, or only a part of it; "
        "look at it beside a scan of the training."
    )


def _length(mm: float) -> str:
    """A length with the unit in which it is no long number."""
    unit, size = next(((unit, size) for unit, size in (("m", 1e3), ("mm", 1.0)) if mm >= size), ("µm", 1e-3))
    return f"{mm / size:.3g} {unit}"
