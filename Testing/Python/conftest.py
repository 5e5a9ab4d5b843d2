"""What all floors' tests share."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import settings

from Testing.small_model import write_small_model

settings.register_profile("floors", deadline=None)  # how long an example takes says nothing about it
settings.load_profile("floors")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests say that they are skipped where there is no GPU."""
    if any(item.get_closest_marker("gpu") for item in items) and not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU on this machine"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real scans, which are no part of the project."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def mouse_skulls(shared_data: Path) -> Path:
    """The skulls as scanned."""
    return shared_data / "mouse-skull" / "raw"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can look into; those of pytest are for one."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def a_model(tmp_path: Path) -> Path:
    """A bundle of an untrained network, which finds two of its three landmarks somewhere in any scan."""
    return write_small_model(tmp_path / "small model")
