"""The DICOM SR of a result, read back with pydicom alone."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from LandmarkDetectionLib.data.dicom_series import series_of
from LandmarkDetectionLib.data.digests import identify
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import read_volume
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.exchange.dicom_sr import Observer, write_report
from Testing.dicom_files import BRIGHT, ORIGIN, SIZE, SPACING, write_multi_frame, write_series

pytest.importorskip("highdicom", reason='highdicom is not installed: pip install "highdicom>=0.28"')

MODEL = Observer("skulls of mice", "locate-refine", "a1b2" * 16, 0.9)
TIME = datetime(2026, 5, 4, 3, 2, 1)
WORLD = "1.2.3.4.5.6"
PATIENT: dict[str, Any] = {
    "PatientName": "DOE^JANE",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19710203",
    "PatientSex": "F",
    "AccessionNumber": "ACC-815",
    "StudyID": "STUDY-9",
    "StudyDate": "20250317",
    "StudyTime": "101112",
}
OTHERS: dict[str, Any] = {
    "InstitutionName": "St. Elsewhere",
    "InstitutionAddress": "Nowhere Lane",
    "ReferringPhysicianName": "HOUSE^GREGORY",
    "OperatorsName": "SMITH^WINSTON",
    "StudyDescription": "Headache after fall",
    "SeriesDescription": "skull of Jane",
    "ProtocolName": "protocol of Jane",
    "PatientComments": "afraid of needles",
    "PatientAddress": "Elm Street",
    "StationName": "STATION-3",
    "Manufacturer": "Scanner and Sons",
    "DeviceSerialNumber": "SN-0815",
    "SeriesDate": "20250318",
    "AcquisitionDate": "20250319",
    "ContentDate": "20250320",
    "RequestedProcedureDescription": "look into Jane",
}
POSITIONS = {"nasion": [-101.123456, 57.654321, 1234.567891], "bregma": [0.1, -0.2, 0.3]}
RESULT = CaseDetections(
    "doe_jane",
    (
        Detection("nasion", np.array(POSITIONS["nasion"]), "found", 0.987654, 0.4321),
        Detection("bregma", np.array(POSITIONS["bregma"]), "uncertain", 0.5, 2.5),
        Detection.missing("Bügelpunkt", 0.02),
    ),
)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A CT series with all that hospitals write into it."""
    return write_series(tmp_path / "ct", FrameOfReferenceUID=WORLD, SeriesNumber=7, **PATIENT, **OTHERS)


@pytest.fixture
def multi_frame(tmp_path: Path) -> Path:
    order = [3, 1, 0, 2, *range(4, SIZE[2])]
    return write_multi_frame(tmp_path / "enhanced", order, FrameOfReferenceUID=WORLD, **PATIENT)


def report(scan: Path, result: CaseDetections = RESULT, **more: Any) -> Path:
    path = scan.parent / "report.sr.dcm"
    write_report(path, series_of(scan), result, MODEL, **{"written": TIME, **more})
    return path


def items_in(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from items_in(child)


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def value_of(item: Dataset) -> Any:
    match item.ValueType:
        case "TEXT":
            return item.TextValue
        case "UIDREF":
            return item.UID
        case "CODE":
            code = item.ConceptCodeSequence[0]
            return code.CodeMeaning, code.CodeValue, code.CodingSchemeDesignator
        case "NUM":
            measured = item.MeasuredValueSequence[0]
            return float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue
        case "PNAME":
            return str(item.PersonName)
    return item


def landmarks_in(path: Path) -> dict[str, dict[str, Any]]:
    """What each group of measurements says, by tracking identifier and name of the item."""
    document = pydicom.dcmread(path)
    groups = [
        item
        for item in items_in(document)
        if item.get("ConceptNameCodeSequence") and name_of(item) == "Measurement Group"
    ]
    said = [{name_of(item): value_of(item) for item in items_in(group)} for group in groups]
    return {values["Tracking Identifier"]: values for values in said}


@pytest.mark.parametrize("kind", ["series", "multi_frame"])
def test_positions_lie_in_the_frame_of_reference_of_the_scan(
    kind: str, request: pytest.FixtureRequest
) -> None:
    scan = request.getfixturevalue(kind)
    said = landmarks_in(report(scan))
    for name, position in POSITIONS.items():
        point = said[name]["Image Region"]
        assert (point.ValueType, point.GraphicType) == ("SCOORD3D", "POINT")
        assert point.ReferencedFrameOfReferenceUID == WORLD
        np.testing.assert_allclose(point.GraphicData, position, rtol=0, atol=1e-4)


def test_a_voxel_is_where_the_tags_of_its_slice_say(tmp_path: Path) -> None:
    axes, step = np.array([[0.6, 0, 0.8], [0, 1, 0]]), np.array([-1.6, 0.3, 1.2])
    scan = write_series(tmp_path / "ct", axes=tuple(axes.ravel()), step=step, FrameOfReferenceUID=WORLD)
    volume = read_volume(scan)
    assert volume.voxels[BRIGHT[::-1]] == volume.voxels.max()
    position = volume.frame.index_to_world(BRIGHT)
    path = report(scan, CaseDetections("a", (Detection("bright", position, "found", 1.0),)))
    by_the_tags = ORIGIN + BRIGHT[0] * SPACING[0] * axes[0] + BRIGHT[1] * SPACING[1] * axes[1]
    by_the_tags += BRIGHT[2] * step
    point = landmarks_in(path)["bright"]["Image Region"]
    np.testing.assert_allclose(point.GraphicData, by_the_tags, rtol=0, atol=1e-4)


def test_what_is_known_of_each_landmark_is_told(series: Path) -> None:
    said = landmarks_in(report(series))
    assert list(said) == ["nasion", "bregma", "Bügelpunkt"]
    assert [said[name]["Presence of property"][0] for name in said] == ["Present", "Undetermined", "Absent"]
    assert [said[name]["Certainty of Finding"] for name in said] == [(98.7654, "%"), (50, "%"), (2, "%")]
    radius = "Estimated error radius, 90 % coverage"
    assert [said[name].get(radius) for name in said] == [(0.4321, "mm"), (2.5, "mm"), None]
    assert "Image Region" not in said["Bügelpunkt"]
    for values in said.values():
        assert (
            values["Finding"][0] == "Anatomical landmark" and values["Measurement Method"][0] == "Automated"
        )
        assert "skulls of mice" in values["Algorithm Name"]
        assert values["Algorithm Version"] == MODEL.fingerprint


def test_a_model_without_radii_tells_none(series: Path) -> None:
    path = series.parent / "report.sr.dcm"
    bare = CaseDetections("a", (Detection("nasion", np.zeros(3), "found", 1.0),))
    write_report(path, series_of(series), bare, Observer("m", "dense", "ff", None), written=TIME)
    assert not any("radius" in name for name in landmarks_in(path)["nasion"])


@pytest.mark.parametrize(
    ("kind", "sop_class"), [("series", CTImageStorage), ("multi_frame", EnhancedCTImageStorage)]
)
def test_the_report_is_of_the_study_and_refers_to_every_image(
    kind: str, sop_class: str, request: pytest.FixtureRequest
) -> None:
    scan = request.getfixturevalue(kind)
    files = [scan] if scan.is_file() else list(scan.iterdir())
    images = [pydicom.dcmread(file) for file in files]
    document = pydicom.dcmread(report(scan))
    assert document.StudyInstanceUID == images[0].StudyInstanceUID and document.Modality == "SR"
    assert document.SeriesInstanceUID != images[0].SeriesInstanceUID
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (evidence,) = study.ReferencedSeriesSequence
    assert evidence.SeriesInstanceUID == images[0].SeriesInstanceUID
    in_library = [item.ReferencedSOPSequence[0] for item in items_in(document) if item.ValueType == "IMAGE"]
    for referenced in (evidence.ReferencedSOPSequence, in_library):
        uids = [item.ReferencedSOPInstanceUID for item in referenced]
        assert sorted(uids) == sorted(image.SOPInstanceUID for image in images)
        assert {item.ReferencedSOPClassUID for item in referenced} == {sop_class}


def secrets() -> list[bytes]:
    values = [part for value in {**PATIENT, **OTHERS}.values() for part in value.split("^")]
    return [value.encode() for value in values if len(value) > 1]


def test_nothing_tells_whose_scan_it_is(series: Path) -> None:
    path = report(series)
    content = path.read_bytes()
    assert len(secrets()) > 20 and [secret for secret in secrets() if secret in content] == []
    assert b"doe_jane" not in content, "the name of the case"
    assert str(pydicom.dcmread(path).PatientName) == ""


def test_the_patient_is_told_where_that_is_asked_for_and_nothing_else(series: Path) -> None:
    path = report(series, with_patient=True)
    document = pydicom.dcmread(path)
    assert {keyword: str(document[keyword].value) for keyword in PATIENT} == PATIENT
    content = path.read_bytes()
    assert [value for text in OTHERS.values() for value in text.split("^") if value.encode() in content] == []


def test_a_patient_as_no_standard_has_one(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müßig^Zoë"}
    tags |= {"PatientSex": "W", "PatientBirthDate": "1950?"}
    scan = write_series(tmp_path / "ct", FrameOfReferenceUID=WORLD, **tags)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = report(scan, with_patient=True)
    document = pydicom.dcmread(path)
    assert str(document.PatientName) == "Müßig^Zoë" and document.PatientSex == "W"
    assert document.PatientBirthDate == "1950?"


def test_the_same_result_gives_the_same_file_and_another_one_another(series: Path) -> None:
    first = report(series).read_bytes()
    assert report(series).read_bytes() == first
    uids = {pydicom.dcmread(report(series)).SOPInstanceUID}
    moved = CaseDetections("a", (*RESULT.detections[1:], Detection.missing("nasion")))
    for changed in ({"result": moved}, {"by_hand": ["nasion"]}, {"with_patient": True}):
        uids.add(pydicom.dcmread(report(series, **changed)).SOPInstanceUID)
    assert len(uids) == 4


def test_a_landmark_keeps_its_tracking_uid_from_result_to_result(series: Path) -> None:
    before = landmarks_in(report(series))["nasion"]["Tracking Unique Identifier"]
    moved = CaseDetections("a", (Detection("nasion", np.zeros(3), "found", 1.0),))
    assert landmarks_in(report(series, moved))["nasion"]["Tracking Unique Identifier"] == before
    assert landmarks_in(report(series))["bregma"]["Tracking Unique Identifier"] != before


def observers_in(path: Path) -> dict[str, list[Any]]:
    said: dict[str, list[Any]] = {}
    for item in pydicom.dcmread(path).ContentSequence:
        said.setdefault(name_of(item), []).append(value_of(item))
    return said


def test_the_observer_is_the_program_with_its_model(series: Path) -> None:
    said = observers_in(report(series))
    assert [kind for kind, *_ in said["Observer Type"]] == ["Device"]
    assert said["Device Observer Name"][0].startswith("LandmarkDetection 0.")
    assert said["Device Observer Model Name"] == ["skulls of mice"]
    assert said["Device Observer Serial Number"] == [MODEL.fingerprint]


def test_a_corrected_landmark_is_said_to_be_a_persons(series: Path) -> None:
    path = report(series, by_hand=["bregma"])
    assert {kind for kind, *_ in observers_in(path)["Observer Type"]} == {"Device", "Person"}
    said = landmarks_in(path)
    assert said["bregma"]["Measurement Method"][0] == "Manual"
    assert said["nasion"]["Measurement Method"][0] == "Automated"
    assert not {"Certainty of Finding", "Algorithm Name"} & said["bregma"].keys()
    np.testing.assert_allclose(said["bregma"]["Image Region"].GraphicData, POSITIONS["bregma"], atol=1e-4)


def other_frame(number: int, tags: Dataset) -> None:
    tags.FrameOfReferenceUID = WORLD if number else "9.8.7"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "has no FrameOfReferenceUID (0020,0052), which a DICOM SR refers to"),
        ({"FrameOfReferenceUID": WORLD, "StudyInstanceUID": ""}, "has no StudyInstanceUID (0020,000d)"),
        ({"change": other_frame}, "the slices are in 2 frames of reference (0020,0052)"),
        ({"FrameOfReferenceUID": WORLD, "SOPClassUID": "1.2.3"}, "no DICOM SR can be made"),
    ],
)
def test_a_series_that_no_report_can_refer_to(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    scan = write_series(tmp_path / "ct", **changes)
    with pytest.raises(InputError) as told:
        report(scan)
    assert said in str(told.value) and str(told.value).startswith(str(scan)) and "\n" not in str(told.value)
    assert not (tmp_path / "report.sr.dcm").exists()


def test_slices_of_one_identifier_are_referred_to_once(tmp_path: Path) -> None:
    scan = write_series(tmp_path / "ct", FrameOfReferenceUID=WORLD, SOPInstanceUID="1.2.3.9")
    document = pydicom.dcmread(report(scan))
    assert len([item for item in items_in(document) if item.ValueType == "IMAGE"]) == 1


def test_a_report_beside_the_slices_is_not_of_the_scan(series: Path) -> None:
    before = identify(series)
    shutil.copy(report(series), series / "a.sr.dcm")
    assert identify(series) == before and read_volume(series).frame.size == SIZE


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian: dicom3tools)"
)
@pytest.mark.parametrize("kind", ["series", "multi_frame"])
@pytest.mark.parametrize("more", [{}, {"with_patient": True}, {"by_hand": ["bregma", "Bügelpunkt"]}])
def test_dciodvfy_finds_no_error(kind: str, more: dict[str, Any], request: pytest.FixtureRequest) -> None:
    path = report(request.getfixturevalue(kind), **more)
    finished = subprocess.run(["dciodvfy", path], capture_output=True, encoding="utf-8", errors="replace")
    lines = (finished.stdout + finished.stderr).splitlines()
    assert "Comprehensive3DSR" in lines, lines
    assert [line for line in lines if line.startswith("Error")] == [] and finished.returncode == 0, lines
