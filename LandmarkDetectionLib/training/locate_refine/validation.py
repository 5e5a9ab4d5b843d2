"""The whole chain on the validation cases: as they are, with their field of view cut, and both coarser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.preparation import Preparation
from LandmarkDetectionLib.data.shape_model import ShapeModel
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.locate_refine import Chain
from LandmarkDetectionLib.detection.refine import Refined
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.training.cases.cache import PreparedCase
from LandmarkDetectionLib.training.cases.coarser import coarser_looks
from LandmarkDetectionLib.training.running.outcomes import Outcome
from LandmarkDetectionLib.training.running.tracking import VALIDATING, Track, untracked

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
    shape_model: ShapeModel,
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
        shape_model: that tells what is implausible.
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
                refined = _found(chain, locate, refine, seen, preparation.normaliser, device)
                resolution = preparation.resolution_of(fine.scanned, coarseness)
                outcomes.append(
                    _outcome(
                        fine,
                        refined,
                        seen[1].frame,
                        shape_model,
                        resolution=resolution,
                        cut=cut,
                        coarseness=coarseness,
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


def _found(
    chain: Chain,
    locate: LocateNetwork,
    refine: RefineNetwork,
    seen: Sequence[Volume],
    normaliser: Normaliser,
    device: torch.device,
) -> Refined:
    """What the chain finds in a scan that is seen at the coarse and at the fine spacing."""
    coarse, fine = seen
    found = chain.find_pose_amid_air(
        locate, lambda adapted: Volume(adapted.anew(coarse.voxels), coarse.frame), normaliser, device
    )
    if found is None:
        return Refined.nothing(len(chain.shape))
    alignment, normaliser = found
    return chain.refine(refine, Volume(normaliser.anew(fine.voxels), fine.frame), alignment.pose, device)


def _outcome(
    case: PreparedCase,
    refined: Refined,
    frame: Frame,
    shape_model: ShapeModel,
    *,
    resolution: float,
    cut: int,
    coarseness: int,
) -> Outcome:
    """What was found in a case that was seen in a frame."""
    there = frame.contains(np.nan_to_num(case.positions)) & np.isfinite(case.positions).all(axis=1)
    shown = frame.contains(np.nan_to_num(refined.positions)) & (refined.presences > 0)
    return Outcome(
        case=case.name,
        truth=np.where(there[:, None], case.positions, np.nan),
        known=case.known,
        positions=refined.positions,
        frame=frame,
        spreads=refined.spreads,
        presences=refined.presences,
        misfits=shape_model.misfits(np.where(shown[:, None], refined.positions, np.nan)),
        resolution=resolution,
        cut=cut,
        coarseness=coarseness,
    )


def _draw_cut(rng: np.random.Generator, case: PreparedCase) -> Callable[[Volume], Volume] | None:
    """Ends a scan at a plane across one of its axes, between two landmarks; None where there are too few."""
    points = case.positions[np.isfinite(case.positions).all(axis=1)]
    if len(points) < 2:
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
