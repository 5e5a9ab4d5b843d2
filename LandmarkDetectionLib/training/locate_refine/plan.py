"""The locate-refine engine's configuration for a data set and a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from LandmarkDetectionLib.data.constellation import Constellation
from LandmarkDetectionLib.model.queries import LocateNetwork, RefineNetwork, cut_windows
from LandmarkDetectionLib.training.base import GENTLER, PART, Base
from LandmarkDetectionLib.training.locate_refine.config import (
    DetectionSection,
    LocateRefineConfig,
    LocateSection,
    RefineSection,
)
from LandmarkDetectionLib.training.locate_refine.known import KnownLooks
from LandmarkDetectionLib.training.planning.budget import (
    epochs_of,
    expectation,
    hours_for,
    measure_step,
    shortage,
    training_section,
)
from LandmarkDetectionLib.training.planning.survey import ANY_POSE, Survey, rounded
from LandmarkDetectionLib.training.planning.variation import augmentation_of
from LandmarkDetectionLib.training.sections import DataSection

LOCATE_FIELD = 48
REFINE_FIELD = 32
AROUND = 1.3
"""The coarse field is so many times as wide as the landmarks."""
FINE_ACROSS = 150
"""Fine voxels across the landmarks, at most."""
LOCATE_CHANNELS = (24, 48, 96, 128)
REFINE_CHANNELS = (16, 32, 64, 128)
REFINE_HEAT = 0.65
"""Voxels: a wider target says less than the image does, and the expectation would outweigh it."""
DEVIATIONS = 4.5
"""Of a landmark from where it is expected, that the window reaches to each side."""
SMALLEST_WINDOW, LARGEST_WINDOW = 9, 21
LEARNING_RATE = 3e-3
UPRIGHT, ANYHOW = 20, 120
"""Steps of locate for each training case, where scans lie alike and where they lie anyhow: a third of the
latter misses poses of cut anatomy."""
LEAST_UPRIGHT, LEAST_ANYHOW = 600, 1200
"""Steps of locate without which a pose is not to be had; docs/method.md has the table."""
REFINE_STEPS, LEAST_REFINE = 363, 300
"""For each training case, where so many fields lie across it as below: half of them costs 5 %. Fewer than the
latter in all place nothing."""
FIELDS_ACROSS, LEAST_SHARE = 4.7, 0.15
"""Of refine across a mouse skull, on which these steps were found. Anatomy that is seen in fewer fields is
seen more often: it needs fewer steps, in proportion to the square, but such a share of them at least."""
FEWEST_CASES, MOST_CASES = 15, 76
"""There are as many steps as for so many cases at least, and at most."""
TAUGHT = 60.0
"""Degrees from upright that locate is taught where scans lie alike. Axes of a scan in another order turn it
near enough to that from any pose."""
BATCH, LARGEST_BATCH = 8, 32
FINE_FIELDS_PER_COARSE = 4
"""A step on a coarse field costs about as much as on so many fine ones."""


def plan_locate_refine(
    name: str,
    data: DataSection,
    survey: Survey,
    *,
    device: torch.device,
    hours: float | None,
    seed: int,
    base: Base | None = None,
) -> tuple[LocateRefineConfig, tuple[str, ...]]:
    """A configuration of the locate-refine engine, and why it is so.

    Args:
        name: of the model.
        data: where the cases are.
        survey: of the cases.
        device: where it will be trained.
        hours: train for at most about this long; None for as long as the data needs.
        seed: of the run.
        base: the model that it goes on from; None begins anew.
    """
    known = None if base is None else KnownLooks.of(base.bundle)
    locate, refine = choose_locate(survey, known), choose_refine(survey, known)
    batch, refine_seconds = measure_refine_step(refine, len(survey.table), device)
    locate = locate.model_copy(update={"batch": max(batch // FINE_FIELDS_PER_COARSE, 1)})
    locate_seconds = measure_locate_step(locate, len(survey.table), device)
    shares = share_out(survey, locate_seconds, refine_seconds, hours, part=1 if base is None else PART)
    epochs = shares.locate + shares.refine
    locate = locate.model_copy(
        update={
            "share": float(f"{shares.locate / epochs:.6g}"),
            "cost": rounded(locate_seconds / refine_seconds),
        }
    )
    config = LocateRefineConfig(
        version=1,
        name=name,
        engine="locate-refine",
        data=data,
        image=survey.image,
        training=training_section(
            epochs,
            batch,
            device,
            seed,
            learning_rate=LEARNING_RATE if base is None else rounded(LEARNING_RATE / GENTLER),
            base=None if base is None else base.folder,
        ),
        locate=locate,
        refine=refine,
        detection=choose_detection(survey, locate) if known is None else known.detection,
    )
    reasons = (
        _reason_for_field(survey, locate),
        f"refine.spacing {refine.spacing:g} mm, refine.deviation {refine.deviation:g} mm: landmarks lie "
        f"about {survey.deviation:.2g} mm from the mean shape along each axis.",
        *reason_for_parts(survey),
        _reason_for_rotation(survey, locate),
        *shares.shortage(),
        shares.expectation(batch, device),
    )
    return config, reasons


@dataclass(frozen=True)
class Shares:
    """The epochs of both networks, and what the data needs.

    Attributes:
        locate: epochs.
        refine: epochs.
        needed: epochs of both, without a limit of hours.
        least: epochs of both, below which little can be expected.
        seconds: of a step of both.
    """

    locate: int
    refine: int
    needed: tuple[int, int]
    least: tuple[int, int]
    seconds: tuple[float, float]

    def shortage(self) -> tuple[str, ...]:
        """A sentence where the time is too short for either network; none otherwise."""
        if self.locate >= self.least[0] and self.refine >= self.least[1]:
            return ()
        locate = self.least[0]
        by_half = 2 * hours_for((locate,), self.seconds[:1])
        by_need = hours_for(self.needed, self.seconds) * locate / self.needed[0]
        return (shortage(max(min(by_half, by_need), hours_for(self.least, self.seconds))),)

    def expectation(self, batch: int, device: torch.device) -> str:
        """What a plan says of the time that its training takes."""
        epochs, needed = self.locate + self.refine, sum(self.needed)
        hours = hours_for((self.locate, self.refine), self.seconds)
        return expectation(epochs, batch, 3600 * hours, device, needed=needed)


def share_out(
    survey: Survey, locate_seconds: float, refine_seconds: float, hours: float | None, *, part: int = 1
) -> Shares:
    """Epochs for both networks: what the data needs, or less of both; but locate gets what a pose takes.

    Without a pose all is lost, and with one refine finds most in a few hundred steps. So locate is given the
    least that it takes, up to half of the time.

    Args:
        survey: of the cases.
        locate_seconds: that a step of locate takes.
        refine_seconds: that one of refine takes.
        hours: train for at most about this long; None for as long as the data needs.
        part: one in so many of the steps is enough: the networks know the anatomy.
    """
    cases = float(np.clip(survey.cases, FEWEST_CASES, MOST_CASES))
    each, least = (UPRIGHT, float(LEAST_UPRIGHT)) if survey.lie_alike else (ANYHOW, LEAST_ANYHOW)
    least /= part
    needed = max(each * cases / part, least), refine_steps(survey) * cases / part
    in_all = needed[0] * locate_seconds + needed[1] * refine_seconds
    allowed = in_all if hours is None else min(hours * 3600, in_all)
    locate = max(needed[0] * allowed / in_all, min(least, allowed / 2 / locate_seconds))
    refine = (allowed - locate * locate_seconds) / refine_seconds
    return Shares(
        locate=epochs_of(locate),
        refine=epochs_of(refine),
        needed=(epochs_of(needed[0]), epochs_of(needed[1])),
        least=(epochs_of(least), epochs_of(LEAST_REFINE / part)),
        seconds=(locate_seconds, refine_seconds),
    )


def refine_steps(survey: Survey) -> float:
    """For each case, so many that each place of the anatomy is seen as often as on mouse skulls."""
    fields = survey.span / (REFINE_FIELD * fine_spacing(survey))
    return REFINE_STEPS * float(np.clip((fields / FIELDS_ACROSS) ** 2, LEAST_SHARE, 1.0))


def _reason_for_field(survey: Survey, locate: LocateSection) -> str:
    field = f"locate.spacing {locate.spacing:g} mm: a field of {locate.field} voxels holds "
    if survey.seen > survey.span:
        return (
            f"{field}{survey.seen:.3g} mm of a scan, for the landmarks span {survey.span:.3g} mm only: they "
            "are told by what lies around them."
        )
    return f"{field}all landmarks (they span {survey.span:.3g} mm)."


def reason_for_parts(survey: Survey) -> tuple[str, ...]:
    """A sentence where parts of the anatomy have poses of their own; none otherwise."""
    if not survey.parts:
        return ()
    groups = [
        sorted({survey.table.landmarks[row].group or "no group" for row in part.landmarks})
        for part in survey.parts
    ]
    told = ", and ".join(" with ".join(names) for names in groups)
    far = max(part.movement for part in survey.parts)
    return (
        f"{len(survey.parts)} poses in detection: {told} move against each other, by {far:.2g} mm from the "
        "pose of all along each axis.",
    )


def _reason_for_rotation(survey: Survey, locate: LocateSection) -> str:
    if not Constellation.of(survey.shape, noise=1.0).tells_rotation:
        return f"locate.augmentation.rotation {TAUGHT:g}: from how a scan's header says that it lies."
    if survey.lie_alike and locate.augmentation.rotation > TAUGHT:
        return f"locate.augmentation.rotation {ANY_POSE:g}: the model knows any pose, and shall go on to."
    if survey.lie_alike:
        return (
            f"locate.augmentation.rotation {TAUGHT:g}: the scans lie alike; one that does not is looked at "
            "in 24 orders of its axes, which takes some seconds more."
        )
    return f"locate.augmentation.rotation {ANY_POSE:g}: the scans lie anyhow."


def choose_detection(survey: Survey, locate: LocateSection) -> DetectionSection:
    """What counts as right, as an anatomy, and as found."""
    return DetectionSection(
        tolerance=rounded(max(1.25 * locate.spacing, 2 * survey.deviation)),
        support=0.3,
        found=0.8,
        uncertain=0.5,
    )


def choose_locate(survey: Survey, known: KnownLooks | None = None) -> LocateSection:
    """A field that holds all landmarks in any pose, and enough of the scan to know it again."""
    spacing = max(survey.image.spacing, rounded(AROUND * survey.seen / LOCATE_FIELD))
    rotation = TAUGHT if survey.lie_alike else ANY_POSE
    channels: tuple[int, ...] = LOCATE_CHANNELS
    if known is not None:
        spacing, channels = known.locate_spacing, known.locate_channels
        rotation = max(rotation, known.rotation)
    stride = max(2 ** len(channels), 8)
    across = int(np.ceil(AROUND * survey.seen / spacing / stride)) * stride
    field = int(np.clip(across, 2 * stride, LOCATE_FIELD))
    return LocateSection(
        spacing=spacing,
        field=field,
        channels=channels,
        heat_width=rounded(1.6 * spacing),
        jitter=rounded(12 * spacing),
        anywhere=0.15,
        cut=0.4,
        batch=1,
        share=0.5,
        augmentation=augmentation_of(
            survey,
            spacing,
            field,
            rotation=rotation,
            scale=0.15,
            shear=0.05,
            warp=2.5,
            motion=1.0,
        ),
    )


def fine_spacing(survey: Survey) -> float:
    """Of refine's grid, mm: that of the scans, or coarser where the anatomy is large."""
    return max(survey.image.spacing, rounded(survey.span / FINE_ACROSS))


def choose_refine(survey: Survey, known: KnownLooks | None = None) -> RefineSection:
    """A window that reaches as far as landmarks lie from the mean shape, and some more."""
    spacing, least = fine_spacing(survey), 0.0
    channels: tuple[int, ...] = REFINE_CHANNELS
    if known is not None:
        spacing, channels = known.refine_spacing, known.refine_channels
        least = (known.window / 2 - 1) / DEVIATIONS * spacing  # few cases seem to deviate less than many
    deviation = rounded(max(1.4 * survey.deviation, spacing, least))
    reach = int(np.ceil(DEVIATIONS * deviation / spacing))
    return RefineSection(
        spacing=spacing,
        field=REFINE_FIELD,
        channels=channels,
        window=int(np.clip(2 * reach + 1, SMALLEST_WINDOW, LARGEST_WINDOW)),
        heat_width=rounded(REFINE_HEAT * spacing),
        deviation=deviation,
        cut=0.2,
        augmentation=augmentation_of(
            survey, spacing, REFINE_FIELD, rotation=8.0, scale=0.07, shear=0.03, warp=1.0, motion=1.0
        ),
    )


def measure_locate_step(settings: LocateSection, landmarks: int, device: torch.device) -> float:
    """The seconds that one step of locate takes."""
    model: Any = LocateNetwork(settings.network, landmarks)
    model = model.to(device, memory_format=torch.channels_last_3d)

    def losses(batch: int) -> Callable[[], Tensor]:
        image = torch.rand(batch, 1, *[settings.field] * 3, device=device)
        return lambda: model(image.contiguous(memory_format=torch.channels_last_3d)).square().mean()

    return measure_step(losses, device, batch=settings.batch, largest_batch=settings.batch)[1]


def measure_refine_step(settings: RefineSection, landmarks: int, device: torch.device) -> tuple[int, float]:
    """The batch size that fits the device, and the seconds that one step of refine takes."""
    model: Any = RefineNetwork(settings.network, landmarks)
    model = model.to(device, memory_format=torch.channels_last_3d)
    asked = 3

    def losses(batch: int) -> Callable[[], Tensor]:
        image = torch.rand(batch, 1, *[settings.field] * 3, device=device)
        fields = torch.arange(batch).repeat(asked)
        corners = torch.zeros(len(fields), 3, dtype=torch.long)
        rows = (torch.arange(len(fields)) % landmarks).to(device)

        def loss() -> Tensor:
            features = model.features(image.contiguous(memory_format=torch.channels_last_3d))
            windows = cut_windows(features, fields, corners, settings.window)
            heat, presence = model.ask(windows, rows, torch.zeros(len(rows), 3, device=device))
            total: Tensor = heat.square().mean() + presence.square().mean()
            return total

        return loss

    return measure_step(losses, device, batch=BATCH, largest_batch=LARGEST_BATCH)
