"""A scan in a file that the panel and the worker both map into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume

PIECE_BYTES = 1 << 24


@dataclass(frozen=True)
class SharedVolume:
    """Where the voxels are, and where they lie.

    Attributes:
        path: `.npy` file of the voxels [z, y, x].
        frame: of the scan.
    """

    path: Path
    frame: Frame

    def open(self) -> Volume:
        """The scan, memory-mapped for reading.

        Raises:
            OSError, ValueError: if the file is missing or not what was promised.
        """
        return Volume(np.lib.format.open_memmap(self.path, mode="r"), self.frame)

    def as_numbers(self) -> dict[str, Any]:
        """For JSON; `from_numbers` reads it."""
        return {"path": str(self.path), "frame": self.frame.as_numbers()}

    @classmethod
    def from_numbers(cls, numbers: dict[str, Any]) -> SharedVolume:
        """The opposite of `as_numbers`."""
        return cls(Path(numbers["path"]), Frame(**numbers["frame"]))


def write_in_pieces(voxels: NDArray[Any], path: Path) -> Iterator[float]:
    """Write voxels [z, y, x] slab by slab, so that a user interface can breathe in between.

    Gives, after each slab of some 16 MB, the fraction that is written; the file is whole when the iterator
    ends. It is written, not mapped: a full disk is an OSError, where a mapped file would be a bus error.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(voxels.dtype),
        "fortran_order": False,
        "shape": voxels.shape,
    }
    step = max(1, PIECE_BYTES // max(voxels[0].nbytes, 1))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(voxels), step):
            file.write(np.ascontiguousarray(voxels[start : start + step]).data)
            yield min(1.0, (start + step) / len(voxels))
