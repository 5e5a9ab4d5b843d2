"""A scan to try the extension with, and removing what was downloaded."""

from __future__ import annotations

from pathlib import Path

import slicer

from LandmarkDetectionLib.resources import resource_path

SAMPLE_NAME = "MouseSkullMicroCT"
_FILE_NAME = "LandmarkDetection-mouse-skull-A_J.nii.gz"
_ADDRESS = (
    "https://raw.githubusercontent.com/muratmaga/mouse_CT_atlas/"
    "2c782f6e2786a36d5a8fa0c73ecf3eccc7786898/data/targets/A_J_.nii.gz"
)
_CHECKSUM = "SHA256:1b815f5c2ee6de711abc486ca7c7cd149537c19d731597db7069f213535af0de"


def register_sample_data() -> None:
    """Offer the sample in Slicer's Sample Data module; nothing is downloaded until somebody clicks on it."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="LandmarkDetection",
        sampleName=SAMPLE_NAME,
        uris=_ADDRESS,
        fileNames=_FILE_NAME,
        checksums=_CHECKSUM,
        nodeNames="mouse skull A_J",
        thumbnailFileName=str(resource_path("Icons", "LandmarkDetection.png")),
    )


def clear_downloads() -> int:
    """Remove from Slicer's cache what was downloaded for this extension; gives the bytes removed."""
    cache = slicer.mrmlScene.GetCacheManager()
    if cache is None:
        return 0
    files = list(Path(cache.GetRemoteCacheDirectory()).glob("LandmarkDetection-*"))
    freed = sum(file.stat().st_size for file in files)
    for file in files:
        file.unlink()
    return freed
