"""The files that a scan consists of."""

from __future__ import annotations

from pathlib import Path

from LandmarkDetectionLib.data.dicom_series import is_dicom, series_of
from LandmarkDetectionLib.data.geometry.metaimage import voxel_files as files_of_metaimage
from LandmarkDetectionLib.data.geometry.nrrd import voxel_files as files_of_nrrd
from LandmarkDetectionLib.data.geometry.stored import is_file

REPORT_SUFFIX = ".sr.dcm"
"""How the names of the DICOM reports end that the program writes beside results."""


def files_of(path: Path) -> list[Path]:
    """All files of a scan: itself, the voxels that its header names, those of a DICOM series or folder.

    What else lies in a DICOM folder, such as results, does not belong to the scan.
    """
    name = path.name.lower()
    if path.is_dir():
        files = sorted(item for item in path.iterdir() if item.is_file())
        scans = [item for item in files if not item.name.endswith(REPORT_SUFFIX)]
        return [item for item in scans if is_dicom(item)] or scans
    if is_dicom(path):
        return sorted(series_of(path).headers)
    named: list[Path] = []
    if name.endswith((".nrrd", ".nhdr")):
        named = files_of_nrrd(path)
    elif name.endswith((".mha", ".mhd")):
        named = files_of_metaimage(path)
    return list(dict.fromkeys([path, *(item for item in named if is_file(item))]))
