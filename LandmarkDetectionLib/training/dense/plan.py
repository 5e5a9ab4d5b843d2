"""The dense engine's configuration for a data set and a machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from LandmarkDetectionLib.model.losses import focal_loss
from LandmarkDetectionLib.model.vnet import VNet, VNetSettings
from LandmarkDetectionLib.training.base import GENTLER, PART, Base
from LandmarkDetectionLib.training.dense.config import (
    DenseConfig,
    DetectionSection,
    LossSection,
    NetworkSection,
    SamplingSection,
    TargetSection,
)
from LandmarkDetectionLib.training.dense.known import network_of
from LandmarkDetectionLib.training.planning.budget import (
    STEPS_PER_EPOCH,
    choose_epochs,
    epochs_of,
    expectation,
    hours_for,
    measure_step,
    shortage,
    training_section,
)
from LandmarkDetectionLib.training.planning.survey import ANY_POSE, Survey, rounded
from LandmarkDetectionLib.training.planning.variation import augmentation_of
from LandmarkDetectionLib.training.sections import AugmentationSection, DataSection

LARGEST_CROP = 64
BALL_VOXELS, SHELL_VOXELS = 2.0, 3.0
"""Radii. Smaller ones than the reference's 3 and 6 gave smaller errors: docs/results.md compares them."""
CROPS_PER_CASE = 200
FEWEST_CROPS, MOST_CROPS = 2_000, 20_000
MORE_ON_GPU = 5
MORE_FOR_ANY_POSE = 2
BATCH, LARGEST_BATCH = 2, 8
NETWORK = NetworkSection(channels=(16, 32, 64), blocks=(2, 3, 2, 1), groups=8)
SMALL_NETWORK = NetworkSection(channels=(8, 16, 32), blocks=(2, 3, 2, 1), groups=8)
LEARNING_RATE = 2e-3
TOO_SHORT = 4
"""A training of less than one part in so many of what the data needs is not expected to work."""
FEWEST_STEPS = 500
"""The network of full size learns too little in fewer steps than these."""


def plan_dense(
    name: str,
    data: DataSection,
    survey: Survey,
    *,
    device: torch.device,
    hours: float | None,
    seed: int,
    base: Base | None = None,
) -> tuple[DenseConfig, tuple[str, ...]]:
    """A configuration of the dense engine, and why it is so.

    Args:
        name: of the model.
        data: where the cases are.
        survey: of the cases.
        device: where it will be trained.
        hours: train for at most about this long; None for as long as the data needs.
        seed: of the run.
        base: the model that it goes on from; None begins anew.
    """
    sampling = choose_sampling(survey)
    landmarks, known = len(survey.table), None if base is None else network_of(base.bundle)
    network, batch, seconds, network_reason = choose_network(landmarks, sampling.crop, device, hours, known)
    crops = count_crops(survey.cases, any_pose=survey.rotation == ANY_POSE, device=device)
    crops /= 1 if base is None else PART
    epochs = choose_epochs(crops / batch, seconds, hours)
    spacing = survey.image.spacing
    config = DenseConfig(
        version=1,
        name=name,
        engine="dense",
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
        target=TargetSection(
            positive=rounded(BALL_VOXELS * spacing), negative=rounded(SHELL_VOXELS * spacing)
        ),
        sampling=sampling,
        augmentation=choose_augmentation(survey),
        network=network,
        loss=LossSection(gamma=2.0, background_weight=1.0),
        detection=DetectionSection(threshold=0.5, uncertain=0.2, overlap=0.25),
    )
    duration = epochs * STEPS_PER_EPOCH * seconds
    needed = epochs_of(crops / batch)
    told = expectation(epochs, batch, duration, device, needed=needed)
    least = needed / TOO_SHORT
    short = (shortage(hours_for((math.ceil(least),), (seconds,))),) if epochs < least else ()
    turned = f"augmentation.rotation {survey.rotation:g}: as far as the scans' poses differ."
    return config, (network_reason, turned, *short, told)


def choose_sampling(survey: Survey) -> SamplingSection:
    """Crops as large as a network step affords, and no larger than the scans."""
    across = survey.extent / survey.image.spacing
    edge = int(np.clip(16 * np.ceil(across / 16), 16, LARGEST_CROP))
    return SamplingSection(crop=(edge, edge, edge), landmark_fraction=0.7, padding="minimum")


def choose_augmentation(survey: Survey) -> AugmentationSection:
    """Variations of the largest crop."""
    return augmentation_of(
        survey,
        survey.image.spacing,
        LARGEST_CROP,
        rotation=survey.rotation,
        scale=0.15,
        shear=0.05,
        warp=3.0,
        motion=2.0,
    )


def count_crops(cases: int, *, any_pose: bool, device: torch.device) -> float:
    """Enough crops for the number of cases, more for any pose, and more where a GPU makes them cheap."""
    crops = float(np.clip(CROPS_PER_CASE * cases, FEWEST_CROPS, MOST_CROPS))
    return crops * (MORE_FOR_ANY_POSE if any_pose else 1) * (MORE_ON_GPU if device.type == "cuda" else 1)


def choose_network(
    landmarks: int,
    crop: tuple[int, int, int],
    device: torch.device,
    hours: float | None,
    known: NetworkSection | None = None,
) -> tuple[NetworkSection, int, float, str]:
    """The network, its batch, the seconds of a step, and why: half the channels where time is short.

    That of a model which the training goes on from is `known`.
    """
    if known is not None:
        batch, seconds = measure_dense_step(known, landmarks, crop, device)
        return known, batch, seconds, "network: that of the model."
    batch, seconds = measure_dense_step(NETWORK, landmarks, crop, device)
    if hours is None or hours * 3600 / seconds >= FEWEST_STEPS:
        return NETWORK, batch, seconds, "network: the reference's 16, 32 and 64 channels."
    batch, seconds = measure_dense_step(SMALL_NETWORK, landmarks, crop, device)
    reason = f"network: 8, 16 and 32 channels; {hours:.2g} hours are too short to train twice as many."
    return SMALL_NETWORK, batch, seconds, reason


def measure_dense_step(
    network: NetworkSection, landmarks: int, crop: tuple[int, int, int], device: torch.device
) -> tuple[int, float]:
    """The batch size that fits the device, and the seconds that one step of it takes."""
    settings = VNetSettings(
        classes=landmarks + 1, channels=network.channels, blocks=network.blocks, groups=network.groups
    )
    model: Any = VNet(settings).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def losses(batch: int) -> Callable[[], Tensor]:
        image = torch.rand(batch, 1, *crop[::-1], device=device)
        classes = torch.randint(0, landmarks + 1, (batch, *crop[::-1]), device=device)
        return lambda: focal_loss(model(image.contiguous(memory_format=torch.channels_last_3d)), classes)

    return measure_step(losses, device, batch=BATCH, largest_batch=LARGEST_BATCH)
