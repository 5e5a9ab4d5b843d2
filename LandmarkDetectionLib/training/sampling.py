"""What the drawing of samples shares: their numbers, and the plane that mirrors a case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SymmetryPlane:
    """The plane that parts left from right in one case: a point of it, mm, and its unit normal."""

    point: Array
    normal: Array

    def distance(self, points: Array) -> Array:
        """Distances of points (N, 3) from the plane, mm."""
        aside: Array = np.abs((points - self.point) @ self.normal)
        return aside


class EpochSampler(Sampler[int]):
    """The numbers of an epoch's samples: never the same twice in a run, shared out among processes.

    Lightning calls `set_epoch` before every epoch.
    """

    def __init__(self, samples: int, *, rank: int = 0, processes: int = 1) -> None:
        self.samples = samples
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose numbers are drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.samples * self.processes
        return iter(range(first + self.rank, first + self.samples * self.processes, self.processes))


def symmetry_plane(positions: Array, mirrored_order: Sequence[int]) -> SymmetryPlane | None:
    """The plane halfway between the landmarks of one case and their pairs.

    Args:
        positions: (K, 3) world mm, NaN where absent.
        mirrored_order: for each landmark the row of its pair, or its own row.

    Returns:
        None if no pair is present: such a case cannot be mirrored.
    """
    partners = positions[list(mirrored_order)]
    apart = partners - positions
    pairs = np.isfinite(apart).all(axis=1) & (np.linalg.norm(apart, axis=1) > 0)
    if not pairs.any():
        return None
    apart = apart[pairs]
    normal: Array = np.linalg.eigh(apart.T @ apart)[1][:, -1]
    middle: Array = ((positions + partners) / 2)[pairs].mean(axis=0)
    return SymmetryPlane(point=middle, normal=normal)
