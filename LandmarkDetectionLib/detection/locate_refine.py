"""The engine that does not care how the anatomy lies: locate, align, refine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count as counter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from LandmarkDetectionLib.data.constellation import Constellation, Part
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.intensity import Normaliser
from LandmarkDetectionLib.data.shape import Similarity, common_points, symmetry_plane
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.detection.align import FEW, Alignment, align
from LandmarkDetectionLib.detection.calibrate import calibrated_presence
from LandmarkDetectionLib.detection.locate import LocateSettings, find_candidates
from LandmarkDetectionLib.detection.pose_search import ANY_POSE, PLAIN, search_pose
from LandmarkDetectionLib.detection.progress import Progress, no_progress, part_of
from LandmarkDetectionLib.detection.refine import FineScan, Mirror, Refined, RefineSettings, View
from LandmarkDetectionLib.detection.results import Detection, Status
from LandmarkDetectionLib.model.bundle import DESCRIPTION_FILE, WEIGHTS_FILE, Bundle, load_weights
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork
from LandmarkDetectionLib.model.unet import UNetSettings

ENGINE = "locate-refine"
_SMALLEST_WINDOW = 64
_COARSEST_LOCATE, _COARSEST_FINE = 1.5, 4.0
"""Times the voxels of locate, and of the scans of training: a scan with larger voxels than both shows other
anatomy, or only a few voxels of this."""
_AIR = 1, 4, 16
"""Times as many voxels as the scans of training that a scan may have around the same anatomy."""
_MOST_LOOKS = 72
"""Of locate at a scan, about: by three intensity scales in 24 orders of its axes."""
_SEEN = 0.2
"""Value of a candidate from which a landmark of cut anatomy is taken to be in the scan."""
_BEYOND_TAUGHT = 15.0
"""Degrees that anatomy may be turned beyond what the coarse network was taught."""
_SCOUTS = 12
"""Landmarks that are looked at to settle the pose."""
_FEWEST_SCOUTS = 4
_FIRST_DOUBT = 1.75
"""Of the coarse pose, in tolerances."""
_ROUNDS = 6
"""Of such looks, at most."""
_FIRM = 3.0
"""A pose that is off by less than the tolerance over this is firm."""
_LOOKS = 3
"""At all landmarks, at most: again where they show another pose than the one they were looked at from."""
_READINGS = 2
"""Of each look, from which the pose is fitted anew."""
_SETTLED = 0.4
"""Of the time that refine takes, about, until the pose is settled."""
MIDLINE = 5.0
"""Fine voxels from the plane of symmetry within which a landmark without a counterpart is its own."""
_BEYOND = 1.15
"""Times as large, or as small, as in training may new anatomy be; the coarse pose is not that free."""


@dataclass(frozen=True)
class LocateRefineSettings:
    """How the stages work together.

    Attributes:
        locate: the coarse look.
        refine: the fine look.
        smallest: size of the anatomy in training, relative to the mean shape, at least.
        largest: the same, at most.
        mirrored: whether training showed mirror images: only then is one a second opinion.
        tolerance: how far a right candidate lies from the mean shape at the right pose, mm.
        support: a pose that fewer of the candidates agree with, 0 to 1, is no pose: the anatomy is not there.
        found: probability of being there from which a landmark counts as found.
        uncertain: probability from which it is reported as uncertain.
        parts: of the anatomy that move against each other, together all of it; none where it is one.
    """

    locate: LocateSettings
    refine: RefineSettings
    smallest: float
    largest: float
    mirrored: bool
    tolerance: float
    support: float
    found: float
    uncertain: float
    parts: tuple[Part, ...] = ()

    @classmethod
    def from_numbers(cls, numbers: dict[str, Any]) -> LocateRefineSettings:
        """As a bundle holds them."""
        stages = {
            "locate": LocateSettings(**numbers["locate"]),
            "refine": RefineSettings(**numbers["refine"]),
        }
        parts = tuple(Part(tuple(part["landmarks"]), part["movement"]) for part in numbers.get("parts", ()))
        return cls(**{**numbers, **stages, "parts": parts})

    def as_numbers(self) -> dict[str, Any]:
        """As a bundle holds them; without parts as ever."""
        numbers = asdict(self)
        if not self.parts:
            del numbers["parts"]
        return numbers


@dataclass(frozen=True, eq=False)
class Chain:
    """The stages one after the other, with networks that are given to them.

    Attributes:
        settings: of the stages.
        constellation: the mean shape; its axes are the canonical frame.
        mirror: how the anatomy is mirrored; None where it is not.
        axes: 3 x 3, in what rotation the anatomy is looked at, of which this is a part; None is that of its
            pose.
    """

    settings: LocateRefineSettings
    constellation: Constellation
    mirror: Mirror | None
    axes: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, settings: LocateRefineSettings, table: LandmarkTable, constellation: Constellation) -> Chain:
        """The chain for a landmark table, whose pairs tell how the anatomy is mirrored."""
        order, shape = table.mirrored_order, constellation.shape
        plane = symmetry_plane(shape, order) if settings.mirrored else None
        if plane is None:
            return cls(settings, constellation, None)
        alone = plane.one_sided(shape, order, MIDLINE * settings.refine.spacing)
        return cls(settings, constellation, Mirror(plane.normal, order, alone))

    @property
    def shape(self) -> NDArray[np.float64]:
        """(K, 3) the mean shape, mm; NaN where never seen."""
        return self.constellation.shape

    def find_pose(
        self,
        network: LocateNetwork,
        scans: Sequence[Callable[[], Volume]],
        device: torch.device,
        *,
        progress: Progress = no_progress,
    ) -> tuple[Alignment, int] | None:
        """The pose of the mean shape in a scan, and which of its intensity scales shows it; None for no pose.

        Args:
            network: in evaluation mode, on `device`.
            scans: make the scan, normalised at the coarse spacing, by one or more intensity scales.
            device: where the network runs.
            progress: told how far it is: half-way after the first look, which mostly is the only one.
        """
        looks = counter()

        def look(scan: Volume, least: float = 0.0) -> Alignment | None:
            told = part_of(progress, *_share_of(next(looks)))
            return self.look(network, scan, device, least=least, progress=told)

        few = np.isfinite(self.shape).all(axis=1).sum() <= FEW  # that fit in many a wrong pose too
        return search_pose(
            look,
            scans,
            taught=self._taught,
            enough=self.settings.support if few else PLAIN,
            at_last=partial(look, least=_SEEN),
        )

    def look(
        self,
        network: LocateNetwork,
        scan: Volume,
        device: torch.device,
        *,
        least: float = 0.0,
        progress: Progress = no_progress,
    ) -> Alignment | None:
        """The pose that one look at a scan as it lies shows; None for no pose.

        Args:
            network: in evaluation mode, on `device`.
            scan: at the coarse spacing, normalised.
            device: where the network runs.
            least: as `align` has it.
            progress: told how far the look is.
        """
        settings = self.settings
        candidates = find_candidates(network, scan, settings.locate, device=device, progress=progress)
        found = align(
            candidates,
            self.constellation,
            settings.tolerance,
            scales=(settings.smallest, settings.largest),
            upright=scan.frame.direction,
            turned=self._taught + _BEYOND_TAUGHT,
            least=least,
        )
        return None if found is None or found.support < settings.support else found

    @property
    def _taught(self) -> float:
        """Degrees from upright that the coarse network knows; where nobody can tell them, as in any pose."""
        return self.settings.locate.taught if self.constellation.tells_rotation else ANY_POSE

    def find_pose_amid_air(
        self,
        network: LocateNetwork,
        prepared: Callable[[Normaliser], Volume],
        normaliser: Normaliser,
        device: torch.device,
        *,
        progress: Progress = no_progress,
    ) -> tuple[Alignment, Normaliser] | None:
        """The pose, and the normaliser under which it is plainest.

        Percentiles depend on how much air a scan shows beside the anatomy: with much more than in training,
        they would make all of the anatomy as bright as bone.

        Args:
            network: in evaluation mode, on `device`.
            prepared: the scan at the coarse spacing, by a normaliser.
            normaliser: of training.
            device: where the network runs.
            progress: as of `find_pose`.
        """
        adapted = list(dict.fromkeys(normaliser.amid_air(times) for times in _AIR))
        scans = [partial(prepared, scale) for scale in adapted]
        found = self.find_pose(network, scans, device, progress=progress)
        return None if found is None else (found[0], adapted[found[1]])

    def refine(
        self,
        network: RefineNetwork,
        volume: Volume,
        pose: Similarity,
        device: torch.device,
        *,
        progress: Progress = no_progress,
    ) -> Refined:
        """What the fine look finds in a prepared scan around the mean shape in a pose.

        The scouts settle the pose; all landmarks together, once they are seen, tell it better still, and are
        read again from there. Parts that move have poses of their own, which start from that of all. NaN
        where the shape has no landmark.
        """
        scan, parts = FineScan(network, volume, device), self.settings.parts
        steps = np.linspace(0, 1, len(parts) + 2)
        whole = progress if not parts else part_of(progress, 0.0, float(steps[1]))
        pose, doubt = self._settle(scan, pose, part_of(whole, 0.0, _SETTLED))
        if not parts:
            return self._read(scan, pose, doubt, progress)
        refined = Refined.nothing(len(self.shape))
        for part, first, last in zip(parts, steps[1:-1].tolist(), steps[2:].tolist(), strict=True):
            own = self._only(part, pose.rotation)
            along = part_of(progress, first, last)
            placed = own._settle(scan, pose, part_of(along, 0.0, _SETTLED), part.movement)
            refined = refined.averaged_with(own._read(scan, *placed, along))
        return refined

    def _only(self, part: Part, axes: NDArray[np.float64]) -> Chain:
        """The chain for a part of the anatomy, which is looked at as the whole of it lies."""
        constellation = part.of(self.constellation, self.settings.tolerance)
        return replace(self, constellation=constellation, axes=axes)

    def _read(self, scan: FineScan, pose: Similarity, doubt: float, progress: Progress) -> Refined:
        """What is read of the landmarks around their places in a pose that is settled."""
        half = (1 + _SETTLED) / 2 if self.mirror else 1.0
        view, pose, doubt = self._see_all(scan, pose, doubt, part_of(progress, _SETTLED, half))
        starts = pose.apply(self.shape)
        refined = scan.read(view, starts, doubt=doubt)
        shown = starts if self.mirror is None else np.where(self.mirror.alone[:, None], np.nan, starts)
        if self.mirror is None or not np.isfinite(shown).any():
            return refined
        mirrored = scan.look(
            shown,
            self._axes(pose),
            self._window(doubt),
            mirror=self.mirror,
            doubt=doubt,
            progress=part_of(progress, half, 1.0),
        )
        return refined.averaged_with(scan.read(mirrored, starts, doubt=doubt))

    def _axes(self, pose: Similarity) -> NDArray[np.float64]:
        return pose.rotation if self.axes is None else self.axes

    def _settle(
        self, scan: FineScan, pose: Similarity, progress: Progress, doubt: float | None = None
    ) -> tuple[Similarity, float]:
        """The pose once more, from the fine look at a few landmarks that lie far from each other.

        The coarse pose is too far off for an expectation of the landmarks to be as firm as it may be. It is
        corrected until it stands still, a few times at most. Gives the pose, and the doubt that is left.
        The doubt about it at first is that of the coarse pose, or as given, mm.
        """
        tolerance = self.settings.tolerance
        doubt = _FIRST_DOUBT * tolerance if doubt is None else doubt
        for done in range(1, _ROUNDS + 1):
            corrected = self._correct(scan, pose, doubt)
            progress("refine", done / _ROUNDS)
            if corrected is None:
                break
            moved, pose = self._apart(corrected, pose), corrected
            if moved <= tolerance / _FIRM:
                return pose, tolerance / _FIRM
            doubt = tolerance
        return pose, doubt

    def _correct(self, scan: FineScan, pose: Similarity, doubt: float) -> Similarity | None:
        """The pose that the scouts show; None where too few of them are there."""
        starts = pose.apply(self.shape)
        scouts = spread_out(self.shape, np.flatnonzero(scan.frame.contains(starts)), _SCOUTS)
        if not len(scouts):
            return None
        starts[np.setdiff1d(np.arange(len(starts)), scouts)] = np.nan
        view = scan.look(starts, self._axes(pose), self._window(doubt), doubt=doubt)
        return self._pose_of(scan.read(view, starts, doubt=doubt), scan.frame, pose)

    def _see_all(
        self, scan: FineScan, pose: Similarity, doubt: float, progress: Progress
    ) -> tuple[View, Similarity, float]:
        """A view of all landmarks, the pose that they show in it, and the doubt that is left.

        Where they move the pose by more than they may be trusted to, they are looked at again from there.
        """
        for _ in range(_LOOKS):
            view = scan.look(
                pose.apply(self.shape), self._axes(pose), self._window(doubt), doubt=doubt, progress=progress
            )
            progress = part_of(progress, 1.0, 1.0)
            before = pose
            for _ in range(_READINGS):
                shown = self._pose_of(scan.read(view, pose.apply(self.shape), doubt=doubt), scan.frame, pose)
                if shown is None:
                    return view, pose, doubt
                pose, doubt = shown, 0.0
            if self._apart(pose, before) <= self.settings.tolerance / _FIRM:
                break
        return view, pose, doubt

    def _window(self, doubt: float) -> RefineSettings:
        """As wide as what is in doubt; a firm pose needs no more than in training."""
        settings = self.settings.refine
        if doubt <= self.settings.tolerance / _FIRM:
            return settings
        return replace(settings, window=settings.window + 2 * int(np.ceil(doubt / settings.spacing)))

    def _pose_of(self, seen: Refined, frame: Frame, before: Similarity) -> Similarity | None:
        """The pose that the landmarks show which are there; None where they do not.

        A few do not tell it well enough: then it is the one before, moved onto them and turned as little as
        that takes; but not where most of those that should be in the scan are not seen.
        """
        shape, settings = self.shape, self.settings
        asked = np.isfinite(seen.presences) & frame.contains(np.nan_to_num(before.apply(shape)))
        present = (seen.presences > 0) & frame.contains(np.nan_to_num(seen.positions))
        there = np.where(present[:, None], seen.positions, np.nan)
        count, known = common_points(there, shape), int(np.isfinite(shape).all(axis=1).sum())
        if not count:
            return None
        if self.constellation.tells_rotation and count < min(_FEWEST_SCOUTS, known):
            if 2 * count < asked.sum():
                return None
            few = Constellation(before.apply(shape), (2 * settings.tolerance) ** 2)
            fitted = few.pose_in(there).after(before)
        else:
            fitted = self.constellation.pose_in(there)
        size = float(np.clip(fitted.scale, settings.smallest / _BEYOND, settings.largest * _BEYOND))
        return fitted.with_scale(size, shape[np.isfinite(there).all(axis=1)].mean(axis=0))

    def _apart(self, one: Similarity, other: Similarity) -> float:
        """How far two poses are from each other, mm: the mean over the landmarks."""
        return float(np.nanmean(np.linalg.norm(one.apply(self.shape) - other.apply(self.shape), axis=1)))


class LocateRefineDetector:
    """The engine with the weights of a bundle."""

    def __init__(self, bundle: Bundle, folder: Path, device: torch.device) -> None:
        self.bundle = bundle
        self.device = device
        landmarks = len(bundle.table)
        try:
            settings = LocateRefineSettings.from_numbers(bundle.detection)
            locate = LocateNetwork(UNetSettings(**bundle.network["locate"]), landmarks)
            fine = RefineNetwork(UNetSettings(**bundle.network["refine"]), landmarks)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / DESCRIPTION_FILE}: 'network' or 'detection' is wrong ({error}); "
                "export the model again."
            ) from error
        weights = load_weights(folder)
        self._locate = _loaded(locate, weights, "locate.", folder, device)
        self._refine = _loaded(fine, weights, "refine.", folder, device)
        constellation = Constellation.of(bundle.shape.mean, settings.tolerance)
        self._chain = Chain.of(settings, bundle.table, constellation)

    @property
    def networks(self) -> tuple[LocateNetwork, RefineNetwork]:
        """Of locate and refine, in evaluation mode."""
        return self._locate, self._refine

    def detect(self, volume: Volume, *, progress: Progress = no_progress) -> tuple[Detection, ...]:
        progress("prepare", 0.0)
        names, spacing = self.bundle.table.names, self._chain.settings.locate.spacing
        preparation = self.bundle.preparation
        if np.prod(volume.frame.spacing) > largest_voxel(self.bundle) ** 3:
            return tuple(Detection.missing(name) for name in names)
        coarse = replace(preparation, spacing=spacing).on_grid(volume)
        found = self._chain.find_pose_amid_air(
            self._locate,
            lambda normaliser: Volume(normaliser(coarse.voxels), coarse.frame),
            preparation.normaliser,
            self.device,
            progress=progress,
        )
        if found is None:
            return tuple(Detection.missing(name) for name in names)
        alignment, normaliser = found
        fine = replace(preparation, normaliser=normaliser)(volume)
        refined = self._chain.refine(self._refine, fine, alignment.pose, self.device, progress=progress)
        return judge(refined, volume.frame, self.bundle, self._chain.settings)

    def in_smaller_pieces(self) -> LocateRefineDetector | None:
        """Half the window of the coarse look, and a quarter of the fine fields."""
        settings = self._chain.settings
        window = settings.locate.window // 2 // self._locate.settings.stride * self._locate.settings.stride
        if window < _SMALLEST_WINDOW:
            return None
        smaller = copy.copy(self)
        smaller._chain = replace(
            self._chain,
            settings=replace(
                settings,
                locate=replace(settings.locate, window=window),
                refine=replace(settings.refine, largest=settings.refine.largest // 4),
            ),
        )
        return smaller


def largest_voxel(bundle: Bundle) -> float:
    """The edge of a cube as large as the largest voxels that it looks at, mm; beyond, all is absent."""
    locate = float(bundle.detection["locate"]["spacing"])
    return max(_COARSEST_LOCATE * locate, _COARSEST_FINE * bundle.preparation.spacing)


def _share_of(look: int) -> tuple[float, float]:
    """From where to where it moves locate's progress: half the way for the first, mostly the only one."""
    first, last = ((1 + (number - 1) / _MOST_LOOKS) / 2 if number else 0.0 for number in (look, look + 1))
    return min(first, 1.0), min(last, 1.0)


def judge(
    refined: Refined, frame: Frame, bundle: Bundle, settings: LocateRefineSettings
) -> tuple[Detection, ...]:
    """What is said of each landmark: is it there, where, and how far from the truth at most.

    In a scan that is coarser than those of the calibration, nobody knows the error, and nothing is found for
    sure.
    """
    calibration = bundle.calibration
    resolution = bundle.preparation.resolution_of(frame.spacing)
    presence = calibration.presence_at(resolution) if calibration else None
    inside = frame.contains(np.nan_to_num(refined.positions))
    probabilities = calibrated_presence(refined.presences, presence)
    there = inside & (probabilities >= settings.uncertain)
    misfits = bundle.shape.misfits(np.where(there[:, None], refined.positions, np.nan))
    probabilities = calibrated_presence(refined.presences, presence, misfits)
    detections = []
    for row, name in enumerate(bundle.table.names):
        probability = float(probabilities[row]) if inside[row] else 0.0
        if not probability >= settings.uncertain:
            detections.append(Detection.missing(name, np.nan_to_num(probability)))
            continue
        radius = calibration.radius_of(name, resolution, refined.spreads[row]) if calibration else np.nan
        sure = probability >= settings.found and not (calibration and np.isnan(radius))
        status: Status = "found" if sure else "uncertain"
        detections.append(Detection(name, refined.positions[row], status, probability, radius))
    return tuple(detections)


def spread_out(points: NDArray[np.float64], rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of the rows of points (K, 3), each as far as can be from those before it."""
    chosen: list[int] = []
    middle = points[rows].sum(axis=0) / max(len(rows), 1)
    nearest = np.linalg.norm(points[rows] - middle, axis=1)
    for _ in range(min(count, len(rows))):
        farthest = int(nearest.argmax())
        apart = np.linalg.norm(points[rows] - points[rows[farthest]], axis=1)
        nearest = np.minimum(nearest, apart) if chosen else apart
        chosen.append(int(rows[farthest]))
    return np.array(chosen, dtype=np.int64)


Network = TypeVar("Network", bound=nn.Module)


def _loaded(
    network: Network, weights: dict[str, Tensor], prefix: str, folder: Path, device: torch.device
) -> Network:
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(
            f"{folder / WEIGHTS_FILE}: the weights do not fit the network in {DESCRIPTION_FILE}; "
            "export the model again."
        ) from error
    return network.eval().to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]
