"""The whole chain on the validation cases: as they are, with their field of view cut, and both coarser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.locate_refine import Chain
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.training.cache import PreparedCase
from LandmarkDetectionLib.training.coarser import coarser_looks
from LandmarkDetectionLib.training.outcomes import Outcome
from LandmarkDetectionLib.training.tracking import VALIDATING, Track, untracked

Array = NDArray[np.float64]

CUTS = 2
"""Of each case: the scan ends somewhere between its landmarks."""
_LEFT = (0.25, 0.85)
"""Share of the landmarks that a cut leaves, about."""


def validate(
    chain: Chain,
    locate: LocateNetwork,
    refine: RefineNetwork,
    cases: Sequence[tuple[PreparedCase, PreparedCase]],
    device: torch.device,
    *,
    preparation: Preparation,
    seed: int,
    track: Track = untracked,
) -> list[Outcome]:
    """Detect in every case as it is and cut, and in coarser looks at both.

    Args:
        chain: what detects.
        locate: the coarse network, in evaluation mode.
        refine: the fine network, in evaluation mode.
        cases: each at the coarse and at its own spacing.
        device: where the networks run.
        preparation: of the cases at their own spacing.
        seed: of the cuts.
        track: shows how far along the cases are.
    """
    outcomes: list[Outcome] = []
    if not cases:
        return outcomes
    for number, (coarse, fine) in enumerate(track(cases, VALIDATING)):
        rng = np.random.default_rng([seed, number])
        volumes = coarse.whole_volume(), fine.whole_volume()
        for cut, shown in _cuts(rng, fine, volumes):
            for coarseness, seen in [(1, shown), *coarser_looks(shown, shown[1], preparation.normaliser)]:
                outcomes.append(
                    _outcome(
                        chain, locate, refine, fine, seen, device, preparation, cut=cut, coarseness=coarseness
                    )
                )
    return outcomes


def _cuts(
    rng: np.random.Generator, case: PreparedCase, volumes: Sequence[Volume]
) -> Iterator[tuple[int, Sequence[Volume]]]:
    """The volumes of a case as they are, number 0, and ended somewhere between its landmarks."""
    yield 0, volumes
    for cut in range(1, CUTS + 1):
        shorten = _draw_cut(rng, case)
        if shorten:
            yield cut, [shorten(volume) for volume in volumes]


def _outcome(
    chain: Chain,
    locate: LocateNetwork,
    refine: RefineNetwork,
    case: PreparedCase,
    seen: Sequence[Volume],
    device: torch.device,
    preparation: Preparation,
    *,
    cut: int,
    coarseness: int,
) -> Outcome:
    """What the chain says of a case that is seen as a volume at the coarse spacing and one at the fine."""
    coarse, fine = seen
    there = fine.frame.contains(np.nan_to_num(case.positions)) & np.isfinite(case.positions).all(axis=1)
    truth = np.where(there[:, None], case.positions, np.nan)
    nothing = np.full(len(truth), np.nan)
    found = chain.find_pose(locate, coarse, device)
    if found is None:
        positions, spreads, presences = np.full_like(truth, np.nan), nothing, nothing
    else:
        refined = chain.refine(refine, fine, found.pose, device)
        positions, spreads, presences = refined.positions, refined.spreads, refined.presences
    return Outcome(
        case=case.name,
        truth=truth,
        known=case.known,
        positions=positions,
        frame=fine.frame,
        spreads=spreads,
        presences=presences,
        resolution=preparation.resolution_of(case.scanned, coarseness),
        cut=cut,
        coarseness=coarseness,
    )


def _draw_cut(rng: np.random.Generator, case: PreparedCase) -> Callable[[Volume], Volume] | None:
    """Ends a scan at a plane across one of its axes, between two landmarks; None where there are too few."""
    points = case.positions[np.isfinite(case.positions).all(axis=1)]
    if len(points) < 4:
        return None
    axis, from_below = int(rng.integers(3)), bool(rng.integers(2))
    direction = case.frame.direction[:, axis] * (1 if from_below else -1)
    reach = float(np.quantile(points @ direction, rng.uniform(*_LEFT)) + rng.normal(0, case.frame.spacing[0]))

    def shorten(volume: Volume) -> Volume:
        step = float(volume.frame.spacing[axis])
        first = float(volume.frame.origin @ direction)
        if from_below:
            count = int(np.clip(np.floor((reach - first) / step) + 1, 1, volume.frame.size[axis]))
            return volume.part(axis, 0, count)
        skipped = int(np.clip(np.ceil((first - reach) / step), 0, volume.frame.size[axis] - 1))
        return volume.part(axis, skipped, int(volume.frame.size[axis]))

    return shorten
