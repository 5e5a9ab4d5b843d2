"""What reads files that others made, and whole files of each kind, written by the program itself."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from LandmarkDetectionLib.data.cases import Case, read_split, write_split
from LandmarkDetectionLib.data.digests import ScanIdentity
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.image_files import files_of
from LandmarkDetectionLib.data.landmark_files import read_landmarks, write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import LandmarkTable, read_table, write_table
from LandmarkDetectionLib.data.volume import Volume, read_volume, write_volume
from LandmarkDetectionLib.detection.detector import load_detector
from LandmarkDetectionLib.detection.records import Entry, Records
from LandmarkDetectionLib.detection.results import CaseDetections, Detection, read_case, write_case
from LandmarkDetectionLib.model.bundle import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    load_bundle,
    load_weights,
    model_digest,
    pack_bundle,
    unpack_bundle,
)
from LandmarkDetectionLib.training.config import read_config, write_config
from LandmarkDetectionLib.training.engines import ENGINES
from LandmarkDetectionLib.worker.protocol import (
    Cancel,
    Detect,
    Failure,
    Progress,
    Ready,
    Result,
    decode,
    encode,
)
from LandmarkDetectionLib.worker.shared_volume import SharedVolume
from Testing.dicom_files import write_multi_frame, write_series
from Testing.fuzz import mutate
from Testing.fuzz.configs import config_of
from Testing.fuzz.mutate import Mutate
from Testing.small_model import write_small_model

DETECTIONS = (
    Detection("Nasion", np.array([1.5, -2.25, 1e-3]), "found", 0.98, 0.5),
    Detection("Porus, left", np.array([0.0, 0.0, 0.0]), "uncertain", 0.4),
    Detection.missing("Schädel 2", 0.01),
)
LANDMARKS = LandmarkSet([item.name for item in DETECTIONS], np.array([item.position for item in DETECTIONS]))
MODEL_IN_THE_BOX = Path(__file__).parents[2] / "LandmarkDetectionLib/phantom/model"
Write = Callable[[Path], object]
_DECIMAL = re.compile(r"(?<=\d)\.(?=\d)")


@dataclass(frozen=True)
class Reader:
    """A reader of files, and what to try it with.

    Attributes:
        name: of the reader.
        file: the name of the file that is damaged; the reader is given its path.
        seeds: each writes a whole file to a path, and beside it what belongs to it.
        read: takes the path; any exception but `refusal` is a failure.
        mutate: how the file is damaged.
        refusal: the exception that says in a sentence what is wrong.
        share: of the inputs; less for what is slow.
    """

    name: str
    file: str
    seeds: tuple[Write, ...]
    read: Callable[[Path], object]
    mutate: Mutate
    refusal: type[Exception] = InputError
    share: float = 1.0


def _write_split(path: Path) -> None:
    for file in ("scan 1.nii.gz", "scän.nrrd", "mask.nii.gz", "points.mrk.json"):
        (path.parent / file).touch()
    scan, points, mask = (path.parent / name for name in ("scan 1.nii.gz", "points.mrk.json", "mask.nii.gz"))
    cases = [
        Case("one", scan, points, mask, group="g"),
        Case("zwö", path.parent / "scän.nrrd", points, other={"age": "3"}),
    ]
    write_split(cases, path)


def _read_split(path: Path) -> None:
    read_split(path, supervised=True)


def _saved_in_excel(write: Write) -> Write:
    """The same with a byte order mark, semicolons, decimal commas and line ends of Windows."""

    def written(path: Path) -> None:
        write(path)
        rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
        text = "\r\n".join(";".join(_DECIMAL.sub(",", cell) for cell in row) for row in rows)
        path.write_text(text + "\r\n;;;\r\n", encoding="utf-8-sig", newline="")

    return written


def _write_model(path: Path) -> None:
    write_small_model(path.parent)


def _copy_model(path: Path) -> None:
    shutil.copytree(MODEL_IN_THE_BOX, path.parent, dirs_exist_ok=True)


def _read_model(path: Path) -> None:
    load_bundle(path.parent)
    model_digest(path.parent)


def _load_model(path: Path) -> None:
    load_detector(path.parent, torch.device("cpu"))


def _read_weights(path: Path) -> None:
    """The weights of somebody who has made the digest fit."""
    description = path.parent / DESCRIPTION_FILE
    content = json.loads(description.read_text(encoding="utf-8"))
    content["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    description.write_text(json.dumps(content), encoding="utf-8")
    load_weights(path.parent)
    _load_model(path)


def _write_config(engine: str) -> Write:
    def written(path: Path) -> None:
        write_config(config_of(engine, path.parent), path, header="made to be damaged")

    return written


def _pack(path: Path) -> None:
    pack_bundle(write_small_model(path.parent / "whole"), path)


def _unpack(path: Path) -> None:
    models = path.parent / "models"
    try:
        assert unpack_bundle(path, models).parent == models
    finally:
        left = sorted(file.name for file in models.rglob("*"))
        shutil.rmtree(models)
    assert left in ([], ["model.json", left[1], "weights.safetensors"]), left


def _write_messages(path: Path) -> None:
    scan = SharedVolume(Path("v.npy"), Frame(size=(3, 4, 5)))
    messages = (
        Detect(1, Path("m"), "auto", scan),
        Detect(2, Path("m"), "cpu", Path("scan.nii.gz")),
        Cancel(1),
        Ready((("cpu", "CPU"),), 7),
        Progress(1, "locate", 0.5, None),
        Result(3, DETECTIONS, 1.5, "cpu", ("a warning.",), ScanIdentity("a", "b")),
        Failure(1, "model", "no."),
    )
    path.write_text("".join(encode(message) for message in messages), encoding="utf-8")


def _decode_lines(path: Path) -> None:
    """As the worker reads its input."""
    refused = None
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            try:
                decode(line)
            except ValueError as error:
                assert str(error).startswith("not a message: ")
                refused = error
    if refused is not None:
        raise ValueError(f"{path}: {refused}.") from refused


def _write_case(path: Path) -> None:
    write_case(CaseDetections("case", DETECTIONS), path.parent)


def _write_record(path: Path) -> None:
    row = {"case": "case", "image_path": "scan.nii.gz", "error": ""}
    entry = Entry("scan.nii.gz", ScanIdentity("a", "b"), "digest", {"case.csv": ["a"]}, row, 1.5, ("so.",))
    Records(path.parents[1]).put("case", entry)


def _read_record(path: Path) -> None:
    Records(path.parents[1]).entries()


def _write_failure(path: Path) -> None:
    records = Records(path.parents[1])
    records.put_failure({"case": "case", "image_path": "scan.nii.gz", "error": "no."})
    (written,) = set(path.parent.glob("*.json")) - {path}
    written.replace(path)


def _read_failures(path: Path) -> None:
    Records(path.parents[1]).failures()


def _write_scan(dtype: str) -> Write:
    def written(path: Path) -> None:
        frame = Frame(size=(4, 5, 6), spacing=(0.5, 0.75, 2), origin=(-3, 4, 5))
        voxels = np.random.default_rng(0).integers(0, 100, frame.shape).astype(dtype)
        write_volume(Volume(voxels, frame), path)

    return written


def _unpacked_scan(path: Path) -> None:
    """A MetaImage or NRRD file with plain voxels behind its header."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.arange(120, dtype=np.int16).reshape(6, 5, 4))
    sitk.WriteImage(image, str(path), useCompression=False)


def _read_scan(path: Path) -> None:
    files_of(path)
    read_volume(path)


def _write_slices(path: Path) -> None:
    write_series(path.parent, prefix="IM")


def _write_frames(path: Path) -> None:
    write_multi_frame(path, list(range(4)))


def _gzipped(write: Write) -> Write:
    def written(path: Path) -> None:
        plain = path.with_suffix("")
        write(plain)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()

    return written


def _write_points(path: Path) -> None:
    write_landmarks(LANDMARKS, path)


def _write_points_in_ras(path: Path) -> None:
    write_landmarks(LANDMARKS, path, coordinate_system="RAS")


def _write_table(path: Path) -> None:
    write_table(LandmarkTable.from_names(LANDMARKS.names), path)


READERS = (
    Reader(
        "markups", "points.mrk.json", (_write_points, _write_points_in_ras), read_landmarks, mutate.of_json
    ),
    Reader("fcsv", "points.fcsv", (_write_points, _write_points_in_ras), read_landmarks, mutate.text),
    Reader(
        "landmark table",
        "points.csv",
        (_write_points, _saved_in_excel(_write_points)),
        read_landmarks,
        mutate.text,
    ),
    Reader(
        "list of cases", "cases.csv", (_write_split, _saved_in_excel(_write_split)), _read_split, mutate.text
    ),
    Reader("landmarks.csv", "landmarks.csv", (_write_table,), read_table, mutate.text),
    Reader("model.json", DESCRIPTION_FILE, (_write_model, _copy_model), _read_model, mutate.of_json),
    Reader("model", DESCRIPTION_FILE, (_write_model, _copy_model), _load_model, mutate.of_json, share=0.1),
    Reader("weights", WEIGHTS_FILE, (_write_model,), _read_weights, mutate.binary, share=0.2),
    Reader(
        "config.yaml", "config.yaml", tuple(map(_write_config, ENGINES)), read_config, mutate.text, share=0.2
    ),
    Reader("archive", "model.zip", (_pack,), _unpack, mutate.archive, share=0.1),
    Reader("protocol", "messages", (_write_messages,), _decode_lines, mutate.of_json, refusal=ValueError),
    Reader("result", "case.csv", (_write_case,), lambda path: read_case(path.parent, "case"), mutate.text),
    Reader("record", "cases/case.json", (_write_record,), _read_record, mutate.of_json),
    Reader("failure", "failed/case.json", (_write_failure,), _read_failures, mutate.of_json),
    Reader("NIfTI", "scan.nii", (_write_scan("int16"), _write_scan("float32")), _read_scan, mutate.binary),
    Reader(
        "NIfTI, packed",
        "scan.nii.gz",
        (_gzipped(_write_scan("int16")),),
        _read_scan,
        mutate.packed(mutate.binary),
    ),
    Reader("NRRD", "scan.nrrd", (_write_scan("int16"), _unpacked_scan), _read_scan, mutate.text),
    Reader("MetaImage", "scan.mha", (_write_scan("int16"), _unpacked_scan), _read_scan, mutate.text),
    Reader("DICOM slices", "IM000", (_write_slices,), _read_scan, mutate.binary, share=0.2),
    Reader("DICOM frames", "frames.dcm", (_write_frames,), _read_scan, mutate.binary, share=0.5),
)
