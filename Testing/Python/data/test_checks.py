"""The check of a data set: every flaw is found, and a good data set has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.axes import lie_turned
from LandmarkDetectionLib.data.cases import Case, write_split
from LandmarkDetectionLib.data.checks import Finding, check_splits
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import read_landmarks, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import draw_mask
from LandmarkDetectionLib.data.outliers import flat_landmarks, shape_oddities
from LandmarkDetectionLib.data.table import LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume

Array = NDArray[np.float64]
FRAME = Frame(size=(24, 26, 28), origin=(30, -40, 5), spacing=(1.0, 1.0, 1.2))
NAMES = [f"L{number}" for number in range(1, 9)]
TABLE = LandmarkTable.from_names(NAMES)
SHAPE = FRAME.index_to_world(
    [(5, 6, 7), (18, 6, 8), (6, 19, 7), (17, 18, 9), (11, 12, 22), (12, 5, 17), (5, 13, 15), (19, 12, 13)]
)


@dataclass
class DataSet:
    """Seven good cases in a folder: tests spoil one, and look at what the check says."""

    folder: Path
    cases: list[Case]

    def save(self, case: str, landmarks: LandmarkSet) -> None:
        write_landmarks(landmarks, self.folder / f"{case}.mrk.json")

    def positions(self, case: str) -> Array:
        rng = np.random.default_rng(int(case[1:]))
        return SHAPE + rng.normal(size=SHAPE.shape) * 0.15

    def move(self, case: str, change: Callable[[Array], Array]) -> None:
        """Change the landmarks of a case, in its file only."""
        self.save(case, LandmarkSet(NAMES, change(self.positions(case))))

    def draw(self, case: str, frame: Frame, labels: list[int] | None = None) -> None:
        """Give the case a mask."""
        voxels = draw_mask(frame, self.positions(case), labels or TABLE.labels, positive=2, negative=4)
        write_volume(Volume(voxels, frame), self.folder / f"{case}_mask.nii.gz")
        row = next(row for row, other in enumerate(self.cases) if other.name == case)
        self.cases[row] = replace(self.cases[row], mask_path=self.folder / f"{case}_mask.nii.gz")

    def change(self, case: str, **fields: object) -> None:
        row = next(row for row, other in enumerate(self.cases) if other.name == case)
        self.cases[row] = replace(self.cases[row], **fields)  # type: ignore[arg-type]

    def check(self, *, train: int | None = None) -> list[Finding]:
        """Check all cases in one split, or the first `train` in one and the rest in another."""
        parts = {"train": self.cases[:train], "test": self.cases[train:] if train else []}
        paths = [self.folder / f"{part}.csv" for part, cases in parts.items() if cases]
        for path in paths:
            write_split(parts[path.stem], path)
        return check_splits(paths)

    def only_finding(self, *, train: int | None = None) -> Finding:
        findings = self.check(train=train)
        assert len(findings) == 1, [finding.message for finding in findings]
        assert findings[0].message.endswith(".")
        return findings[0]


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    data_set = DataSet(tmp_path, [])
    write_table(TABLE, tmp_path / "landmarks.csv")
    for number in range(7):
        case = f"c{number}"
        voxels = np.random.default_rng(number).integers(0, 1000, FRAME.shape).astype(np.int16)
        write_volume(Volume(voxels, FRAME), tmp_path / f"{case}.nii.gz")
        data_set.cases.append(Case(case, tmp_path / f"{case}.nii.gz", tmp_path / f"{case}.mrk.json"))
        data_set.move(case, lambda positions: positions)
    return data_set


def reordered(volume: Volume) -> Volume:
    """The same anatomy with its axes permuted and one flipped."""
    frame = volume.frame
    size, order = np.array(frame.size), [2, 0, 1]
    flipped = Frame(
        size=size[order],
        origin=frame.index_to_world((0, 0, frame.size[2] - 1)),
        spacing=frame.spacing[order],
        direction=frame.direction[:, order] * (-1, 1, 1),
    )
    return Volume(np.ascontiguousarray(volume.voxels[::-1].transpose(1, 2, 0)), flipped)


def test_a_good_data_set_has_no_findings(data: DataSet) -> None:
    data.draw("c1", FRAME)
    data.draw("c2", FRAME.with_spacing(0.7))
    assert data.check(train=4) == []


def test_progress_counts_every_case_once(data: DataSet) -> None:
    write_split(data.cases, data.folder / "all.csv")
    steps: list[tuple[int, int, str]] = []
    check_splits([data.folder / "all.csv"], progress=lambda *step: steps.append(step))
    assert steps == [(number + 1, 7, f"c{number}") for number in range(7)]


def test_a_split_that_is_missing_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such list of cases"):
        check_splits([tmp_path / "train.csv"])


def test_a_missing_image_is_found(data: DataSet) -> None:
    (data.folder / "c3.nii.gz").unlink()
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("error", "file", "c3")
    assert finding.where.endswith("train.csv, line 5")


def test_missing_landmarks_are_found(data: DataSet) -> None:
    (data.folder / "c3.mrk.json").unlink()
    assert data.only_finding().kind == "file"


def test_an_image_that_cannot_be_read_is_found_and_the_rest_checked(data: DataSet) -> None:
    (data.folder / "c0.nii.gz").write_bytes(b"not an image")
    data.move("c5", lambda positions: positions + np.array((100, 0, 0)))
    assert [(finding.kind, finding.case) for finding in data.check()] == [("image", "c0"), ("outside", "c5")]


def test_landmarks_that_cannot_be_read_are_found(data: DataSet) -> None:
    (data.folder / "c0.mrk.json").write_text("{", encoding="utf-8")
    assert data.only_finding().kind == "landmarks"


def test_a_case_without_landmarks_among_others_is_found(data: DataSet) -> None:
    data.change("c2", landmark_path=None)
    finding = data.only_finding()
    assert (finding.kind, finding.case) == ("landmarks", "c2")


def test_a_split_without_any_landmarks_is_for_detection(data: DataSet) -> None:
    data.cases = [replace(case, landmark_path=None) for case in data.cases]
    assert data.check() == []


def test_a_case_that_stands_twice_is_found(data: DataSet) -> None:
    data.cases.append(data.cases[0])
    finding = data.only_finding()
    assert (finding.kind, finding.case) == ("name", "c0")


def test_a_mask_in_another_place_is_found(data: DataSet) -> None:
    moved = Frame(size=FRAME.size, origin=FRAME.origin + np.array((3, 0, 0)), spacing=FRAME.spacing)
    data.draw("c1", moved)
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("error", "frame", "c1")
    assert "another origin, spacing or direction" in finding.message


def test_a_mask_beside_the_image_is_found(data: DataSet) -> None:
    data.draw("c1", Frame(size=(9, 9, 9), origin=FRAME.origin + 500))
    assert {finding.kind for finding in data.check()} == {"frame"}


def test_a_mask_of_a_part_of_the_image_is_a_warning(data: DataSet) -> None:
    data.draw("c1", Frame(size=(24, 26, 25), origin=FRAME.origin, spacing=FRAME.spacing))
    finding = data.only_finding()
    assert (finding.severity, finding.kind) == ("warning", "frame")
    assert "88%" in finding.message


def test_a_mask_that_disagrees_with_the_landmark_file_is_found(data: DataSet) -> None:
    data.draw("c1", FRAME)
    data.move("c1", lambda positions: positions + np.array([(2.0, 0, 0)] + [(0, 0, 0)] * 7))
    findings = data.check()
    assert ("error", "position") in {(finding.severity, finding.kind) for finding in findings}
    assert "L1 stand elsewhere" in next(f.message for f in findings if f.kind == "position")


def test_a_ball_that_is_missing_in_the_mask_is_found(data: DataSet) -> None:
    data.draw("c1", FRAME)
    data.move("c1", lambda positions: positions)
    voxels = read_volume(data.folder / "c1_mask.nii.gz").voxels
    write_volume(Volume(np.where(voxels == 3, 0, voxels), FRAME), data.folder / "c1_mask.nii.gz")
    assert "L3 stand elsewhere" in data.only_finding().message


def test_a_ball_of_an_absent_landmark_is_found(data: DataSet) -> None:
    data.draw("c1", FRAME)
    data.move("c1", lambda positions: np.where(np.arange(8)[:, None] == 4, np.nan, positions))
    assert "L5 stand elsewhere" in data.only_finding().message


def test_a_mask_with_a_label_that_the_table_lacks_is_found(data: DataSet) -> None:
    data.draw("c1", FRAME, labels=[1, 2, 3, 4, 5, 6, 7, 33])
    finding = data.only_finding()
    assert (finding.kind, finding.case) == ("label", "c1")
    assert "33" in finding.message


def test_a_landmark_outside_the_image_is_found(data: DataSet) -> None:
    data.move("c1", lambda positions: positions + np.array((14, 0, 0)))
    finding = data.only_finding()
    assert (finding.kind, finding.case) == ("outside", "c1")
    assert "L2, L4, L5, L6, L8 outside the image c1.nii.gz" in finding.message


def test_landmarks_in_ras_are_recognised(data: DataSet) -> None:
    data.move("c1", lambda positions: positions * (-1, -1, 1))
    assert "save them as LPS" in data.only_finding().message


def test_an_absent_landmark_is_in_order(data: DataSet) -> None:
    data.move("c1", lambda positions: np.where(np.arange(8)[:, None] == 4, np.nan, positions))
    assert data.check() == []


def test_a_landmark_that_a_case_says_nothing_of_is_found(data: DataSet) -> None:
    data.save("c1", LandmarkSet(NAMES[:6], data.positions("c1")[:6]))
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("warning", "names", "c1")
    assert "L7, L8: not in c1 (1 of 7 cases)" in finding.message


@pytest.mark.parametrize("spelling", ["l 8", "L_8", "l8"])
def test_one_landmark_under_two_spellings_is_found(data: DataSet, spelling: str) -> None:
    (data.folder / "landmarks.csv").unlink()
    data.save("c1", LandmarkSet([*NAMES[:7], spelling], data.positions("c1")))
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("error", "names", "c1")
    assert spelling in finding.message


@pytest.mark.parametrize("cases", [["c1"], ["c1", "c4"]])
def test_other_capitals_of_all_landmarks_are_said_once(data: DataSet, cases: list[str]) -> None:
    (data.folder / "landmarks.csv").unlink()
    for case in cases:
        data.save(case, LandmarkSet([name.lower() for name in NAMES], data.positions(case)))
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("error", "names", "c1")
    more = " and 1 more" if len(cases) > 1 else ""
    assert f"8 landmarks look as if 'c1'{more} spelled them differently" in finding.message
    assert "L1 and l1, L2 and l2" in finding.message


def test_names_that_meet_in_one_case_are_two_landmarks(data: DataSet) -> None:
    (data.folder / "landmarks.csv").unlink()
    for number in range(7):
        data.save(f"c{number}", LandmarkSet([*NAMES[:7], "L 1"], data.positions(f"c{number}")))
    assert data.check() == []


def test_a_name_that_the_table_lacks_is_found(data: DataSet) -> None:
    data.save("c1", LandmarkSet([*NAMES, "typo"], np.vstack([data.positions("c1"), SHAPE[:1]])))
    assert "'typo' is not in the landmark table" in data.only_finding().message


def test_a_group_in_two_splits_is_found(data: DataSet) -> None:
    data.change("c0", group="family")
    data.change("c6", group="family")
    finding = data.only_finding(train=4)
    assert (finding.severity, finding.kind, finding.case) == ("error", "group", "c6")
    assert "line 2" in finding.message


def test_a_group_in_one_split_is_in_order(data: DataSet) -> None:
    data.change("c0", group="family")
    data.change("c1", group="family")
    assert data.check(train=4) == []


def test_a_case_in_two_splits_is_found(data: DataSet) -> None:
    data.cases.append(data.cases[0])
    finding = data.only_finding(train=4)
    assert (finding.kind, finding.case) == ("name", "c0")


def save_as_float(volume: Volume) -> Volume:
    return Volume(volume.voxels.astype(np.float64), volume.frame)


def move_frame(volume: Volume) -> Volume:
    return Volume(
        volume.voxels,
        Frame(size=FRAME.size, origin=FRAME.origin + np.array((0.5, 0, 0)), spacing=FRAME.spacing),
    )


def flip_header(volume: Volume) -> Volume:
    last = FRAME.index_to_world((FRAME.size[0] - 1, 0, 0))
    flipped = Frame(size=FRAME.size, origin=last, spacing=FRAME.spacing, direction=np.diag([-1.0, 1, 1]))
    return Volume(volume.voxels, flipped)


@pytest.mark.parametrize(
    ("copy", "words"),
    [
        (save_as_float, "is the image of 'c0'"),
        (reordered, "is the image of 'c0'"),
        (move_frame, "has, in another frame, the voxels of 'c0'"),
        (flip_header, "has, in another frame, the voxels of 'c0'"),
    ],
)
@pytest.mark.parametrize("train", [None, 4])
def test_an_image_under_two_names_is_found(
    data: DataSet, copy: Callable[[Volume], Volume], words: str, train: int | None
) -> None:
    write_volume(copy(read_volume(data.folder / "c0.nii.gz")), data.folder / "c6.nrrd")
    data.change("c6", image_path=data.folder / "c6.nrrd")
    finding = data.only_finding(train=train)
    assert (finding.severity, finding.kind, finding.case) == ("error", "duplicate", "c6")
    assert words in finding.message


def test_one_changed_voxel_makes_another_image(data: DataSet) -> None:
    volume = read_volume(data.folder / "c0.nii.gz")
    volume.voxels[3, 4, 5] += 1
    write_volume(volume, data.folder / "c6.nii.gz")
    assert data.check() == []


def test_a_misplaced_landmark_is_found(data: DataSet) -> None:
    data.move("c1", lambda positions: positions + np.array([(0, 0, 0)] * 4 + [(0, 4.0, 0)] + [(0, 0, 0)] * 3))
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("warning", "outlier", "c1")
    assert "L5 (4 mm off)" in finding.message


def test_two_exchanged_landmarks_are_found(data: DataSet) -> None:
    data.move("c1", lambda positions: positions[[1, 0, *range(2, 8)]])
    finding = data.only_finding()
    assert (finding.kind, finding.case) == ("swapped", "c1")
    assert "L1 and L2 seem exchanged" in finding.message


def test_a_mirrored_case_is_found(data: DataSet) -> None:
    centre = FRAME.centre
    data.move("c1", lambda positions: (positions - centre) * (-1, 1, 1) + centre)
    finding = data.only_finding()
    assert (finding.kind, finding.case) == ("mirrored", "c1")


def test_a_case_in_centimetres_is_found(data: DataSet) -> None:
    data.move("c1", lambda positions: (positions - FRAME.centre) / 10 + FRAME.centre)
    finding = data.only_finding()
    assert (finding.kind, finding.case) == ("scale", "c1")
    assert "0.1 times as far apart as in the others; they are in cm, most likely" in finding.message


@pytest.mark.parametrize(
    ("times", "unit"), [(1000, "µm"), (10, "tenths of a millimetre"), (0.1, "cm"), (0.001, "m")]
)
@pytest.mark.parametrize("cases", [1, 7])
def test_landmarks_in_another_unit_are_told_once_with_it(
    data: DataSet, times: float, unit: str, cases: int
) -> None:
    for number in range(cases):
        data.move(f"c{number}", lambda positions: positions * times)
    finding = data.only_finding()
    assert (finding.severity, finding.kind) == ("error", "scale")
    assert f"({cases} of 7 cases)" in finding.message
    assert f"multiplied by {1 / times:g}; they are in {unit}, most likely" in finding.message


def test_the_unit_of_landmarks_is_told_where_a_mask_disagrees_and_one_point_is_astray(data: DataSet) -> None:
    data.draw("c1", FRAME)
    astray = np.array([(900, 0, 0)] + [(0, 0, 0)] * 7)
    data.move("c1", lambda positions: positions * 10 + astray)
    data.cases = data.cases[:2]
    assert {finding.kind for finding in data.check()} == {"outside", "position"}, (
        "7 of 8 points tell too little"
    )
    data.move("c1", lambda positions: positions * 10)
    assert data.only_finding().kind == "scale"


def test_landmarks_that_all_lie_in_one_voxel_are_in_metres(data: DataSet) -> None:
    """The scan contains the origin, and so the landmarks, whatever their unit."""
    origin = -(np.array(FRAME.size) - 1) / 2 * FRAME.spacing
    for number in range(3):
        image = read_volume(data.folder / f"c{number}.nii.gz")
        centred = Frame(size=FRAME.size, origin=origin, spacing=FRAME.spacing)
        write_volume(Volume(image.voxels, centred), data.folder / f"c{number}.nii.gz")
        data.move(f"c{number}", lambda positions: (positions - FRAME.origin + origin) / 1000)
    data.cases = data.cases[:3]
    finding = data.only_finding()
    assert (finding.severity, finding.kind) == ("error", "scale")
    assert "fit the scan only if they are multiplied by 1000; they are in m, most likely" in finding.message


def test_the_size_of_the_others_tells_a_unit_where_the_scan_does_not(data: DataSet) -> None:
    data.move("c1", lambda positions: positions / 10 + 200)
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("error", "scale", "c1")
    assert "they are in cm, most likely" in finding.message


@pytest.mark.parametrize("move", [(200, 0, 0), (0, 9, 0)])
def test_landmarks_of_the_right_size_elsewhere_are_no_matter_of_units(
    data: DataSet, move: tuple[float, float, float]
) -> None:
    centred = Frame(size=FRAME.size, origin=(-12, -13, -14), spacing=FRAME.spacing)
    image = read_volume(data.folder / "c1.nii.gz")
    write_volume(Volume(image.voxels, centred), data.folder / "c1.nii.gz")
    shift = centred.origin - FRAME.origin + np.array(move)
    data.move("c1", lambda positions: positions + shift)
    assert data.only_finding().kind == "outside"


def test_a_landmark_in_flat_air_is_found(data: DataSet) -> None:
    volume = read_volume(data.folder / "c1.nii.gz")
    k, j, i = np.rint(FRAME.world_to_index(SHAPE[4])).astype(int)[::-1]
    volume.voxels[k - 4 : k + 5, j - 4 : j + 5, i - 4 : i + 5] = 0
    write_volume(volume, data.folder / "c1.nii.gz")
    finding = data.only_finding()
    assert (finding.severity, finding.kind, finding.case) == ("warning", "flat", "c1")
    assert "L5" in finding.message


@pytest.mark.parametrize("noise", [0, 1e-3, 0.2])
@pytest.mark.parametrize("depth", [0, 1])
def test_the_size_and_pose_of_a_case_are_not_odd(noise: float, depth: float) -> None:
    rng = np.random.default_rng(0)
    shapes = np.stack([SHAPE * (1, 1, depth) + rng.normal(size=SHAPE.shape) * noise for _ in range(12)])
    for row in range(12):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation[:, 0] *= np.linalg.det(rotation)
        shapes[row] = shapes[row] @ rotation * rng.uniform(0.7, 1.4) + rng.normal(size=3) * 100
    assert shape_oddities(shapes) == []


def test_a_case_with_all_landmarks_in_one_spot_is_odd() -> None:
    shapes = np.stack([SHAPE] * 8)
    shapes[0] = 0.1
    (oddity,) = shape_oddities(shapes)
    assert (oddity.kind, oddity.case, oddity.amount) == ("scale", 0, 0)


def test_cases_that_share_no_landmarks_are_not_compared() -> None:
    shapes = np.stack([SHAPE] * 12)
    shapes[:6, :4], shapes[6:, 4:] = np.nan, np.nan
    assert shape_oddities(shapes) == []


def test_rounding_is_not_odd() -> None:
    shapes = np.stack([SHAPE] * 8)
    shapes[2, 3] += 0.01
    assert shape_oddities(shapes) == []


def test_how_far_a_landmark_is_off_is_said_in_the_millimetres_of_its_case() -> None:
    rng = np.random.default_rng(0)
    shapes = np.stack([SHAPE + rng.normal(size=SHAPE.shape) * 0.1 for _ in range(12)])
    shapes[4] *= 2
    shapes[4, 3] += (0, 10, 0)
    (oddity,) = shape_oddities(shapes)
    assert (oddity.kind, oddity.case, oddity.landmarks) == ("outlier", 4, (3,))
    assert oddity.amount == pytest.approx(10, abs=1)


def test_too_few_cases_say_nothing_about_shape() -> None:
    shapes = np.stack([SHAPE] * 4)
    shapes[0, 0] += 100
    assert shape_oddities(shapes) == []


def test_a_landmark_that_is_flat_everywhere_is_not_odd() -> None:
    contrasts = np.random.default_rng(0).uniform(0.8, 1.2, (10, 4))
    contrasts[:, 2] = 0
    contrasts[3, 1] = 0
    assert flat_landmarks(contrasts) == [(3, 1)]


def test_the_flaws_of_the_mouse_skulls_are_found(mouse_skulls: Path, tmp_path: Path) -> None:
    paths = sorted(mouse_skulls.glob("*.csv"))
    chosen = [path for row, path in enumerate(paths) if row % 3 == 0 or path.stem in ("KK_HlJ", "SF_CamEiJ")]
    cases = [Case(path.stem, mouse_skulls / f"{path.stem}.nii.gz", path) for path in chosen]
    write_split(cases, tmp_path / "all.csv")
    findings = check_splits([tmp_path / "all.csv"])
    assert {finding.severity for finding in findings} == {"warning"}
    assert [(finding.kind, finding.case) for finding in findings if finding.kind in ("flat", "swapped")] == [
        ("swapped", "SF_CamEiJ"),
        ("flat", "KK_HlJ"),
    ]
    assert len(findings) < 10


# RAS taken for LPS, names that are probably one


def test_points_with_wrong_signs_inside_their_scan_are_told_by_the_other_cases(data: DataSet) -> None:
    centre = FRAME.centre
    data.move("c2", lambda points: (points - centre) * (-1, -1, 1) + centre)
    (finding,) = [finding for finding in data.check() if finding.kind == "axes"]
    assert "c2 (1 of 7 cases)" in finding.message and "in RAS, most likely" in finding.message


def test_cases_in_any_pose_have_no_usual_one() -> None:
    rng = np.random.default_rng(0)
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(12)]
    shape = rng.normal(size=(8, 3))
    assert lie_turned([shape @ (turn * np.linalg.det(turn)).T for turn in turns]) == []
    assert lie_turned([shape] * 9 + [shape @ np.diag([-1, -1, 1])]) == [9]


@pytest.mark.parametrize("wrong", ["one", "all"])
def test_the_scan_tells_wrong_signs_on_real_skulls(shared_data: Path, tmp_path: Path, wrong: str) -> None:
    rows = []
    for number, name in enumerate(("A_J", "BALB_CJ", "CBA_J")):
        folder = shared_data / "mouse-skull/aligned"
        landmarks = read_landmarks(folder / f"{name}.csv")
        sign = (-1, -1, 1) if wrong == "all" or number == 1 else (1, 1, 1)
        path = tmp_path / f"{name}.csv"
        write_landmarks(LandmarkSet(landmarks.names, landmarks.positions * sign), path)
        rows.append(Case(name, folder / f"{name}.nii.gz", path))
    write_split(rows, tmp_path / "cases.csv")
    (finding,) = [item for item in check_splits([tmp_path / "cases.csv"]) if item.kind == "axes"]
    assert f"({3 if wrong == 'all' else 1} of 3 cases)" in finding.message


@pytest.mark.parametrize("name", ["L1O", "Ll0", "l10"])
def test_letters_that_look_like_digits_are_one_name(data: DataSet, name: str) -> None:
    (data.folder / "landmarks.csv").unlink()
    for case in data.cases:
        own = [*NAMES[:-1], "L10" if case.name != "c3" else name]
        data.save(case.name, LandmarkSet(own, data.positions(case.name)))
    finding = data.only_finding()
    assert finding.kind == "names" and "look like one landmark" in finding.message


def test_numbers_that_differ_are_different_names(data: DataSet) -> None:
    (data.folder / "landmarks.csv").unlink()
    for case in data.cases:
        own = [*NAMES[:-1], "L10" if case.name != "c3" else "L11"]
        data.save(case.name, LandmarkSet(own, data.positions(case.name)))
    assert not any("look like one" in finding.message for finding in data.check())
