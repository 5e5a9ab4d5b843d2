"""Volumes: reading, refusing, writing and resampling."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.geometry.files import IMAGE_SUFFIXES
from LandmarkDetectionLib.data.volume import (
    WRITABLE_SUFFIXES,
    Volume,
    image_stem,
    is_image_path,
    read_volume,
    write_volume,
)

ROOT = Path(__file__).parents[3]
FRAMES = st.from_type(Frame)


def made_volume(frame: Frame | None = None, dtype: str = "int16") -> Volume:
    frame = frame or Frame(size=(9, 8, 7), origin=(-5, 6, 7), spacing=(0.5, 1, 2))
    values = np.random.default_rng(0).integers(0, 100, frame.shape)
    return Volume(values.astype(dtype), frame)


def refusal(path: Path) -> str:
    """The sentence with which reading `path` is refused."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and message.endswith(".")
    return message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frame=FRAMES,
    suffix=st.sampled_from(WRITABLE_SUFFIXES),
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
)
def test_every_format_keeps_voxels_and_frame(tmp_path: Path, frame: Frame, suffix: str, dtype: str) -> None:
    volume = made_volume(frame, dtype)
    path = tmp_path / f"scan{suffix}"
    write_volume(volume, path)
    again = read_volume(path)
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert again.voxels.dtype == volume.voxels.dtype
    assert again.frame.agrees_with(frame, tolerance=0.01)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_with_its_voxels_in_another_file_is_read_but_not_written(
    tmp_path: Path, suffix: str
) -> None:
    volume = made_volume()
    sitk.WriteImage(sitk.GetImageFromArray(volume.voxels), str(tmp_path / f"scan{suffix}"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"scan{suffix}").voxels, volume.voxels)
    with pytest.raises(InputError, match=r"cannot write this kind of file; use one of \.nii, "):
        write_volume(volume, tmp_path / f"other{suffix}")


def test_a_nifti_and_its_packed_namesake_are_not_mixed_up(tmp_path: Path) -> None:
    first, second = made_volume(), Volume(made_volume().voxels + np.int16(1), made_volume().frame)
    write_volume(first, tmp_path / "scan.nii.gz")
    write_volume(second, tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii.gz").voxels, first.voxels)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").voxels, second.voxels)


def test_a_sheared_frame_goes_into_nrrd_but_not_into_nifti(tmp_path: Path) -> None:
    sheared = Frame(size=(5, 6, 7), direction=[[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    volume = made_volume(sheared)
    write_volume(volume, tmp_path / "scan.nrrd")
    assert read_volume(tmp_path / "scan.nrrd").frame.agrees_with(sheared, tolerance=1e-3)
    with pytest.raises(InputError, match=r"not at right angles; write \.nrrd"):
        write_volume(volume, tmp_path / "scan.nii.gz")


def test_writing_leaves_only_the_file(tmp_path: Path) -> None:
    write_volume(made_volume(), tmp_path / "new folder" / "scan.nii.gz")
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["scan.nii.gz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_volume(made_volume(), tmp_path / "scan.mha")
    before = (tmp_path / "scan.mha").read_bytes()
    with pytest.raises(TypeError):
        write_volume(made_volume(dtype="float16"), tmp_path / "scan.mha")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.mha"]
    assert (tmp_path / "scan.mha").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"Cannot write in .*file.*choose a folder"):
        write_volume(made_volume(), tmp_path / "file" / "scan.nii.gz")


# wrong input


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_file(
    tmp_path: Path, suffix: str, kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"scan{suffix}"
    write_volume(made_volume(Frame(size=(40, 40, 40))), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert "cut short" in refusal(path)
    if suffix.startswith(".nii"):
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("level", [0, 9])
def test_a_flipped_bit_in_a_compressed_nifti(tmp_path: Path, level: int) -> None:
    write_volume(made_volume(Frame(size=(40, 40, 40))), tmp_path / "scan.nii")
    damaged = bytearray(gzip.compress((tmp_path / "scan.nii").read_bytes(), level))
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "packed.nii.gz").write_bytes(damaged)
    assert "damaged" in refusal(tmp_path / "packed.nii.gz")


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha", "scan.nii"])
def test_a_file_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("this is a letter, not a scan")
    assert "cannot be read as an image" in refusal(tmp_path / name)


@pytest.mark.parametrize("shape", [(6, 7), (1, 6, 7), (3, 4, 5, 6)])
def test_a_2d_or_4d_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = sitk.GetImageFromArray(np.zeros(shape, np.int16), isVector=False)
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    message = refusal(tmp_path / "scan.nii.gz")
    assert "not a 3D volume" in message and " x ".join(map(str, shape[::-1])) in message


def test_a_4d_image_of_one_volume_is_that_volume(tmp_path: Path) -> None:
    sitk.WriteImage(
        sitk.GetImageFromArray(np.ones((1, 4, 5, 6), np.int16), isVector=False), str(tmp_path / "a.nii")
    )
    assert read_volume(tmp_path / "a.nii").voxels.shape == (4, 5, 6)


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 4, 4), np.complex64)), str(path))
    assert "the voxels are complex numbers; give a scan of their magnitudes" in refusal(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to limit the memory")
def test_a_scan_larger_than_the_memory_is_not_called_damaged(tmp_path: Path) -> None:
    write_volume(Volume(np.zeros((400, 400, 400), np.int16), Frame(size=(400,) * 3)), tmp_path / "large.nrrd")
    code = """
import resource, sys
import SimpleITK
from pathlib import Path
from LandmarkDetectionLib.data.volume import read_volume
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), -1))
try:
    read_volume(Path(sys.argv[1]))
except MemoryError:
    print("told")
"""
    command = [sys.executable, "-c", code, str(tmp_path / "large.nrrd")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.stdout == "told\n", finished.stderr


def test_a_colour_image(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    assert "several values per voxel" in refusal(tmp_path / "scan.mha")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_number(tmp_path: Path, value: float) -> None:
    image = sitk.GetImageFromArray(np.zeros((7, 8, 9), np.float32))
    image[3, 3, 3] = float(value)
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    assert "NaN" in refusal(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_full_disk_is_noticed(
    tmp_path: Path, suffix: str, part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ITK says nothing of one: a part of the file is there, or nothing."""
    write = sitk.WriteImage

    def cut(image: sitk.Image, name: str, **options: Any) -> None:
        write(image, name, **options)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: int(part * len(content))])

    monkeypatch.setattr(sitk, "WriteImage", cut)
    with pytest.raises(InputError, match=r"Cannot write .*scan.* \(what is there is not whole"):
        write_volume(made_volume(), tmp_path / f"scan{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spacing", [0.0, -2.0, np.nan])
@pytest.mark.parametrize("bytes_order", ["<", ">"])
def test_a_nifti_voxel_size_that_is_not_positive(tmp_path: Path, spacing: float, bytes_order: str) -> None:
    path = tmp_path / "scan.nii"
    write_volume(made_volume(), path)
    header = bytearray(path.read_bytes())
    if bytes_order == ">":
        header[:4] = struct.pack(">i", 348)
        header[40:56] = struct.pack(">8h", *struct.unpack_from("<8h", header, 40))
        header[72:74] = struct.pack(">h", 16)
        header[76:108] = struct.pack(">8f", *struct.unpack_from("<8f", header, 76))
        header[108:112] = struct.pack(">f", 352)
    struct.pack_into(bytes_order + "f", header, 76 + 4 * 2, spacing)
    path.write_bytes(header)
    assert f"voxel size in the header is 0.5 x {spacing:g} x 2 mm" in refusal(path)


@pytest.mark.parametrize("words", ["1 0 3", "1 -2 3", "1 nan 3"])
def test_a_meta_image_voxel_size_that_is_not_positive(tmp_path: Path, words: str) -> None:
    path = tmp_path / "scan.mha"
    write_volume(made_volume(), path)
    path.write_bytes(
        path.read_bytes().replace(b"ElementSpacing = 0.5 1 2", f"ElementSpacing = {words}".encode())
    )
    assert "voxel size in the header" in refusal(path)


@pytest.mark.parametrize("words", ["1 0 3", "1 -2 3", "1 nan 3"])
def test_an_nrrd_voxel_size_that_is_not_positive(tmp_path: Path, words: str) -> None:
    voxels = bytes(2 * 4 * 5 * 6)
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nspacings: {words}\nendian: little\n"
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + b"encoding: raw\n\n" + voxels)
    assert "voxel size in the header" in refusal(tmp_path / "scan.nrrd")


def test_an_nrrd_axis_of_no_length(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    write_volume(made_volume(), path)
    path.write_bytes(path.read_bytes().replace(b"(0,1,0)", b"(0,0,0)"))
    assert "voxel size in the header" in refusal(path)


# DICOM


def write_dicom(folder: Path, series: str, *, slices: range = range(6)) -> np.ndarray:
    """A series of oblique slices 2 mm apart; returns the voxels [z, y, x]."""
    folder.mkdir(exist_ok=True)
    voxels = np.random.default_rng(1).integers(0, 500, (6, 7, 8)).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in slices:
        image = sitk.GetImageFromArray(voxels[number])
        image.SetSpacing((0.5, 0.75))
        tags = {
            "0008|0060": "CT",
            "0008|0018": f"{series}.{number + 1}",
            "0020|000d": "1.2.3",
            "0020|000e": series,
            "0020|0013": str(number),
            "0020|0032": f"{-1.6 * number}\\20\\{1.2 * number}",
            "0020|0037": "0.6\\0\\0.8\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}_{number}.dcm"))
        writer.Execute(image)
    return voxels


def test_a_dicom_folder_is_read_in_the_order_of_its_slices(tmp_path: Path) -> None:
    voxels = write_dicom(tmp_path / "dicom", "1.2.3.4")
    (tmp_path / "dicom" / "readme.txt").write_text("other files do no harm")
    volume = read_volume(tmp_path / "dicom")
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.frame.spacing, (0.5, 0.75, 2), atol=1e-6)
    np.testing.assert_allclose(volume.frame.index_to_world((0, 0, 5)), (-8, 20, 6), atol=1e-5)
    np.testing.assert_allclose(volume.frame.direction[:, 0], (0.6, 0, 0.8), atol=1e-6)


def test_a_folder_with_two_dicom_series(tmp_path: Path) -> None:
    for series in ("1.2.3.4", "1.2.3.5"):
        write_dicom(tmp_path / "dicom", series)
    assert "2 DICOM series" in refusal(tmp_path / "dicom")


def test_a_dicom_series_with_a_missing_slice(tmp_path: Path) -> None:
    write_dicom(tmp_path / "dicom", "1.2.3.4")
    (tmp_path / "dicom" / "1.2.3.4_3.dcm").unlink()
    assert "not evenly spaced" in refusal(tmp_path / "dicom")


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    assert "no DICOM series" in refusal(tmp_path)


def test_names_of_images() -> None:
    assert all(is_image_path(Path(f"A/B{suffix.upper()}")) for suffix in IMAGE_SUFFIXES)
    assert not is_image_path(Path("A/B.csv"))
    assert image_stem(Path("A/B.1.nii.gz")) == "B.1"
    with pytest.raises(ValueError):
        Volume(np.zeros((3, 4, 5)), Frame(size=(3, 4, 5)))


@given(frame=FRAMES, axis=st.integers(0, 2), data=st.data())
def test_a_part_of_a_volume_keeps_every_voxel_where_it_was(
    frame: Frame, axis: int, data: st.DataObject
) -> None:
    volume = Volume(np.arange(np.prod(frame.shape)).reshape(frame.shape), frame)
    first = data.draw(st.integers(0, frame.size[axis] - 1))
    end = data.draw(st.integers(first + 1, frame.size[axis]))
    part = volume.part(axis, first, end)
    assert part.frame.size[axis] == end - first
    index = np.array([data.draw(st.integers(0, count - 1)) for count in part.frame.size])
    moved = index.copy()
    moved[axis] += first
    assert part.voxels[tuple(index[::-1])] == volume.voxels[tuple(moved[::-1])]
    np.testing.assert_allclose(
        part.frame.index_to_world(index), frame.index_to_world(moved), atol=1e-6 * np.abs(frame.extent).max()
    )


@given(frame=FRAMES, counts=st.tuples(*[st.integers(1, 3)] * 3))
def test_averaged_voxels_lie_in_the_middle_of_those_that_they_were_made_of(
    frame: Frame, counts: tuple[int, int, int]
) -> None:
    """What rises linearly through the scan does so through the coarser one."""
    slope = np.array([0.3, -0.2, 0.5])
    index = np.moveaxis(np.indices(frame.shape)[::-1], 0, -1)
    volume = Volume(index @ slope, frame)
    if min(size // count for size, count in zip(frame.size, counts, strict=True)) < 1:
        with pytest.raises(ValueError, match="must be positive"):
            volume.averaged(counts)
        return
    coarser = volume.averaged(counts)
    index = np.moveaxis(np.indices(coarser.frame.shape)[::-1], 0, -1)
    places = coarser.frame.index_to_world(index.reshape(-1, 3))
    expected = frame.world_to_index(places) @ slope
    np.testing.assert_allclose(coarser.voxels.ravel(), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(coarser.frame.spacing, frame.spacing * counts)
