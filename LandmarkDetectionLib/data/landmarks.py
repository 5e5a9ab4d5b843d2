"""Named points of one scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LandmarkSet:
    """The landmarks that a person or a detector has said something about, in one scan.

    A name that is not in the set is unknown; a name whose position is NaN is absent from the scan.

    Attributes:
        names: unique names.
        positions: (N, 3) world LPS mm; a row of NaN is an absent landmark.
        descriptions: a free text per landmark, '' where there is none.
    """

    names: tuple[str, ...]
    positions: NDArray[np.float64]
    descriptions: tuple[str, ...]

    def __init__(
        self, names: Sequence[str], positions: NDArray[np.float64], descriptions: Sequence[str] | None = None
    ) -> None:
        points = np.array(positions, dtype=np.float64).reshape(-1, 3)
        texts = tuple(descriptions) if descriptions is not None else ("",) * len(names)
        if not len(names) == len(points) == len(texts):
            raise ValueError(f"{len(names)} names, {len(points)} positions and {len(texts)} descriptions")
        if len(set(names)) != len(names):
            raise ValueError("landmark names must be unique")
        points[~np.isfinite(points).all(axis=1)] = np.nan
        points.setflags(write=False)
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "positions", points)
        object.__setattr__(self, "descriptions", texts)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which landmarks have a position, shape (N,)."""
        return np.asarray(np.isfinite(self.positions).all(axis=1))

    def positions_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Positions in the order of `names`, (len(names), 3); NaN where absent or not in the set."""
        index = {name: row for row, name in enumerate(self.names)}
        points = np.full((len(names), 3), np.nan)
        for row, name in enumerate(names):
            if name in index:
                points[row] = self.positions[index[name]]
        return points

    def completed_by(self, other: LandmarkSet) -> LandmarkSet:
        """These landmarks, and those of another set that are not among them."""
        rows = [row for row, name in enumerate(other.names) if name not in self.names]
        return LandmarkSet(
            [*self.names, *(other.names[row] for row in rows)],
            np.concatenate([self.positions, other.positions[rows]]),
            [*self.descriptions, *(other.descriptions[row] for row in rows)],
        )
