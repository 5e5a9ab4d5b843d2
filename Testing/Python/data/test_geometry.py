"""Files whose statements about geometry are missing, in other units, or contradict each other."""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.image_files import files_of
from LandmarkDetectionLib.data.volume import read_volume

SIZE = (7, 8, 9)
BRIGHT = (2, 5, 6)  # the voxel (x, y, z) that is brighter than all others in every file here
VOXELS = np.random.default_rng(0).integers(0, 100, SIZE[::-1]).astype(np.int16)
VOXELS[BRIGHT[::-1]] = 900
STEPS = np.diag([0.5, 0.75, 2.0])
ORIGIN = np.array([-3.0, 4.0, 5.0])
PLACE = STEPS @ BRIGHT + ORIGIN  # of the bright voxel, LPS mm
RAS = np.diag([-1.0, -1.0, 1.0])
SHEAR = np.array([[1, 0, 0], [0, 1, 0.36], [0, 0, 1]])  # a gantry tilted by 20 degrees


def bright_place(path: Path) -> NDArray[np.float64]:
    """Where a file has its brightest voxel, world LPS mm."""
    volume = read_volume(path)
    index = np.unravel_index(int(volume.voxels.argmax()), volume.voxels.shape)[::-1]
    return volume.frame.index_to_world(np.array(index, dtype=float))


def refusal(path: Path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and message.endswith(".")
    return message


# NIfTI


def write_nifti(
    path: Path,
    *,
    sform: NDArray[np.float64] | None = None,
    qform_code: int = 0,
    quaternion: tuple[float, ...] = (0, 0, 0),
    offset: tuple[float, ...] = (3, -4, 5),
    pixdim: tuple[float, ...] = (1, 0.5, 0.75, 2.0),
    units: int = 2,
    magic: bytes = b"n+1\0",
    content: bytes = VOXELS.tobytes(),
    version: int = 1,
) -> Path:
    """A NIfTI file of VOXELS, every statement of whose header one can choose; `sform` from index to RAS."""
    rows = np.zeros((3, 4)) if sform is None else sform
    header = bytearray(352 if version == 1 else 544)
    code = int(sform is not None)
    scale = (2.0, 1.0)  # the values are twice as large as what is stored, and one more
    if version == 1:
        struct.pack_into("<i", header, 0, 348)
        struct.pack_into("<8h", header, 40, 3, *SIZE, 1, 1, 1, 1)
        struct.pack_into("<hh", header, 70, 4, 16)
        struct.pack_into("<8f", header, 76, *pixdim, 1, 0, 0, 0)
        struct.pack_into("<fff", header, 108, 352, *scale)
        header[123] = units
        struct.pack_into("<hh6f12f", header, 252, qform_code, code, *quaternion, *offset, *rows.ravel())
        header[344:348] = magic
    else:
        struct.pack_into("<i8s", header, 0, 540, b"n+2\0\r\n\x1a\n")
        struct.pack_into("<hh8q", header, 12, 4, 16, 3, *SIZE, 1, 1, 1, 1)
        struct.pack_into("<8d", header, 104, *pixdim, 1, 0, 0, 0)
        struct.pack_into("<qdd", header, 168, 544, *scale)
        struct.pack_into("<ii6d12d", header, 344, qform_code, code, *quaternion, *offset, *rows.ravel())
        struct.pack_into("<i", header, 500, units)
    whole = bytes(header) + content
    path.write_bytes(gzip.compress(whole) if path.suffix == ".gz" else whole)
    return path


def form(steps: NDArray[np.float64] = STEPS) -> NDArray[np.float64]:
    return RAS @ np.column_stack([steps, ORIGIN])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_sform_and_qform_that_agree(tmp_path: Path, name: str, version: int) -> None:
    half_turn = (0, 0, 1)  # about z: from LPS to RAS
    path = write_nifti(tmp_path / name, sform=form(), qform_code=1, quaternion=half_turn, version=version)
    np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-5)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_tilted_gantry_in_the_sform_alone(tmp_path: Path, name: str, version: int) -> None:
    path = write_nifti(
        tmp_path / name, sform=form(SHEAR @ STEPS), pixdim=(1, 0.5, 0.75, 2.1257), version=version
    )
    np.testing.assert_allclose(bright_place(path), SHEAR @ STEPS @ BRIGHT + ORIGIN, atol=1e-5)
    np.testing.assert_array_equal(read_volume(path).voxels, 2 * VOXELS + 1)


def test_a_sheared_sform_beside_a_straight_qform(tmp_path: Path) -> None:
    path = write_nifti(
        tmp_path / "scan.nii.gz", sform=form(SHEAR @ STEPS), qform_code=1, quaternion=(0, 0, 1)
    )
    message = refusal(path)
    assert "sform puts the voxel (0, 0, 8) at (-3.00, 9.76, 21.00) mm (LPS)" in message
    assert "qform at (-3.00, 4.00, 21.00)" in message


@pytest.mark.parametrize(
    ("other", "agree"),
    [
        ({"offset": (3.2, -4, 5)}, True),  # 0.4 voxels
        ({"offset": (3.3, -4, 5)}, False),  # 0.6 voxels
        ({"offset": (3, -4, 5), "quaternion": (0, 0, 0)}, False),  # the other way round
        ({"pixdim": (-1, 0.5, 0.75, 2.0)}, False),  # qfac: mirrored
    ],
)
def test_half_a_voxel_between_sform_and_qform_is_the_limit(
    tmp_path: Path, other: dict[str, tuple[float, ...]], agree: bool
) -> None:
    statements: dict[str, tuple[float, ...]] = {"quaternion": (0, 0, 1), **other}
    path = write_nifti(tmp_path / "a.nii", sform=form(), qform_code=1, **statements)  # type: ignore[arg-type]
    if agree:
        np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-5)
    else:
        assert "find out which is right" in refusal(path)


def test_a_voxel_size_beside_another_one_in_the_sform(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", sform=form(), pixdim=(1, 1, 1, 1))
    assert "1 x 1 x 1 mm by pixdim and 0.5 x 0.75 x 2 mm by sform" in refusal(path)


@pytest.mark.parametrize(("units", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_the_unit_of_a_nifti_file(tmp_path: Path, units: int, factor: float) -> None:
    path = write_nifti(
        tmp_path / "scan.nii.gz",
        sform=form() / factor,
        pixdim=(1, *(STEPS.diagonal() / factor)),
        units=units,
    )
    np.testing.assert_allclose(bright_place(path), PLACE, rtol=1e-5)


def test_a_unit_of_time_for_the_voxels(tmp_path: Path) -> None:
    assert "xyzt_units" in refusal(write_nifti(tmp_path / "scan.nii", sform=form(), units=7))


def test_a_nifti_file_that_does_not_know_left_from_right(tmp_path: Path) -> None:
    assert "left and right are not known" in refusal(write_nifti(tmp_path / "scan.nii.gz"))


@pytest.mark.parametrize("magic", [b"\0\0\0\0", b"ni1\0"])
def test_analyze_and_half_a_pair(tmp_path: Path, magic: bytes) -> None:
    path = write_nifti(tmp_path / "scan.nii", sform=form(), magic=magic)
    assert "does not say how the scan lies" in refusal(path)


@pytest.mark.parametrize("rows", [np.zeros((3, 4)), np.full((3, 4), np.nan)])
def test_an_sform_of_nothing(tmp_path: Path, rows: NDArray[np.float64]) -> None:
    assert "the sform in the header is not a geometry" in refusal(write_nifti(tmp_path / "a.nii", sform=rows))


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_nifti_header_of_a_smaller_image(tmp_path: Path, name: str) -> None:
    path = write_nifti(tmp_path / name, sform=form(), content=VOXELS.tobytes() * 3)
    assert "the header is not of this image" in refusal(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("steps", [STEPS, SHEAR @ STEPS])
def test_a_nifti_file_that_does_not_say_where_its_voxels_start(
    tmp_path: Path, steps: NDArray[np.float64], version: int
) -> None:
    edges = np.linalg.norm(steps, axis=0)
    path = write_nifti(tmp_path / "a.nii", sform=form(steps), pixdim=(1, *edges), version=version)
    content = bytearray(path.read_bytes())
    place, kind = (108, "<f") if version == 1 else (168, "<q")
    struct.pack_into(kind, content, place, 0)
    path.write_bytes(content)
    np.testing.assert_allclose(bright_place(path), steps @ BRIGHT + ORIGIN, atol=1e-5)
    struct.pack_into(kind, content, place, 348)
    path.write_bytes(content)
    assert "vox_offset is 348, where the header ends at" in refusal(path)


# NRRD


def write_nrrd(path: Path, lines: str, *, content: bytes = VOXELS.tobytes(), encoding: str = "raw") -> Path:
    sizes = " ".join(map(str, SIZE))
    start = f"NRRD0005\ntype: int16\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: {encoding}\n"
    path.write_bytes((start + lines).encode() + b"\n\n" + content)
    return path


def nrrd_geometry(space: str = "left-posterior-superior", *, factor: float = 1, units: str = "") -> str:
    turn = RAS if space.lower() in ("right-anterior-superior", "ras") else np.eye(3)
    vectors = ["(" + ",".join(f"{x:.9g}" for x in turn @ column / factor) + ")" for column in STEPS.T]
    origin = "(" + ",".join(f"{x:.9g}" for x in turn @ ORIGIN / factor) + ")"
    unit = f"\nspace units: {units}" if units else ""
    return f"space: {space}\nspace directions: {' '.join(vectors)}\nspace origin: {origin}{unit}"


@pytest.mark.parametrize("space", ["left-posterior-superior", "LPS", "right-anterior-superior", "RAS"])
def test_the_space_of_an_nrrd_file(tmp_path: Path, space: str) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", nrrd_geometry(space))
    np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-6)


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ('"um" "um" "um"', 0.001),
        ('"µm" "µm" "µm"', 0.001),
        ('"microns" "microns" "microns"', 0.001),
        ('"mm" "mm" "mm"', 1),
        ('"" "" ""', 1),
        ('"cm" "cm" "cm"', 10),
        ('"m" "m" "m"', 1000),
        ('"Meters" "Meters" "Meters"', 1000),
    ],
)
def test_the_unit_of_an_nrrd_file(tmp_path: Path, units: str, factor: float) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", nrrd_geometry(factor=factor, units=units))
    np.testing.assert_allclose(bright_place(path), PLACE, rtol=1e-6)


@pytest.mark.parametrize("units", ['"inch" "inch" "inch"', '"mm" "mm" "um"', '"s" "s" "s"'])
def test_a_unit_of_an_nrrd_file_that_is_not_one_length(tmp_path: Path, units: str) -> None:
    assert "space units is" in refusal(write_nrrd(tmp_path / "scan.nrrd", nrrd_geometry(units=units)))


@pytest.mark.parametrize(
    "lines",
    [
        "spacings: 0.5 0.75 2",
        "space dimension: 3\nspace directions: (1,0,0) (0,1,0) (0,0,1)",
        "space: scanner-xyz\nspace directions: (1,0,0) (0,1,0) (0,0,1)",
        "space: LPS",
        "content: nothing",
    ],
)
def test_an_nrrd_file_that_does_not_say_how_it_lies(tmp_path: Path, lines: str) -> None:
    assert "does not say how the scan lies in the body" in refusal(write_nrrd(tmp_path / "a.nrrd", lines))


def test_nrrd_spacings_beside_other_directions(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "scan.nrrd", "spacings: 1 1 1\n" + nrrd_geometry())
    assert "1 x 1 x 1 mm by spacings and 0.5 x 0.75 x 2 mm by space directions" in refusal(path)


Pack = Callable[[bytes], bytes]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-40] + bytes([content[-40] ^ 0x55]) + content[-39:]


@pytest.mark.parametrize(
    ("encoding", "pack", "spoil"),
    [
        ("raw", bytes, cut),
        ("gzip", gzip.compress, cut),
        ("gzip", gzip.compress, flip),
        ("gz", gzip.compress, flip),
        ("bzip2", bz2.compress, cut),
        ("bzip2", bz2.compress, flip),
    ],
)
def test_nrrd_voxels_that_are_cut_or_damaged(tmp_path: Path, encoding: str, pack: Pack, spoil: Pack) -> None:
    path = write_nrrd(
        tmp_path / "scan.nrrd", nrrd_geometry(), content=spoil(pack(VOXELS.tobytes())), encoding=encoding
    )
    assert "damaged or cut short" in refusal(path)


def test_a_detached_nrrd_header_counts_the_voxels_of_the_other_file(tmp_path: Path) -> None:
    (tmp_path / "scan.raw").write_bytes(VOXELS.tobytes())
    path = write_nrrd(tmp_path / "scan.nhdr", nrrd_geometry() + "\ndata file: scan.raw", content=b"")
    np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-6)
    (tmp_path / "scan.raw").write_bytes(VOXELS.tobytes()[:-2])
    assert "cut short" in refusal(path)
    (tmp_path / "scan.raw").unlink()
    assert "to be in scan.raw, which is not there" in refusal(path)


@pytest.mark.parametrize("header", [1, 38, 512])
def test_a_raw_file_with_a_header_of_its_own_that_nobody_mentions(tmp_path: Path, header: int) -> None:
    (tmp_path / "scan.raw").write_bytes(bytes(header) + VOXELS.tobytes())
    lines = nrrd_geometry() + "\ndata file: scan.raw"
    nrrd = write_nrrd(tmp_path / "scan.nhdr", lines, content=b"")
    meta = write_meta(tmp_path / "scan.mhd", content=b"")
    meta.write_text(meta.read_text().replace("LOCAL", "scan.raw"))
    for path in (nrrd, meta):
        assert f"{header} bytes more are there" in refusal(path)
    write_nrrd(nrrd, f"{lines}\nbyte skip: {header}", content=b"")
    meta.write_text(meta.read_text().replace("ElementData", f"HeaderSize = {header}\nElementData"))
    for path in (nrrd, meta):
        np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-6)
    meta.write_text(meta.read_text().replace(f"HeaderSize = {header}", "HeaderSize = some"))
    assert "HeaderSize is 'some', not the bytes before the voxels" in refusal(meta)


@pytest.mark.parametrize("more", [1, 16, 2048])
def test_bytes_that_nobody_speaks_of(tmp_path: Path, more: int) -> None:
    """They may lie before the voxels, such as a header extension that is not stepped over."""
    content = bytes(more) + VOXELS.tobytes()
    for path in (
        write_nrrd(tmp_path / "a.nrrd", nrrd_geometry(), content=content),
        write_meta(tmp_path / "a.mha", content=content),
        write_nifti(tmp_path / "a.nii", sform=form(), content=content),
        write_nifti(tmp_path / "a.nii.gz", sform=form(), content=content),
    ):
        assert f"{more} bytes more are there" in refusal(path)
    assert "HeaderSize is '10'" in refusal(write_meta(tmp_path / "a.mha", HeaderSize="10"))


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("skip", [0, 20])
def test_nrrd_voxels_packed_with_bzip2(tmp_path: Path, detached: bool, skip: int) -> None:
    packed = bz2.compress(bytes(skip) + VOXELS.tobytes())
    lines = nrrd_geometry() + f"\nbyte skip: {skip}" + ("\ndata file: a.bz2" if detached else "")
    (tmp_path / "a.bz2").write_bytes(packed)
    path = write_nrrd(tmp_path / "a.nrrd", lines, content=b"" if detached else packed, encoding="bzip2")
    np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-6)
    np.testing.assert_array_equal(read_volume(path).voxels, VOXELS)


def test_nifti_voxels_of_one_bit(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", sform=form())
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 70, 1)
    path.write_bytes(content)
    assert "voxels of type 1 (binary?) cannot be read" in refusal(path)


def test_a_long_header_with_much_of_its_own(tmp_path: Path) -> None:
    more = "".join(f"\nSegment{number}_Name:=bone {number}" for number in range(10000))
    for encoding, content in (("raw", VOXELS.tobytes()), ("gzip", gzip.compress(VOXELS.tobytes()))):
        path = write_nrrd(tmp_path / "a.nrrd", nrrd_geometry() + more, content=content, encoding=encoding)
        np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-6)
    path = write_meta(tmp_path / "a.mha", *(f"Comment{number} = {'much ' * 20}" for number in range(2000)))
    np.testing.assert_allclose(bright_place(path), PLACE)


def test_voxels_in_another_file_whatever_the_suffix_of_the_header(tmp_path: Path) -> None:
    (tmp_path / "scan.raw").write_bytes(VOXELS.tobytes())
    nrrd = write_nrrd(tmp_path / "a.nrrd", nrrd_geometry() + "\ndata file: scan.raw", content=b"")
    meta = write_meta(tmp_path / "a.mha", content=b"")
    meta.write_text(meta.read_text().replace("ElementDataFile = LOCAL", "\nElementDataFile = scan.raw"))
    for path in (nrrd, meta):
        np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-6)
        assert files_of(path) == [path, tmp_path / "scan.raw"]


@pytest.mark.parametrize("order", [(0, 8, 1), (8, 0, -1)])
def test_slices_in_files_that_are_counted_up_or_down(tmp_path: Path, order: tuple[int, int, int]) -> None:
    first, last, step = order
    numbers = range(first, last + step, step)
    for number, plane in zip(numbers, VOXELS, strict=True):
        (tmp_path / f"s{number:02d}.raw").write_bytes(plane.tobytes())
    lines = f"{nrrd_geometry()}\ndata file: s%02d.raw {first} {last} {step} 2"
    path = write_nrrd(tmp_path / "a.nhdr", lines, content=b"")
    np.testing.assert_allclose(bright_place(path), PLACE, atol=1e-6)
    assert files_of(path) == [path, *(tmp_path / f"s{number:02d}.raw" for number in numbers)]


# MetaImage


def write_meta(path: Path, *lines: str, content: bytes = VOXELS.tobytes(), **fields: str) -> Path:
    """A MetaImage of VOXELS; a field that is '' is left out."""
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-3 4 5",
        "ElementSpacing": "0.5 0.75 2",
        "DimSize": "7 8 9",
        "ElementType": "MET_SHORT",
        **fields,
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items() if value)
    path.write_bytes(
        (text + "".join(f"{line}\n" for line in lines) + "ElementDataFile = LOCAL\n").encode() + content
    )
    return path


@pytest.mark.parametrize(("units", "factor"), [("mm", 1), ("um", 0.001), ("cm", 10), ("?", 1), ("", 1)])
def test_the_unit_of_a_meta_image(tmp_path: Path, units: str, factor: float) -> None:
    path = write_meta(
        tmp_path / "scan.mha",
        DistanceUnits=units,
        Offset=" ".join(map(str, ORIGIN / factor)),
        ElementSpacing=" ".join(map(str, STEPS.diagonal() / factor)),
    )
    np.testing.assert_allclose(bright_place(path), PLACE, rtol=1e-6)


def test_a_meta_image_without_voxel_size(tmp_path: Path) -> None:
    assert "no ElementSpacing" in refusal(write_meta(tmp_path / "scan.mha", ElementSpacing=""))
    assert "DistanceUnits is inch" in refusal(write_meta(tmp_path / "scan.mha", DistanceUnits="inch"))


@pytest.mark.parametrize("letters", ["LAI", "RAS", "IRA"])
def test_letters_beside_another_matrix_in_a_meta_image(tmp_path: Path, letters: str) -> None:
    path = write_meta(tmp_path / "scan.mha", AnatomicalOrientation=letters)
    assert f"AnatomicalOrientation says {letters} and TransformMatrix RAI" in refusal(path)


@pytest.mark.parametrize("letters", ["RAI", "LPS", "???"])
def test_letters_that_fit_the_matrix_of_a_meta_image(tmp_path: Path, letters: str) -> None:
    path = write_meta(tmp_path / "scan.mha", AnatomicalOrientation=letters)
    np.testing.assert_allclose(bright_place(path), PLACE)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Offset": "10,5 20,5 30,5"}, "Offset is '10,5 20,5 30,5', not 3 numbers with points"),
        ({"Offset": "a b c"}, "Offset is 'a b c'"),
        ({"ElementSpacing": "0.5 0.75"}, "ElementSpacing is '0.5 0.75', not 3 numbers"),
        ({"TransformMatrix": "1 0 0 0 1 0"}, "TransformMatrix is '1 0 0 0 1 0', not 9 numbers"),
        ({"ElementSize": "1 1 1"}, "0.5 x 0.75 x 2 mm by ElementSpacing and 1 x 1 x 1 mm by ElementSize"),
        (
            {"elementspacing": "0.5 0.75 2", "ElementSpacing": "", "ElementSize": "1 1 1"},
            "spelt ElementSpacing",
        ),
        ({"offset": "-3 4 5", "Offset": ""}, "offset, which readers pass over; it is spelt Offset"),
        ({"TransformMatrix": ""}, "left and right are not known (it has no TransformMatrix)"),
    ],
)
def test_statements_of_a_meta_image_that_readers_take_otherwise(
    tmp_path: Path, fields: dict[str, str], words: str
) -> None:
    assert words in refusal(write_meta(tmp_path / "scan.mha", **fields))  # type: ignore[arg-type]


def test_a_meta_image_with_colons_and_a_size_that_is_the_spacing(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "scan.mha", "Offset : -3.0 4 5", Offset="", ElementSize="0.5 0.75 2.0")
    np.testing.assert_allclose(bright_place(path), PLACE)


def test_spacing_twice_in_a_meta_image(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "a.mha", "ElementSpacing = 1 1 1")
    assert "ElementSpacing twice, 0.5 0.75 2 and 1 1 1" in refusal(path)


def test_two_places_in_one_meta_image(tmp_path: Path) -> None:
    assert "Position twice, -3 4 5 and 0 0 0" in refusal(write_meta(tmp_path / "a.mha", "Position = 0 0 0"))


def packed_meta(path: Path, content: bytes, size: int | None) -> Path:
    stated = {} if size is None else {"CompressedDataSize": str(size)}
    return write_meta(path, content=content, CompressedData="True", **stated)


@pytest.mark.parametrize("size", ["right", "none", "wrong"])
def test_a_packed_meta_image_is_read_to_the_end_of_its_stream(tmp_path: Path, size: str) -> None:
    content = zlib.compress(VOXELS.tobytes())
    sizes = {"right": len(content), "none": None, "wrong": len(content) + 7}
    path = packed_meta(tmp_path / "scan.mha", content, sizes[size])
    np.testing.assert_array_equal(read_volume(path).voxels, VOXELS)
    np.testing.assert_allclose(bright_place(path), PLACE)


@pytest.mark.parametrize("spoil", [cut, flip])
@pytest.mark.parametrize("stated", [True, False])
def test_a_packed_meta_image_that_is_damaged(tmp_path: Path, spoil: Pack, stated: bool) -> None:
    content = spoil(zlib.compress(VOXELS.tobytes()))
    path = packed_meta(tmp_path / "scan.mha", content, len(content) if stated else None)
    assert "damaged or cut short" in refusal(path)


def test_a_packed_meta_image_with_fewer_voxels_than_it_says(tmp_path: Path) -> None:
    content = zlib.compress(VOXELS.tobytes()[:-100])
    assert "damaged or cut short" in refusal(packed_meta(tmp_path / "scan.mha", content, len(content)))


@pytest.mark.parametrize("factor", [0.5, 3])
def test_a_plain_meta_image_with_another_number_of_bytes(tmp_path: Path, factor: float) -> None:
    content = (VOXELS.tobytes() * 3)[: int(factor * VOXELS.nbytes)]
    message = refusal(write_meta(tmp_path / "scan.mha", content=content))
    assert "cut short" in message if factor < 1 else "the header is not of this image" in message


def test_a_packed_meta_image_in_two_files_without_its_size(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(VOXELS)
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"), useCompression=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.mhd").voxels, VOXELS)
    text = (tmp_path / "scan.mhd").read_text()
    lines = [line for line in text.splitlines() if "CompressedDataSize" not in line]
    (tmp_path / "scan.mhd").write_text("\n".join(lines) + "\n")
    assert "no CompressedDataSize" in refusal(tmp_path / "scan.mhd")


# other formats


@pytest.mark.parametrize("suffix", [".tif", ".vtk", ".gipl", ".hdr", ".mrc"])
def test_formats_that_say_nothing_or_little_of_where_they_lie(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.astype(np.uint8)), str(tmp_path / f"scan{suffix}"))
    assert "not a kind of image that says how its voxels lie" in refusal(tmp_path / f"scan{suffix}")


def test_a_name_that_does_not_fit_the_content(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / "scan.mha"))
    (tmp_path / "scan.mha").rename(tmp_path / "scan.nrrd")
    assert "cannot be read as an image" in refusal(tmp_path / "scan.nrrd")
