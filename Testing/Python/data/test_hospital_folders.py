"""Folders as hospitals have them: patients, several series, localisers, derived images, no endings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from dicom_files import write_series

from LandmarkDetectionLib.data.collect import anonymised, collect_cases, scans_in, series_facts
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.volume import read_volume
from LandmarkDetectionLib.detection.inputs import find_inputs


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Two patients: one with a localiser, two scans and a derived image, one with a scan."""
    folder = tmp_path / "hospital"
    write_series(folder / "Doe" / "head" / "1", uid="1.1", **tags(1, "SCOUT", "LOCALIZER"))
    write_series(folder / "Doe" / "head" / "2", uid="1.2", **tags(2, "Head bone 1.0", "PRIMARY"))
    write_series(folder / "Doe" / "head" / "3", uid="1.3", **tags(3, "Head soft 1.0", "PRIMARY"))
    write_series(folder / "Doe" / "head" / "4", uid="1.4", **tags(4, "MPR", "DERIVED"))
    write_series(folder / "Roe" / "7", uid="2.7", **{**tags(7, "Head BONE", "PRIMARY"), "PatientID": "P2"})
    (folder / "Roe" / "notes.txt").write_text("left ear")
    (folder / ".trash").mkdir()
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return folder


def tags(number: int, description: str, kind: str) -> dict[str, object]:
    return {
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "StudyDate": "20260102",
        "SeriesNumber": number,
        "SeriesDescription": description,
        "ImageType": ["ORIGINAL" if kind != "DERIVED" else "DERIVED", "PRIMARY", kind],
    }


def test_several_scans_of_a_patient_take_a_choice_and_stop_nobody_else(hospital: Path) -> None:
    roe, doe = scans_in(hospital)
    assert (roe.name, roe.problem, doe.name) == ("Roe_7", "", "Doe_head")
    assert "several DICOM series of one patient" in doe.problem
    assert "2: Head bone 1.0, 12 files; 3: Head soft 1.0, 12 files" in doe.problem
    assert "BONE" not in doe.problem and "--series" in doe.problem and "--each" in doe.problem
    assert [item.problem for item in find_inputs(hospital)] == ["", doe.problem]
    with pytest.raises(InputError, match="several DICOM series of one patient"):
        scans_in(hospital / "Doe")
    with pytest.raises(InputError, match="several DICOM series of one patient"):
        collect_cases(hospital)


@pytest.mark.parametrize(
    ("wish", "names"),
    [
        ("bone", ["Doe_head_2", "Roe_7"]),
        ("HEAD 1.0 soft", ["Doe_head_3"]),
        ("7", ["Roe_7"]),
        ("1.4", ["Doe_head_4"]),
        ("scout", ["Doe_head_1"]),
    ],
)
def test_a_series_is_chosen_by_number_uid_or_words(hospital: Path, wish: str, names: list[str]) -> None:
    scans = scans_in(hospital, series=wish)
    assert [scan.name for scan in scans] == names
    assert all(read_volume(scan.path).frame.size == (7, 8, 12) for scan in scans)


def test_a_series_that_is_not_there(hospital: Path) -> None:
    with pytest.raises(InputError, match="no DICOM series 'lung' here; there are 1: SCOUT"):
        scans_in(hospital, series="lung")


def test_each_takes_all_but_localisers(hospital: Path) -> None:
    names = [item.case.name for item in find_inputs(hospital, each=True)]
    assert names == ["Doe_head_2", "Doe_head_3", "Doe_head_4", "Roe_7"]


def test_one_scan_of_each_patient_takes_no_choice(hospital: Path) -> None:
    for path in (hospital / "Doe" / "head" / "3").iterdir():
        path.unlink()
    for given in (hospital, hospital / "DICOMDIR"):
        assert [item.case.name for item in find_inputs(given)] == ["Doe_head_2", "Roe_7"]


def test_several_series_in_one_folder_have_their_numbers(tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(
            tmp_path / "all", uid=f"1.{number}", prefix=f"s{number}", SeriesNumber=number, PatientID="P"
        )
    first, second = scans_in(tmp_path / "all", each=True)
    assert (first.name, second.name) == ("all_1", "all_2")
    assert (first.path.name, second.path.name) == ("s1000", "s2000")


def test_a_damaged_file_costs_only_its_own_folder(hospital: Path) -> None:
    damaged = next((hospital / "Roe" / "7").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:200])
    scans = {scan.name: scan.path for scan in scans_in(hospital, series="bone")}
    assert read_volume(scans["Doe_head_2"]).frame.size == (7, 8, 12)
    with pytest.raises(InputError, match="damaged"):
        read_volume(scans["Roe_7"])


def test_series_of_one_patient_are_one_group(hospital: Path) -> None:
    for name in ("Doe_head_2", "Doe_head_3", "Roe_7"):
        (hospital / f"{name}.csv").write_text("name,x,y,z\nL1,0,0,0\n")
    cases = collect_cases(hospital, each=True)
    assert {case.name: case.group for case in cases} == {
        "Doe_head_2": "P1",
        "Doe_head_3": "P1",
        "Roe_7": "P2",
    }
    named = [(case.name, case.group) for case in anonymised(cases)]
    assert named == [("case-1", "1"), ("case-2", "1"), ("case-3", "2")]


def test_what_is_there_is_listed(hospital: Path) -> None:
    rows = series_facts(hospital)
    assert [row["series"] for row in rows] == ["1", "2", "3", "4", "7"]
    assert [row["kind"] for row in rows] == ["localiser", "scan", "scan", "derived", "scan"]
    assert rows[1]["size"] == "7 x 8 x 12" and rows[1]["spacing_mm"] == "0.5 x 0.75 x 2"
    assert rows[4]["patient"] == "P2" and not any(row["problem"] for row in rows)
    hidden = str(series_facts(hospital, anonymous=True))
    assert not any(word in hidden for word in ("P1", "Doe", "Roe", "2026"))
    assert "Head bone 1.0" in hidden


def test_a_patient_with_nothing_but_a_derived_series_is_not_forgotten(hospital: Path) -> None:
    roe = {**tags(8, "Head lossy", "DERIVED"), "PatientID": "P3"}
    write_series(hospital / "Poe" / "8", uid="3.8", **roe)
    names = [scan.name for scan in scans_in(hospital, series="bone")]
    assert names == ["Doe_head_2", "Roe_7"]
    assert [scan.name for scan in scans_in(hospital)] == ["Poe_8", "Roe_7", "Doe_head"]
    shutil.rmtree(hospital / "Doe" / "head" / "3")
    assert [scan.name for scan in scans_in(hospital)] == ["Doe_head_2", "Poe_8", "Roe_7"]


def test_each_study_of_a_patient_has_its_scan(hospital: Path) -> None:
    later = {**tags(2, "Head bone 1.0", "PRIMARY"), "StudyInstanceUID": "1.2.4"}
    write_series(hospital / "Doe" / "later", uid="1.9", **later)
    shutil.rmtree(hospital / "Doe" / "head" / "3")
    assert [scan.name for scan in scans_in(hospital)] == ["Doe_head_2", "Doe_later", "Roe_7"]


def test_a_series_in_two_folders_says_so_and_a_copy_of_one_does_not(hospital: Path) -> None:
    shutil.copytree(hospital / "Roe" / "7", hospital / "Roe" / "copy")
    assert all(read_volume(scan.path) for scan in scans_in(hospital / "Roe", each=True))
    for number in range(6):
        (hospital / "Roe" / "7" / f"slice{number:03d}").unlink()
        (hospital / "Roe" / "copy" / f"slice{number + 6:03d}").unlink()
    facts = series_facts(hospital / "Roe")
    assert len(facts) == 2
    assert all(
        "a part of the DICOM series 7, other parts of which lie in other folders" in row["problem"]
        for row in facts
    )


def test_folders_behind_links_are_searched_once(hospital: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for name in ("Doe", "Roe"):
        (tmp_path / "linked" / name).symlink_to(hospital / name)
    (hospital / "Doe" / "loop").symlink_to(hospital)
    names = [scan.name for scan in scans_in(tmp_path / "linked", each=True)]
    assert len(names) == 4 and len(set(names)) == 4


def test_two_series_whose_slices_have_the_same_identifiers(tmp_path: Path) -> None:
    for number in (1, 2):
        write_series(
            tmp_path,
            uid=f"1.{number}",
            prefix=f"series{number}_",
            change=lambda slice_, tags: setattr(tags, "SOPInstanceUID", f"1.2.{slice_}"),
            **tags(number, "head", "PRIMARY"),
        )
    assert [row["files"] for row in series_facts(tmp_path)] == ["12", "12"]
