"""A data set that grows case by case."""

from pathlib import Path

import numpy as np
import pytest

from LandmarkDetectionLib.data.cases import Case, case_landmarks, read_split
from LandmarkDetectionLib.data.dataset import cases_of, write_case, write_image
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import read_mask
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, read_table
from LandmarkDetectionLib.data.volume import Volume, read_volume

FRAME = Frame(size=(20, 22, 24), spacing=(1, 1, 1), origin=(3, -40, 7))
TABLE = LandmarkTable(
    (
        Landmark("orbit_L", 4, pair="orbit_R", group="face", definition="lowest point of the left rim"),
        Landmark("orbit_R", 9, pair="orbit_L", group="face"),
        Landmark("nasion", 12),
    )
)


def landmarks(**indices: tuple[float, float, float] | None) -> LandmarkSet:
    points = [np.full(3, np.nan) if at is None else FRAME.index_to_world(at) for at in indices.values()]
    return LandmarkSet(list(indices), np.array(points))


def a_case(name: str, folder: Path) -> Case:
    volume = Volume(np.arange(np.prod(FRAME.shape), dtype=np.int16).reshape(FRAME.shape), FRAME)
    return Case(name, write_image(volume, name, folder), group="family")


def test_a_case_can_be_read_back_as_a_split_row(tmp_path: Path) -> None:
    path = tmp_path / "data" / "cases.csv"
    known = landmarks(nasion=(5, 6, 7), lambda_=None)
    write_case(a_case("skull 1", path.parent), known, FRAME, path)
    (case,) = read_split(path, supervised=True)
    assert (case.name, case.group) == ("skull 1", "family")
    assert read_volume(case.image_path).frame.agrees_with(FRAME)
    back = case_landmarks(case, None)
    assert back.names == ("nasion", "lambda_")
    np.testing.assert_allclose(back.positions, known.positions)
    assert case.mask_path is not None
    assert read_mask(case.mask_path).voxels[7, 6, 5] == 1


def test_cases_are_added_and_a_case_of_the_same_name_is_replaced_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    for name, at in (("a", (5, 5, 5)), ("b", (6, 6, 6)), ("a", (9, 9, 9))):
        write_case(a_case(name, tmp_path), landmarks(nasion=at), FRAME, path)
    cases = cases_of(path)
    assert [case.name for case in cases] == ["a", "b"]
    np.testing.assert_allclose(
        [case_landmarks(case, None).positions[0] for case in cases],
        [FRAME.index_to_world((9, 9, 9)), FRAME.index_to_world((6, 6, 6))],
    )


def test_labels_stay_what_they_were_when_landmarks_are_added(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    write_case(a_case("a", tmp_path), landmarks(nasion=(5, 5, 5), bregma=(9, 9, 9)), FRAME, path)
    write_case(
        a_case("b", tmp_path), landmarks(orbit_R=(6, 6, 6), nasion=(5, 5, 5)), FRAME, path, table=TABLE
    )
    table = read_table(tmp_path / "landmarks.csv")
    assert dict(zip(table.names, table.labels, strict=True)) == {
        "nasion": 1,
        "bregma": 2,
        "orbit_L": 3,
        "orbit_R": 4,
    }
    orbit = table.landmarks[2]
    assert (orbit.pair, orbit.group, orbit.definition) == ("orbit_R", "face", "lowest point of the left rim")


def test_pairs_that_the_names_tell_are_put_into_the_table(tmp_path: Path) -> None:
    known = landmarks(eye_L=(3, 10, 10), eye_R=(16, 10, 10), chin=(10, 3, 10), nasion=(10, 18, 10))
    write_case(a_case("a", tmp_path), known, FRAME, tmp_path / "cases.csv")
    pairs = {row.name: row.pair for row in read_table(tmp_path / "landmarks.csv").landmarks}
    assert pairs == {"eye_L": "eye_R", "eye_R": "eye_L", "chin": "", "nasion": ""}


def test_nothing_is_written_of_a_case_whose_landmark_lies_outside_its_scan(tmp_path: Path) -> None:
    case = a_case("a", tmp_path)
    with pytest.raises(InputError, match="The case 'a': nasion outside the image"):
        write_case(case, landmarks(nasion=(5, 50, 5)), FRAME, tmp_path / "cases.csv")
    with pytest.raises(InputError, match="The case 'a' has no landmark"):
        write_case(case, landmarks(), FRAME, tmp_path / "cases.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_skewed_scan_is_kept_in_a_format_that_can_hold_it(tmp_path: Path) -> None:
    skewed = Frame(
        size=(9, 9, 9), spacing=(1, 1, 1), direction=np.array([[1, 0, 0.2], [0, 1, 0], [0, 0, 0.98]])
    )
    image = write_image(Volume(np.zeros((9, 9, 9), np.int16), skewed), "a", tmp_path)
    points = LandmarkSet(["nasion"], skewed.index_to_world((4, 4, 4))[None])
    case = write_case(Case("a", image), points, skewed, tmp_path / "cases.csv")
    assert case.mask_path is not None
    for path in (case.image_path, case.mask_path):
        assert read_volume(path).frame.agrees_with(skewed, tolerance=1e-6)


def test_a_case_that_differs_from_another_only_in_upper_and_lower_case_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data" / "cases.csv"
    write_case(a_case("Skull", path.parent), landmarks(nasion=(5, 6, 7)), FRAME, path)
    with pytest.raises(InputError, match="The case 'skull' would overwrite the case 'Skull'"):
        write_case(a_case("skull", path.parent), landmarks(nasion=(1, 2, 3)), FRAME, path)
    assert [case.name for case in cases_of(path)] == ["Skull"]
    write_case(a_case("Skull", path.parent), landmarks(nasion=(1, 2, 3)), FRAME, path)
