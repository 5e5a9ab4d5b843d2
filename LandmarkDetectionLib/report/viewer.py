"""The interactive viewer of a case: NiiVue, a coarse copy of the scan, and its landmarks.

NiiVue (BSD-2-Clause) comes with the program as `static/niivue.umd.js`, as its package has it. A page that was
opened by double click may load scripts but no other files, so the scan is a script too.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.canonical import to_grid
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.sampling import sample_grid
from LandmarkDetectionLib.data.volume import Volume, write_volume
from LandmarkDetectionLib.report.crops import Camera, Kind
from LandmarkDetectionLib.report.folder import ReportFolder

Array = NDArray[np.float64]
SCRIPTS = ("niivue.umd.js", "viewer.js")
_LICENCE = "niivue-LICENSE.txt"
_MARGIN = 0.15
"""Of the anatomy's size, shown around the landmarks."""
_NARROWEST = 12
"""Voxels around the landmarks, at least."""


@dataclass(frozen=True, eq=False)
class Point:
    """A landmark that the viewer shows.

    Attributes:
        name: of the landmark.
        kind: truth or detection.
        position: (3,) world LPS mm.
        text: what stands beside its name, '' for nothing.
    """

    name: str
    kind: Kind
    position: Array
    text: str = ""


def add_viewer(folder: ReportFolder) -> None:
    """Put the viewer itself into a report, once."""
    for name in (*SCRIPTS, _LICENCE):
        folder.add_static(name)


def case_script(camera: Camera, points: Sequence[Point], most_voxels: int) -> bytes:
    """The script that hands a scan and its landmarks to the viewer.

    The scan is turned upright, cut to the landmarks, and as fine as so many voxels allow.

    Args:
        camera: of the scan.
        points: its landmarks, one at least.
        most_voxels: of the copy.
    """
    places = np.array([point.position for point in points])
    copy = _copy(camera, places, most_voxels)
    upright = (places - copy.frame.centre) @ camera.axes
    shown = Volume(copy.voxels, _at_its_own_centre(copy.frame))
    content = {
        "scan": base64.b64encode(_packed(shown)).decode("ascii"),
        "voxel_mm": round(float(copy.frame.spacing[0]), 3),
        "size_mm": round(float(copy.frame.extent.max()), 2),
        "points": [
            {
                "name": point.name,
                "kind": point.kind,
                "text": point.text,
                "ras": [round(float(x), 4) for x in place * (-1, -1, 1)],
            }
            for point, place in zip(points, upright, strict=True)
        ],
    }
    return f"globalThis.CASE = {json.dumps(content)};\n".encode()


def _copy(camera: Camera, places: Array, most_voxels: int) -> Volume:
    """A box around places, (N, 3) world mm, along the anatomy's axes, in 256 grey values."""
    volume, axes = camera.volume, camera.axes
    middle, reach = (
        volume.frame.centre @ axes,
        np.abs(axes.T @ volume.frame.direction) @ volume.frame.extent / 2,
    )
    along = np.clip(places @ axes, middle - reach, middle + reach)
    low, high = along.min(axis=0), along.max(axis=0)
    finest = float(volume.frame.spacing.min())
    margin = max(_MARGIN * float((high - low).max()), _NARROWEST * finest)
    edges = high - low + 2 * margin
    spacing = max(float(np.cbrt(np.prod(edges) / most_voxels)), finest)
    x, y, z = (max(int(edge / spacing), 1) for edge in edges)
    centre = axes @ ((low + high) / 2)
    source = to_grid(volume, spacing) if spacing > 1.2 * finest else volume
    black, white = camera.window
    values = sample_grid(source, centre, axes, size=(x, y, z), spacing=spacing, fill=black)
    grey = np.rint(255 * np.clip((values - black) / max(white - black, 1e-9), 0, 1)).astype(np.uint8)
    first = centre - axes @ ((np.array([x, y, z]) - 1) / 2) * spacing
    return Volume(grey, Frame(size=(x, y, z), origin=first, spacing=(spacing,) * 3, direction=axes))


def _at_its_own_centre(frame: Frame) -> Frame:
    """The same grid with its axes along the world's and its middle in the origin."""
    first = -(np.array(frame.size) - 1) / 2 * frame.spacing
    return Frame(size=frame.size, origin=first, spacing=frame.spacing, direction=np.eye(3))


def _packed(volume: Volume) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.nii.gz"
        write_volume(volume, path)
        return path.read_bytes()
