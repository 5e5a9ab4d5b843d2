"""The locate-refine engine's configuration for a data set and a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from LandmarkDetectionLib.model.queries import RefineNetwork, cut_windows
from LandmarkDetectionLib.training.budget import (
    STEPS_PER_EPOCH,
    choose_epochs,
    expectation,
    measure_step,
    shortage,
    training_section,
)
from LandmarkDetectionLib.training.locate_refine.config import (
    DetectionSection,
    LocateRefineConfig,
    LocateSection,
    RefineSection,
)
from LandmarkDetectionLib.training.sections import AugmentationSection, DataSection
from LandmarkDetectionLib.training.survey import ANY_POSE, Survey, rounded

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
LOCATE_STEPS, REFINE_STEPS = 120, 363
"""For each training case: a third of the former misses poses of cut anatomy, half of the latter costs 5 %."""
FEWEST_CASES, MOST_CASES = 15, 76
"""There are as many steps as for so many cases at least, and at most."""
LOCATE_COST = 0.4
"""Of a step of locate, against one of refine."""
BATCH, LARGEST_BATCH = 8, 32
FINE_FIELDS_PER_COARSE = 4
"""A step on a coarse field costs about as much as on so many fine ones."""


def plan_locate_refine(
    name: str, data: DataSection, survey: Survey, *, device: torch.device, hours: float | None, seed: int
) -> tuple[LocateRefineConfig, tuple[str, ...]]:
    """A configuration of the locate-refine engine, and why it is so.

    Args:
        name: of the model.
        data: where the cases are.
        survey: of the cases.
        device: where it will be trained.
        hours: train for at most about this long; None for as long as the data needs.
        seed: of the run.
    """
    locate, refine = choose_locate(survey), choose_refine(survey)
    batch, seconds = measure_refine_step(refine, len(survey.table), device)
    steps = (LOCATE_STEPS + REFINE_STEPS) * float(np.clip(survey.cases, FEWEST_CASES, MOST_CASES))
    seconds *= 1 - locate.share * (1 - LOCATE_COST)
    epochs = max(choose_epochs(steps, seconds, hours), 2)
    config = LocateRefineConfig(
        version=1,
        name=name,
        engine="locate-refine",
        data=data,
        image=survey.image,
        training=training_section(epochs, batch, device, seed, learning_rate=LEARNING_RATE),
        locate=locate.model_copy(update={"batch": max(batch // FINE_FIELDS_PER_COARSE, 1)}),
        refine=refine,
        detection=DetectionSection(
            tolerance=rounded(max(1.25 * locate.spacing, 2 * survey.deviation)),
            support=0.3,
            found=0.8,
            uncertain=0.5,
        ),
    )
    reasons = (
        f"locate.spacing {locate.spacing:g} mm: a field of {locate.field} voxels holds all landmarks "
        f"(they span {survey.span:.3g} mm).",
        f"refine.spacing {refine.spacing:g} mm, refine.deviation {refine.deviation:g} mm: landmarks lie "
        f"about {survey.deviation:.2g} mm from the mean shape along each axis.",
        *shortage(epochs, seconds, steps=steps),
        expectation(epochs, batch, epochs * STEPS_PER_EPOCH * seconds, device, steps=steps),
    )
    return config, reasons


def choose_locate(survey: Survey) -> LocateSection:
    """A field that holds all landmarks in any pose."""
    spacing = max(survey.image.spacing, rounded(AROUND * survey.span / LOCATE_FIELD))
    stride = 2 ** len(LOCATE_CHANNELS)
    across = int(np.ceil(AROUND * survey.span / spacing / stride)) * stride
    return LocateSection(
        spacing=spacing,
        field=int(np.clip(across, 2 * stride, LOCATE_FIELD)),
        channels=LOCATE_CHANNELS,
        heat_width=rounded(1.6 * spacing),
        jitter=rounded(12 * spacing),
        anywhere=0.15,
        cut=0.4,
        batch=1,
        share=rounded(LOCATE_STEPS / (LOCATE_STEPS + REFINE_STEPS)),
        augmentation=_augmentation(survey, spacing, rotation=ANY_POSE, scale=0.15, shear=0.05, warp=2.5),
    )


def choose_refine(survey: Survey) -> RefineSection:
    """A window that reaches as far as landmarks lie from the mean shape, and some more."""
    spacing = max(survey.image.spacing, rounded(survey.span / FINE_ACROSS))
    deviation = rounded(max(1.4 * survey.deviation, spacing))
    reach = int(np.ceil(DEVIATIONS * deviation / spacing))
    return RefineSection(
        spacing=spacing,
        field=REFINE_FIELD,
        channels=REFINE_CHANNELS,
        window=int(np.clip(2 * reach + 1, SMALLEST_WINDOW, LARGEST_WINDOW)),
        heat_width=rounded(REFINE_HEAT * spacing),
        deviation=deviation,
        cut=0.2,
        augmentation=_augmentation(survey, spacing, rotation=8.0, scale=0.07, shear=0.03, warp=1.0),
    )


def _augmentation(
    survey: Survey, spacing: float, *, rotation: float, scale: float, shear: float, warp: float
) -> AugmentationSection:
    """Variations in proportion to the grid; the warp's amplitude is told in voxels."""
    return AugmentationSection(
        rotation=rotation,
        scale=scale,
        shear=shear,
        mirror=0.5 if survey.mirrors else 0.0,
        elastic=0.3,
        elastic_spacing=rounded(16 * spacing),
        elastic_amplitude=rounded(warp * spacing),
        noise=0.1,
        gamma=0.3,
        contrast=0.1,
        motion=0.1,
        motion_shift=1.0,
    )


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
