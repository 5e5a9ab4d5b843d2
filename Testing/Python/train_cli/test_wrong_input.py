"""Wrong input: one sentence that names the file, the field and the cure, exit code 2, no traceback."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

from LandmarkDetectionLib.data.cases import read_split, write_split

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Finished, Run

Spoil = Callable[[Path], object]
IMAGE = "phantom_002.nii.gz"
LANDMARKS = "phantom_002.mrk.json"


def only_sentence(finished: Finished) -> str:
    """What the command says is wrong, having made sure that it says nothing else."""
    assert finished.code == 2, finished.err
    assert "Traceback" not in finished.err
    lines = [line for line in finished.err.splitlines() if "of the cases failed" not in line]
    assert len(lines) == 1, finished.err
    return lines[0]


def replace_image(image: sitk.Image) -> Spoil:
    def spoil(folder: Path) -> None:
        sitk.WriteImage(image, str(folder / "images" / IMAGE))

    return spoil


def cut_short(folder: Path) -> None:
    path = folder / "images" / IMAGE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(folder: Path) -> None:
    voxels = np.zeros((4, 5, 6), dtype=np.float32)
    voxels[1, 2, 3] = np.nan
    replace_image(sitk.GetImageFromArray(voxels))(folder)


def with_spacing(spacing: float) -> Spoil:
    """An image whose header says that voxels have this size along x."""

    def spoil(folder: Path) -> None:
        plain = folder / "images/plain.nii"
        sitk.WriteImage(sitk.Image(4, 5, 6, sitk.sitkInt16), str(plain))
        header = bytearray(plain.read_bytes())
        struct.pack_into("<f", header, 80, spacing)
        (folder / "images" / IMAGE).unlink()
        plain.write_bytes(header)
        edit_csv(folder, IMAGE, "plain.nii")

    return spoil


def as_two_dicom_series(folder: Path) -> None:
    series = folder / "images/dicom"
    series.mkdir()
    for number in (1, 2):
        for position in range(3):
            write_dicom_slice(
                series / f"{number}_{position}.dcm", series=f"1.2.3.{number}", position=position
            )
    edit_csv(folder, IMAGE, "dicom")


def write_dicom_slice(path: Path, *, series: str, position: int) -> None:
    image = sitk.Image(8, 8, 1, sitk.sitkInt16)
    tags = {
        "0008|0060": "CT",
        "0020|000e": series,
        "0020|0013": str(position),
        "0020|0032": f"0\\0\\{position}",
        "0020|0037": "1\\0\\0\\0\\1\\0",
    }
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def edit_csv(folder: Path, old: str, new: str) -> None:
    path = folder / "cases.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def edit_landmarks(folder: Path, edit: Callable[[list[dict[str, object]]], None]) -> None:
    path = folder / "landmarks" / LANDMARKS
    content = json.loads(path.read_text())
    edit(content["markups"][0]["controlPoints"])
    path.write_text(json.dumps(content))


def move_away(points: list[dict[str, object]]) -> None:
    points[0]["position"] = [9000.0, 0.0, 0.0]


def rename(points: list[dict[str, object]]) -> None:
    points[0]["label"] = "Nose"


def repeat(points: list[dict[str, object]]) -> None:
    points[1]["label"] = points[0]["label"]


WRONG: dict[str, tuple[Spoil, list[str]]] = {
    "missing column": (
        lambda folder: edit_csv(folder, "landmark_file_path", "landmarks_path"),
        ["cases.csv", "landmark_file_path", "first line"],
    ),
    "no csv": (lambda folder: (folder / "cases.csv").unlink(), ["cases.csv", "check the path"]),
    "empty csv": (
        lambda folder: (folder / "cases.csv").write_text(""),
        ["cases.csv", "image_name"],
    ),
    "csv without cases": (
        lambda folder: (folder / "cases.csv").write_text(
            "image_name,image_path,landmark_file_path,landmark_mask_path\n"
        ),
        ["cases.csv", "add a line"],
    ),
    "missing image": (
        lambda folder: (folder / "images" / IMAGE).unlink(),
        ["cases.csv, line 3", "image_path", IMAGE, "correct the path"],
    ),
    "missing landmark file": (
        lambda folder: (folder / "landmarks" / LANDMARKS).unlink(),
        ["cases.csv, line 3", "landmark_file_path", LANDMARKS, "correct the path"],
    ),
    "two cases of one name": (
        lambda folder: edit_csv(folder, "\nphantom_002", "\nphantom_001"),
        ["cases.csv, line 3", "phantom_001", "rename"],
    ),
    "image cut short": (cut_short, [IMAGE, "cut short", "again"]),
    "2D image": (replace_image(sitk.Image(20, 20, sitk.sitkInt16)), [IMAGE, "20 x 20", "3D"]),
    "4D image": (replace_image(sitk.Image([6, 6, 6, 3], sitk.sitkInt16)), [IMAGE, "6 x 6 x 6 x 3", "3D"]),
    "colour image": (
        replace_image(sitk.Image([6, 6, 6], sitk.sitkVectorUInt8, 3)),
        [IMAGE, "colour", "grey-scale"],
    ),
    "NaN voxels": (with_nan, [IMAGE, "NaN", "replace"]),
    "zero spacing": (with_spacing(0.0), ["plain.nii", "0 x 1 x 1 mm", "positive"]),
    "negative spacing": (with_spacing(-1.0), ["plain.nii", "-1 x 1 x 1 mm", "positive"]),
    "two DICOM series": (as_two_dicom_series, ["dicom", "2 DICOM series", "folder of its own"]),
    "unknown landmark": (
        lambda folder: edit_landmarks(folder, rename),
        [LANDMARKS, "'Nose'", "landmarks.csv"],
    ),
    "landmark outside the image": (
        lambda folder: edit_landmarks(folder, move_away),
        [LANDMARKS, "Nasion", IMAGE, "correct"],
    ),
    "landmark named twice": (
        lambda folder: edit_landmarks(folder, repeat),
        [LANDMARKS, "Nasion"],
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_masks_says_what_is_wrong_where_and_what_to_do(run: Run, data_set: Path, what: str) -> None:
    spoil, words = WRONG[what]
    spoil(data_set)
    sentence = only_sentence(run("masks", data_set / "cases.csv", "--output", data_set / "out", "--quiet"))
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize("what", WRONG)
def test_check_finds_it_too(run: Run, data_set: Path, what: str) -> None:
    spoil, words = WRONG[what]
    spoil(data_set)
    finished = run("check", data_set / "cases.csv", "--quiet", "--json")
    assert finished.code == 2
    if finished.err:
        sentences = [only_sentence(finished)]
    else:
        sentences = [finding["message"] for finding in finished.json["findings"]]
    assert any(all(word in sentence for word in words[:2]) for sentence in sentences), sentences


def test_check_names_the_label_that_a_mask_should_not_have(run: Run, data_set: Path) -> None:
    run("masks", data_set / "cases.csv", "--output", data_set / "masks")
    path = data_set / "masks/phantom_002_mask.nii.gz"
    mask = sitk.ReadImage(str(path))
    mask[2, 2, 2] = 77
    sitk.WriteImage(mask, str(path))
    finished = run("check", data_set / "masks/cases.csv", "--json")
    assert finished.code == 2
    messages = [finding["message"] for finding in finished.json["findings"]]
    assert any(
        "phantom_002_mask.nii.gz" in text and "77" in text and "landmarks.csv" in text for text in messages
    )


def test_evaluate_names_the_label_that_a_mask_should_not_have(run: Run, data_set: Path) -> None:
    run("masks", data_set / "cases.csv", "--output", data_set / "masks")
    split = data_set / "masks/only.csv"
    cases = read_split(data_set / "masks/cases.csv", supervised=True)[:1]
    write_split([type(case)(case.name, case.image_path, None, case.mask_path) for case in cases], split)
    (data_set / "masks/landmarks.csv").write_text("name,label\nNasion,1\n")
    flags = ("--detections", data_set, "--output", data_set / "e", "--quiet")
    sentence = only_sentence(run("evaluate", split, *flags))
    assert "phantom_001_mask.nii.gz" in sentence
    assert "landmarks.csv" in sentence


@pytest.mark.parametrize("command", ["phantom", "masks", "split", "evaluate"])
def test_a_folder_that_cannot_be_written_is_named(run: Run, data_set: Path, command: str) -> None:
    blocked = data_set / "blocked"
    blocked.write_text("a file where a folder should be")
    output = blocked / "out"
    cases = data_set / "cases.csv"
    calls: dict[str, tuple[object, ...]] = {
        "phantom": (output, "--cases", 1, "--spacing", 12),
        "masks": (cases, "--output", output),
        "split": (cases, "--output", output),
        "evaluate": (cases, "--output", output, "--detections", data_set / "detections"),
    }
    if command == "evaluate":
        write_absent_detections(cases, data_set / "detections")
    sentence = only_sentence(run(command, *calls[command], "--quiet"))
    assert str(blocked) in sentence
    assert "choose a folder" in sentence


def write_absent_detections(split: Path, folder: Path) -> None:
    folder.mkdir()
    for case in read_split(split, supervised=True):
        text = "name,x,y,z,status,confidence,radius_mm\nNasion,,,,absent,0,\n"
        (folder / f"{case.name}.csv").write_text(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("masks", "CASES", "--output", "OUT", "--positive", "0"), ["--positive 0", "mm"]),
        (("masks", "CASES", "--output", "OUT", "--positive", "nan"), ["--positive nan", "mm"]),
        (
            ("masks", "CASES", "--output", "OUT", "--positive", "5", "--negative", "4"),
            ["--negative 4", "larger"],
        ),
        (("masks", "CASES", "--output", "OUT", "--table", "none.csv"), ["none.csv", "landmark table"]),
        (("split", "CASES", "--output", "OUT", "--val", "0.6", "--test", "0.6"), ["0.6", "less than 1"]),
        (("split", "CASES", "--output", "OUT", "--folds", "9"), ["folds is 9", "2 to 5"]),
        (("split", "CASES", "--output", "OUT", "--group", "family"), ["cases.csv", "'family'", "add"]),
        (
            ("evaluate", "CASES", "--detections", "OUT", "--output", "OUT", "--radii", "2;3"),
            ["2;3", "commas"],
        ),
        (("cases", "IMAGES", "--output", "OUT", "--landmarks", "none"), ["none", "folder"]),
        (("cases", "IMAGES", "--landmarks", "MARKS", "--output", "IMAGES"), ["images", "another name"]),
        (("masks", "CASES", "--output", "DATA"), ["overwritten", "another folder"]),
        (("check", "CASES", "--device", "gpu"), ["--device gpu", "cuda:0"]),
        (("phantom", "OUT", "--cases", "1", "--spacing", "0"), ["spacing", "0.2"]),
    ],
)
def test_a_wrong_flag_is_named_with_what_it_may_be(
    run: Run, data_set: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    places = {
        "CASES": str(data_set / "cases.csv"),
        "OUT": str(data_set / "out"),
        "DATA": str(data_set),
        "IMAGES": str(data_set / "images"),
        "MARKS": str(data_set / "landmarks"),
    }
    sentence = only_sentence(run(*(places.get(word, word) for word in arguments)))
    assert [word for word in words if word not in sentence] == [], sentence


def test_a_landmark_table_that_is_not_utf8_is_named(run: Run, data_set: Path) -> None:
    (data_set / "landmarks.csv").write_bytes("name,label\nSchädel,1\n".encode("latin-1"))
    for command in ("check", "masks", "split"):
        flags = () if command == "check" else ("--output", data_set / "out")
        sentence = only_sentence(run(command, data_set / "cases.csv", *flags, "--quiet"))
        assert "landmarks.csv" in sentence and "UTF-8" in sentence


def test_a_seed_that_is_too_large_is_refused_at_once(run: Run, data_set: Path) -> None:
    finished = run("plan", data_set / "cases.csv", "--seed", "20261125120000")
    assert finished.code == 2 and "--seed" in finished.err and "Traceback" not in finished.err


def test_a_missing_option_ends_with_2_and_no_traceback(run: Run, data_set: Path) -> None:
    finished = run("masks", data_set / "cases.csv")
    assert finished.code == 2
    assert "--output" in finished.err
    assert "Traceback" not in finished.err


def test_an_experts_mask_that_masks_reads_is_not_overwritten(run: Run, data_set: Path) -> None:
    assert run("masks", data_set / "cases.csv", "--output", data_set / "masks", "--quiet").code == 0
    cases = read_split(data_set / "masks/cases.csv", supervised=True)
    mask = cases[0].mask_path
    assert mask is not None
    before, split = mask.read_bytes(), data_set / "experts.csv"
    write_split([replace(cases[0], landmark_path=None), replace(cases[1], mask_path=None)], split)
    table = data_set / "landmarks.csv"
    flags = ("--output", data_set / "masks", "--positive", 30, "--table", table)
    finished = run("masks", split, *flags)
    assert finished.code == 2 and mask.read_bytes() == before
    assert f"{mask}: this file is read here and would be overwritten" in finished.err
    written = read_split(data_set / "masks/cases.csv", supervised=True)
    assert [case.name for case in written] == [cases[1].name], "the other goes on"


def test_masks_that_were_not_drawn_here_or_were_changed_are_kept(run: Run, data_set: Path) -> None:
    output = data_set / "masks"
    output.mkdir()
    experts = output / "phantom_001_mask.nii.gz"
    experts.write_bytes(b"an expert's")
    command = ("masks", data_set / "cases.csv", "--output", output)
    finished = run(*command)
    assert finished.code == 2 and finished.err.count("so it is kept") == 1
    assert f"{experts}: it was not written by this program" in finished.err
    assert experts.read_bytes() == b"an expert's"
    changed = output / "phantom_002_mask.nii.gz"
    changed.write_bytes(b"painted")
    finished = run(*command, "--positive", 30)
    assert f"{changed}: it was changed since this program wrote it" in finished.err
    assert finished.err.count("so it is kept") == 2, "the others are drawn anew"
    assert (experts.read_bytes(), changed.read_bytes()) == (b"an expert's", b"painted")
    assert run(*command, "--overwrite").code == 0
    assert run(*command).code == 0
    assert len(read_split(output / "cases.csv", supervised=True)) == 5


def test_masks_of_names_that_are_one_on_some_disks_do_not_overwrite_each_other(
    run: Run, data_set: Path
) -> None:
    cases = read_split(data_set / "cases.csv", supervised=True)
    names = ("head", "Head", "other")
    renamed = [replace(case, name=name) for case, name in zip(cases, names, strict=False)]
    write_split(renamed, data_set / "alike.csv")
    finished = run("masks", data_set / "alike.csv", "--output", data_set / "masks")
    assert finished.code == 2 and "'Head' would overwrite that of 'head'" in finished.err
    assert {path.name for path in (data_set / "masks").glob("*_mask*")} == {
        "head_mask.nii.gz",
        "other_mask.nii.gz",
    }


def test_the_table_that_masks_is_given_stays_as_it_is(run: Run, data_set: Path) -> None:
    (data_set / "masks").mkdir()
    table = data_set / "masks/landmarks.csv"
    first, *others = (data_set / "landmarks.csv").read_text().splitlines()
    before = "\n".join([f"{first},note", *(f"{line},mine" for line in others)])
    table.write_text(before)
    command = ("masks", data_set / "cases.csv", "--output", data_set / "masks", "--table", table)
    assert run(*command).code == 0
    assert table.read_text() == before


def test_detections_of_a_case_named_points_are_not_overwritten_by_the_evaluation(
    run: Run, data_set: Path
) -> None:
    (case, *_) = read_split(data_set / "cases.csv", supervised=True)
    write_split([replace(case, name="points")], data_set / "only.csv")
    folder = data_set / "detections"
    folder.mkdir()
    before = "name,x,y,z,status,confidence,radius_mm\n"
    (folder / "points.csv").write_text(before)
    flags = ("--detections", folder, "--output", folder, "--quiet")
    sentence = only_sentence(run("evaluate", data_set / "only.csv", *flags))
    assert "points.csv: this file is read here and would be overwritten" in sentence
    assert (folder / "points.csv").read_text() == before


def test_phantoms_do_not_take_the_place_of_a_data_set(run: Run, data_set: Path) -> None:
    cases = read_split(data_set / "cases.csv", supervised=True)
    write_split([*cases, replace(cases[0], name="patient 7")], data_set / "cases.csv")
    before = (data_set / "cases.csv").read_text()
    sentence = only_sentence(run("phantom", data_set, "--cases", 1, "--spacing", 12))
    assert "patient 7" in sentence and "another folder" in sentence
    assert (data_set / "cases.csv").read_text() == before
