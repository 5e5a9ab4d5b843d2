"""Draws the picture of the README: a mouse skull with the landmarks that the panel finds in it.

    PYTHONPATH=Testing python Testing/skull_picture.py C57BL6_J.nii.gz docs/pictures/mouse-skull.png

The scan is first turned so that the skull stands upright, and cut to its landmarks; then the panel detects in
it as a person would, with the model in the box, and Slicer's drawing code draws.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.sampling import turned
from LandmarkDetectionLib.data.shape import symmetry_plane
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.resources import bundled_model

BONE = 45.0
"""Grey value at which bone begins in these scans."""
SEEN_FROM = ((0.8, 1.0, 0.5), (1.0, 0.0, 0.2))
_MARGIN_MM = 4.0
_SIZE = (640, 480)
_SHOWN = (slice(100, 430), slice(80, 620))
"""Rows and columns of a picture that show more than background."""


def main(scan: Path, picture: Path) -> None:
    """Turn, detect and draw."""
    from host.application import Host
    from pictures import MODULE, detect, save
    from PySide6.QtCore import QSettings

    host = Host()
    QSettings().setValue("LandmarkDetection/ModelFolder", str(bundled_model()))
    widget = host.open_widget(host.load_module(MODULE))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "skull.nii.gz"
        write_volume(upright(read_volume(scan)), path)
        detect(host, widget, Case("skull", path))
        save(np.hstack([surface[_SHOWN] for surface in surfaces(widget)]), picture)
        widget.cleanup()


def surfaces(widget: object) -> list[NDArray[np.uint8]]:
    """The skull from two sides."""
    from host.views import surface_picture

    parameters = widget.logic.getParameterNode()  # type: ignore[attr-defined]
    display = parameters.markups.GetDisplayNode()
    display.SetGlyphScale(2.0)
    display.SetTextScale(2.4)
    return [surface_picture(parameters.volume, BONE, direction, _SIZE) for direction in SEEN_FROM]


def upright(scan: Volume) -> Volume:
    """The scan with left and right along x and the length of the skull along y, cut to its landmarks."""
    detector = load_detector(bundled_model(), torch.device("cpu"))
    points = np.array([item.position for item in detector.detect(scan)])
    plane = symmetry_plane(points, detector.bundle.table.mirrored_order)
    assert plane is not None
    flat = points - points.mean(axis=0)
    flat -= np.outer(flat @ plane.normal, plane.normal)
    length = np.linalg.svd(flat, full_matrices=False)[2][0]
    axes = np.column_stack([plane.normal, length, np.cross(plane.normal, length)])
    whole = turned(scan, axes)
    frame = whole.frame
    places = (points - frame.centre) @ axes / frame.spacing + (np.array(frame.size) - 1) / 2
    margin = _MARGIN_MM / frame.spacing
    low = np.clip(places.min(axis=0) - margin, 0, None).astype(int)
    high = np.minimum(places.max(axis=0) + margin, frame.size).astype(int)
    voxels = whole.voxels[tuple(slice(*ends) for ends in zip(low[::-1], high[::-1], strict=True))]
    grid = Frame(size=high - low, origin=(0, 0, 0), spacing=frame.spacing, direction=np.eye(3))
    return Volume(np.ascontiguousarray(voxels), grid)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
