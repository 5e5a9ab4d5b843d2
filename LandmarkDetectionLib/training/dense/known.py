"""What the network of a dense model is made for, for a training that goes on from it."""

from __future__ import annotations

from typing import Any

from LandmarkDetectionLib.model.bundle import Bundle
from LandmarkDetectionLib.training.dense.config import NetworkSection


def network_of(bundle: Bundle) -> NetworkSection:
    """Its network, as a configuration has it."""
    return NetworkSection(**bundle.network)


def keys_of(bundle: Bundle) -> dict[str, Any]:
    """What its network is made for, by key of the configuration, as JSON has it."""
    return {f"network.{key}": value for key, value in network_of(bundle).model_dump(mode="json").items()}
