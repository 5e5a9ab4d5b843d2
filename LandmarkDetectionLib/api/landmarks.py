"""The landmarks of one scan, as Python programs use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from LandmarkDetectionLib.api.extras import needing
from LandmarkDetectionLib.detection.results import COLUMNS, STATUSES, Detection, write_detections

if TYPE_CHECKING:
    import pandas as pd


class Landmarks(Mapping[str, Detection]):
    """What a detector says about the landmarks of one scan: a detection under each name, in order.

    Args:
        detections: with unique names.
        warnings: what a person should know of the result, a sentence each.

    Attributes:
        warnings: the same.
    """

    def __init__(self, detections: Iterable[Detection], warnings: Iterable[str] = ()) -> None:
        self._by_name = {detection.name: detection for detection in detections}
        self.warnings = tuple(warnings)

    def __getitem__(self, name: str) -> Detection:
        try:
            return self._by_name[name]
        except KeyError:
            alike = get_close_matches(str(name), self._by_name, n=1)
            meant = f", perhaps '{alike[0]}'" if alike else ""
            raise KeyError(
                f"the model has no landmark '{name}'{meant}; list(landmarks) has its names"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        statuses = [detection.status for detection in self.values()]
        counts = ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES)
        return f"<Landmarks: {'; '.join([counts, *self.warnings])}>"

    @property
    def found(self) -> Landmarks:
        """Those that the detector is sure of; uncertain and absent ones are left out."""
        return Landmarks(
            (detection for detection in self.values() if detection.status == "found"), self.warnings
        )

    @property
    def positions(self) -> NDArray[np.float64]:
        """(N, 3) world LPS mm, in order; NaN where absent."""
        return np.array([detection.position for detection in self.values()]).reshape(-1, 3)

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each landmark: name, x, y, z (world LPS mm), status, confidence and radius_mm.

        What does not exist is NaN.

        Raises:
            InputError: if pandas is not installed.
        """
        with needing("to_dataframe", "pip install pandas"):
            import pandas as pd
        rows = [
            (item.name, *item.position, item.status, item.confidence, item.radius_mm)
            for item in self.values()
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file whose suffix says which kind: `.mrk.json` or `.fcsv` for Slicer, or `.csv`.

        The `.csv` is the one that `train_cli detect` writes and `evaluate` reads.

        Raises:
            InputError: if the name ends otherwise, or the folder cannot be written.
        """
        write_detections(tuple(self.values()), Path(path))
