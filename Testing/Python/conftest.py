"""What all floors' tests share."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("floors", deadline=None)  # how long an example takes says nothing about it
settings.load_profile("floors")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests say that they are skipped where there is no GPU."""
    if any(item.get_closest_marker("gpu") for item in items) and not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU on this machine"))
