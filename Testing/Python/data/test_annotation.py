"""From annotated landmarks to a table and a mask."""

from pathlib import Path

import numpy as np
import pytest

from LandmarkDetectionLib.data.annotation import infer_table, mask_of
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import LandmarkTable

FRAME = Frame(size=(40, 30, 20), spacing=(0.5, 0.5, 1.0), origin=(5, 6, 7))
TABLE = LandmarkTable.from_names(["Nose", "Chin"])


def at(*names: str, index: tuple[float, float, float] = (20, 15, 10)) -> LandmarkSet:
    return LandmarkSet(names, np.array([FRAME.index_to_world(np.array(index))] * len(names)))


def reach(mask: np.ndarray, label: int) -> float:
    """Largest distance in mm of a voxel with the label, along x."""
    return float(np.abs(np.argwhere(mask == label)[:, 2] - 20).max() * 0.5)


@pytest.mark.parametrize(
    ("radii", "ball", "shell"),
    [
        ({"positive": 2.0, "negative": 3.0}, 2.0, 3.0),
        ({"positive": 2.0}, 2.0, 4.0),
        ({"negative": 3.0}, 1.5, 3.0),
    ],
)
def test_a_radius_that_is_not_given_follows_the_other(
    radii: dict[str, float], ball: float, shell: float
) -> None:
    mask = mask_of(at("Nose"), FRAME, TABLE, **radii, where="a.csv").voxels
    assert reach(mask, 1) == ball
    assert reach(mask, -1) == shell


def test_labels_come_from_the_table_whatever_the_order_of_the_landmarks() -> None:
    mask = mask_of(at("Chin"), FRAME, TABLE, where="a.csv").voxels
    assert set(np.unique(mask)) == {-1, 0, 2}


def test_a_landmark_outside_the_scan_is_named() -> None:
    with pytest.raises(InputError, match=r"a\.csv: Chin outside"):
        mask_of(at("Chin", index=(50, 15, 10)), FRAME, TABLE, where="a.csv")


def test_the_table_of_a_data_set_has_all_its_names_and_the_pairs_that_they_tell() -> None:
    table = infer_table([at("P2", "Eye_L"), at("Eye_R", "P10")], Path("cases.csv"))
    assert table.names == ("Eye_L", "Eye_R", "P2", "P10")
    assert table.labels == (1, 2, 3, 4)


def test_pairs_are_seen_in_the_shape() -> None:
    rng = np.random.default_rng(0)
    left = rng.uniform(5, 30, (6, 3))
    middle = rng.uniform(5, 30, (4, 3)) * [0, 1, 1]
    points = np.concatenate([left, left * [-1, 1, 1], middle])
    names = [f"P{number}" for number in range(16)]
    table = infer_table([LandmarkSet(names, points)], Path("cases.csv"))
    assert table.mirrored_order == [*range(6, 12), *range(6), *range(12, 16)]


def test_a_data_set_without_landmarks_says_so() -> None:
    with pytest.raises(InputError, match=r"cases\.csv: no case has a landmark"):
        infer_table([], Path("cases.csv"))
