"""DICOM: what the tags say of position, orientation, spacing and order."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import (
    AXIAL,
    ORIGIN,
    SIZE,
    SPACING,
    STRAIGHT,
    VOXELS,
    new_file,
    save,
    write_multi_frame,
    write_series,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from LandmarkDetectionLib.data.dicom_series import series_in
from LandmarkDetectionLib.data.digests import identify
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.image_files import files_of
from LandmarkDetectionLib.data.volume import Volume, read_volume


def assert_right(
    volume: Volume, step: NDArray[np.float64] = STRAIGHT, axes: tuple[float, ...] = AXIAL
) -> None:
    """Every value where it was written."""
    matrix = np.column_stack([np.array(axes[:3]) * SPACING[0], np.array(axes[3:]) * SPACING[1], step])
    index = np.argwhere(np.ones_like(VOXELS))[:, ::-1]
    here = np.rint(volume.frame.world_to_index(index @ matrix.T + ORIGIN)).astype(int)
    np.testing.assert_array_equal(volume.voxels[tuple(here[:, ::-1].T)], 2 * VOXELS.ravel() - 10)
    np.testing.assert_allclose(volume.frame.index_to_world(here), index @ matrix.T + ORIGIN, atol=0.03)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("distance", [0.141, 0.3, 0.4, 0.6, 0.7, 2, -0.3])
def test_regular_slices_at_any_distance(tmp_path: Path, distance: float) -> None:
    step = np.array([0, 0, distance])
    volume = read_volume(write_series(tmp_path / "a", step=step))
    assert_right(volume, step)
    assert volume.frame.has_right_angles


def test_slices_that_lie_obliquely_in_the_body(tmp_path: Path) -> None:
    axes, step = (0.6, 0, 0.8, 0, 1, 0), np.array([-1.6, 0, 1.2])
    assert_right(read_volume(write_series(tmp_path / "a", step=step, axes=axes)), step, axes)


@pytest.mark.parametrize("degrees", [-20, 5, 20])
def test_a_tilted_gantry(tmp_path: Path, degrees: float) -> None:
    """The planes lean, and the table moves along z."""
    lean = np.radians(degrees)
    axes = (1, 0, 0, 0, float(np.cos(lean)), float(np.sin(lean)))
    folder = write_series(tmp_path / "a", axes=axes, GantryDetectorTilt=degrees)
    volume = read_volume(folder)
    assert not volume.frame.has_right_angles
    assert_right(volume, STRAIGHT, axes)


def test_straight_planes_one_aside_of_the_other(tmp_path: Path) -> None:
    step = np.array([0, 0.7, 2])
    assert_right(read_volume(write_series(tmp_path / "a", step=step)), step)


def test_a_tilt_that_the_positions_do_not_show(tmp_path: Path) -> None:
    message = refusal(write_series(tmp_path / "a", GantryDetectorTilt=20))
    assert "GantryDetectorTilt (0018,1120) is 20 degrees and the slices' positions lean by 0" in message


def test_a_tilt_that_was_resampled_away(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", GantryDetectorTilt=20, ImageType=["DERIVED", "SECONDARY"])
    assert_right(read_volume(folder))


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("ImagePositionPatient", "0020,0032"),
        ("ImageOrientationPatient", "0020,0037"),
        ("PixelSpacing", "0028,0030"),
    ],
)
@pytest.mark.parametrize("where", ["all", "one"])
def test_a_missing_tag(tmp_path: Path, keyword: str, tag: str, where: str) -> None:
    def leave_out(number: int, tags: Dataset) -> None:
        if where == "all" or number == 4:
            delattr(tags, keyword)

    with pytest.raises(InputError, match=rf"slice\d\d\d: the DICOM file has no {keyword} \({tag}\)"):
        read_volume(write_series(tmp_path / "a", change=leave_out))


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", [0.0, 0.5], "PixelSpacing .* is 0 x 0.5 mm"),
        ("PixelSpacing", [0.5], "PixelSpacing .* not 2 numbers"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "not two directions at right angles"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0], "not two directions at right angles"),
    ],
)
def test_a_tag_without_sense(tmp_path: Path, keyword: str, value: list[float], words: str) -> None:
    common: dict[str, Any] = {keyword: value}
    with pytest.raises(InputError, match=words):
        read_volume(write_series(tmp_path / "a", **common))


@pytest.mark.parametrize("first", [0, 1, 11])
def test_a_missing_slice(tmp_path: Path, first: int) -> None:
    def move(number: int, tags: Dataset) -> None:
        tags.ImagePositionPatient = list(ORIGIN + (number + (number >= first)) * STRAIGHT)

    folder = write_series(tmp_path / "a", change=move)
    if first == 0:
        assert read_volume(folder).frame.spacing[2] == pytest.approx(2)
    else:
        assert "4.000 mm between" in refusal(folder) and "2.000 mm elsewhere" in refusal(folder)


@pytest.mark.parametrize(("off", "even"), [(0.2, True), (0.6, False)])
def test_slices_that_are_somewhat_uneven(tmp_path: Path, off: float, even: bool) -> None:
    def move(number: int, tags: Dataset) -> None:
        tags.ImagePositionPatient = list(ORIGIN + number * STRAIGHT + (0, 0, off * (number == 5)))

    folder = write_series(tmp_path / "a", change=move)
    if even:
        assert read_volume(folder).frame.spacing[2] == pytest.approx(2)
    else:
        assert "limit: 25% more or less" in refusal(folder)


def test_distances_that_grow_from_slice_to_slice(tmp_path: Path) -> None:
    """No single step stands out, and the middle is more than half a slice off."""

    def move(number: int, tags: Dataset) -> None:
        tags.ImagePositionPatient = list(ORIGIN + number * STRAIGHT * (1 + 0.03 * number))

    assert "voxels) from where the others put it" in refusal(write_series(tmp_path / "a", change=move))

    def move_less(number: int, tags: Dataset) -> None:
        tags.ImagePositionPatient = list(ORIGIN + (number + 0.015 * number * (11 - number)) * STRAIGHT)

    assert read_volume(write_series(tmp_path / "b", change=move_less)).frame.size == SIZE


def test_a_slice_that_lies_aside(tmp_path: Path) -> None:
    def move(number: int, tags: Dataset) -> None:
        tags.ImagePositionPatient = list(ORIGIN + number * STRAIGHT + (0.4 * (number == 5), 0, 0))

    assert "voxels) from where the others put it" in refusal(write_series(tmp_path / "a", change=move))


@pytest.mark.parametrize(("between", "right"), [(2, True), (-2, True), (2.05, True), (1, False), (4, False)])
def test_a_spacing_between_slices_beside_the_positions(tmp_path: Path, between: float, right: bool) -> None:
    folder = write_series(tmp_path / "a", SpacingBetweenSlices=between)
    if right:
        assert_right(read_volume(folder))
    else:
        assert (
            f"SpacingBetweenSlices (0018,0088) is {abs(between)} mm and the slices' positions are 2 mm"
            in refusal(folder)
        )


def test_a_gap_where_the_distance_should_stand_is_understood(tmp_path: Path) -> None:
    assert_right(read_volume(write_series(tmp_path / "a", SpacingBetweenSlices=0.5, SliceThickness=1.5)))


@pytest.mark.parametrize("thickness", [0.5, 4])
def test_thickness_is_not_distance(tmp_path: Path, thickness: float) -> None:
    assert_right(read_volume(write_series(tmp_path / "a", SliceThickness=thickness)))


# a localiser, phases, copies, other objects


def write_localiser(folder: Path, **different: Any) -> None:
    tags = new_file("1.2.3.4")
    tags.ImagePositionPatient, tags.ImageOrientationPatient = [0, 4, 9], [0, 1, 0, 0, 0, -1]
    tags.PixelSpacing = [SPACING[1], SPACING[0]]
    tags.PixelData = VOXELS[0].tobytes()
    for keyword, value in different.items():
        setattr(tags, keyword, value)
    save(tags, folder / "a-scout")


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({}, "ImageOrientationPatient (0020,0037)"),
        ({"ImageOrientationPatient": list(AXIAL), "PixelSpacing": [1, 1]}, "PixelSpacing (0028,0030)"),
        ({"Rows": 4, "PixelData": VOXELS[0, :4].tobytes()}, "Rows and Columns (0028,0010 and 0028,0011)"),
    ],
)
def test_a_localiser_in_the_series(tmp_path: Path, different: dict[str, Any], words: str) -> None:
    folder = write_series(tmp_path / "a")
    write_localiser(folder, **different)
    message = refusal(folder)
    assert f"1 of the 13 slices, the first in a-scout, differ from the others in {words}" in message


def test_two_phases_in_one_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", TemporalPositionIdentifier=1)
    write_series(folder, TemporalPositionIdentifier=2, prefix="late")
    message = refusal(folder)
    assert "two slices lie at the same place" in message
    assert "(TemporalPositionIdentifier" in message and "several phases" in message


def test_a_slice_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a")
    shutil.copy(folder / "slice003", folder / "copy of slice003")
    assert_right(read_volume(folder))


def test_other_objects_beside_the_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a")
    for modality in ("SEG", "SR", "RTSTRUCT"):
        tags = new_file(f"1.2.{modality.__hash__() % 1000}")
        tags.Modality = modality
        if modality != "SEG":
            del tags.Rows
        save(tags, folder / f"x{modality}.dcm")
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "notes.txt").write_text("not DICOM")
    assert_right(read_volume(folder))


def test_a_file_of_a_series_stands_for_the_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", SeriesNumber=2, SeriesDescription="bone")
    write_series(
        folder,
        uid="1.2.3.9",
        prefix="other",
        SeriesNumber=1,
        change=lambda _, tags: setattr(tags, "RescaleSlope", 5),
    )
    other, bone = series_in(folder)
    assert (bone.number, bone.description) == (2, "bone") and bone.first.name == "slice000"
    assert_right(read_volume(folder / "slice007"))
    assert files_of(bone.first) == sorted(folder.glob("slice*"))
    assert "2 DICOM series" in refusal(folder) and "2: bone, 12 files" in refusal(folder)
    assert read_volume(other.first).voxels.max() == 5 * 900 - 10


def test_slices_that_are_rescaled_each_by_itself(tmp_path: Path) -> None:
    def rescale(number: int, tags: Dataset) -> None:
        tags.RescaleSlope = 2 + number

    volume = read_volume(write_series(tmp_path / "a", change=rescale))
    slopes = np.arange(2, 14)[:, None, None]
    np.testing.assert_allclose(volume.voxels, VOXELS * slopes - 10)


def test_a_slice_that_is_cut_short(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a")
    path = folder / "slice007"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"slice007: .*(damaged|cut short)"):
        read_volume(folder)


def test_colours_and_a_single_slice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several values per voxel"):
        read_volume(write_series(tmp_path / "a", SamplesPerPixel=3))
    folder = write_series(tmp_path / "b")
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    assert "has one slice" in refusal(folder)


# multi-frame


@pytest.mark.parametrize("order", [list(range(12)), list(range(11, -1, -1)), [3, 1, 2, 0, *range(11, 3, -1)]])
def test_a_multi_frame_file_in_any_order_of_its_frames(tmp_path: Path, order: list[int]) -> None:
    path = write_multi_frame(tmp_path / "a" / "enhanced.dcm", order)
    assert_right(read_volume(path))
    assert_right(read_volume(path.parent))


def test_a_multi_frame_file_that_lacks_a_frame(tmp_path: Path) -> None:
    path = write_multi_frame(tmp_path / "a" / "x.dcm", [0, 1, 2, 3, 5, 6, 7])
    assert "4.000 mm between x.dcm (frame 4) and x.dcm (frame 5)" in refusal(path.parent)


def test_a_multi_frame_file_without_its_functional_groups(tmp_path: Path) -> None:
    path = write_multi_frame(tmp_path / "a" / "x.dcm", list(range(12)))
    tags = pydicom.dcmread(path)
    del tags.PerFrameFunctionalGroupsSequence
    tags.save_as(path)
    with pytest.raises(InputError, match=r"no PerFrameFunctionalGroupsSequence \(5200,9230\)"):
        read_volume(path)


def test_a_multi_frame_file_with_more_frames_than_it_describes(tmp_path: Path) -> None:
    path = write_multi_frame(tmp_path / "a" / "x.dcm", list(range(12)), NumberOfFrames=11)
    with pytest.raises(InputError, match="says that it has 11 frames and describes 12"):
        read_volume(path)


def test_a_multi_frame_file_whose_frames_are_rescaled_each_by_itself(tmp_path: Path) -> None:
    def rescale(number: int, frame: Dataset) -> None:
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1 + number, 0, "US"
        frame.PixelValueTransformationSequence = [values]

    path = write_multi_frame(tmp_path / "a" / "x.dcm", list(range(12)), change=rescale)
    assert "RescaleSlope and RescaleIntercept" in refusal(path.parent)


@pytest.mark.parametrize("odd", [0, 1, 11])
def test_one_frame_of_a_multi_frame_file_that_is_rescaled_by_itself(tmp_path: Path, odd: int) -> None:
    def change(number: int, frame: Dataset) -> None:
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = (
            4 if number == odd else 2,
            -10,
            "HU",
        )
        frame.PixelValueTransformationSequence = [values]

    def leave_out(number: int, frame: Dataset) -> None:
        if number == odd:
            change(number, frame)

    write_multi_frame(tmp_path / "ct" / "a", [*range(SIZE[2])], change=leave_out)
    assert "differ in RescaleSlope" in refusal(tmp_path / "ct")


def test_a_palette_is_colour(tmp_path: Path) -> None:
    write_series(tmp_path / "a", PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match="several values per voxel"):
        read_volume(tmp_path / "a")


@pytest.mark.parametrize(("bits", "signed"), [(16, 1), (16, 0), (12, 0)])
def test_values_that_are_to_be_shown_dark_on_bright_are_values(
    tmp_path: Path, bits: int, signed: int
) -> None:
    write_series(
        tmp_path / "a",
        PhotometricInterpretation="MONOCHROME1",
        PixelRepresentation=signed,
        BitsStored=bits,
        HighBit=bits - 1,
    )
    assert_right(read_volume(tmp_path / "a"))


@pytest.mark.parametrize("left", [0, 100, 140, 300, 500])
@pytest.mark.parametrize("slices", [(11,), (5, 6)])
def test_a_slice_of_which_little_is_left(tmp_path: Path, left: int, slices: tuple[int, ...]) -> None:
    folder = write_series(tmp_path / "a")
    for number in slices:
        file = folder / f"slice{number:03d}"
        file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(InputError, match=r"slice0\d\d: .*damaged"):
        read_volume(folder)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "NumberOfFrames"])
def test_a_count_that_is_none(tmp_path: Path, keyword: str) -> None:
    folder = write_series(tmp_path / "a", change=lambda _, tags: tags.add_new(keyword, TYPES[keyword], EMPTY))
    if keyword == "NumberOfFrames":
        assert_right(read_volume(folder))
    else:
        with pytest.raises(InputError, match=f"{keyword} \\(0028,001[01]\\) is 'None', not a number from 1"):
            read_volume(folder)


TYPES, EMPTY = {"Rows": "US", "Columns": "US", "NumberOfFrames": "IS"}, None


def test_slices_of_somewhat_other_pixels_in_micro_ct(tmp_path: Path) -> None:
    fine = {"step": STRAIGHT * 0.003}

    def change(number: int, tags: Dataset) -> None:
        tags.PixelSpacing = [0.0052, 0.0052] if number == 4 else [0.0060, 0.0060]

    write_series(tmp_path / "a", change=change, **fine)
    assert "differ from the others in PixelSpacing" in refusal(tmp_path / "a")


def test_slices_closer_than_a_micrometre(tmp_path: Path) -> None:
    def change(number: int, tags: Dataset) -> None:
        tags.ImagePositionPatient = [-3, 4, f"{5 + 0.0006 * number:.4f}"]
        tags.PixelSpacing = [0.0006, 0.0006]

    frame = read_volume(write_series(tmp_path / "a", change=change)).frame
    np.testing.assert_allclose(frame.spacing, 0.0006, rtol=1e-6)


def test_a_rounded_spacing_between_many_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "a", step=np.array([0, 0, 0.599]), SpacingBetweenSlices=0.6)
    assert_right(read_volume(tmp_path / "a"), np.array([0, 0, 0.599]))


def test_a_coronal_reformat_that_kept_its_tilt(tmp_path: Path) -> None:
    axes, step = (1.0, 0, 0, 0, 0, 1), np.array([0, -2.0, 0])
    write_series(tmp_path / "a", axes=axes, step=step, GantryDetectorTilt=12)
    assert_right(read_volume(tmp_path / "a"), step, axes)


def test_slices_that_all_have_one_identifier(tmp_path: Path) -> None:
    assert_right(read_volume(write_series(tmp_path / "a", SOPInstanceUID="1.2.3.4.5")))


def test_a_copied_slice_stands_for_its_series_too(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a")
    shutil.copy(folder / "slice000", folder / "slice900")
    for name in ("slice000", "slice900"):
        assert_right(read_volume(folder / name))


def test_results_in_a_dicom_folder_are_not_of_the_scan(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a")
    before = identify(folder)
    for name in ("a.csv", "a.mrk.json", ".DS_Store"):
        (folder / name).write_text("more")
    assert identify(folder) == before and len(files_of(folder)) == SIZE[2]
