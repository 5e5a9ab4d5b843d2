"""A batch through the panel: detect in a folder, look at the doubtful ones first, correct, accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import Case, case_landmarks, read_split, write_split
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.volume import Volume, write_volume

Array = NDArray[np.float64]


@pytest.fixture
def a_folder(a_scan: Volume, tmp_path: Path) -> Path:
    """Two scans with blobs, one without, and a file that is none."""
    folder = tmp_path / "scans"
    for name in ("head 1", "head 2"):
        write_volume(a_scan, folder / f"{name}.nii.gz")
    write_volume(Volume(np.full_like(a_scan.voxels, 1000), a_scan.frame), folder / "empty.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"nothing")
    return folder


def detect_in(host: Any, widget: Any, source: Path) -> str:
    """Choose, click, wait for the end, and give what the panel says."""
    ui = widget.ui
    ui.batchInputPathLineEdit.currentPath = str(source)
    host.run_until(lambda: ui.batchTable.rowCount > 0)
    ui.batchButton.click()
    host.run_until(lambda: not widget.panel.batch.running)
    return str(ui.batchMessageLabel.text)


def rows(widget: Any) -> list[list[str]]:
    table = widget.ui.batchTable
    return [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]


def open_case(widget: Any, name: str) -> None:
    row = [cells[0] for cells in rows(widget)].index(name)
    widget.ui.batchTable.cellClicked.emit(row, 0)


def test_failed_cases_come_first_then_the_most_doubtful(host: Any, a_widget: Any, a_folder: Path) -> None:
    said = detect_in(host, a_widget, a_folder)
    assert said.startswith("3 scans; results in") and "1 failed" in said and "broken.nii.gz" in said
    listed = rows(a_widget)
    assert [row[0] for row in listed] == ["broken", "empty", "head 1", "head 2"]
    assert [row[3] for row in listed] == ["failed", "to review", "to review", "to review"]
    assert listed[1][1] == "0%"
    names = {path.name for path in (a_folder / "detections").iterdir()}
    assert {"head 1.mrk.json", "head 1.csv", "empty.csv", "summary.csv"} <= names


def test_a_click_opens_a_case_with_its_landmarks_and_accepting_writes_it_to_the_data_set(
    host: Any, a_widget: Any, a_folder: Path, the_points: Array, tmp_path: Path
) -> None:
    import slicer

    detect_in(host, a_widget, a_folder)
    open_case(a_widget, "head 1")
    parameters = a_widget.logic.getParameterNode()
    assert parameters.volume.GetName() == "head 1"
    found = slicer.util.arrayFromMarkupsControlPoints(parameters.markups, world=True)[:2] * [-1, -1, 1]
    np.testing.assert_allclose(found, the_points, atol=1.0)
    a_widget.ui.acceptButton.click()
    assert "Choose a data set folder" in a_widget.ui.batchMessageLabel.text
    a_widget.ui.datasetPathLineEdit.currentPath = str(tmp_path / "data")
    parameters.markups.SetNthControlPointPositionWorld(0, *(the_points[0] * [-1, -1, 1]))
    a_widget.ui.acceptButton.click()
    (case,) = read_split(tmp_path / "data" / "cases.csv", supervised=True)
    assert case.image_path.samefile(a_folder / "head 1.nii.gz")
    np.testing.assert_allclose(case_landmarks(case, None).positions[0], the_points[0], atol=1e-4)
    assert ["head 1", "accepted"] in [[row[0], row[3]] for row in rows(a_widget)]
    open_case(a_widget, "head 2")
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
    open_case(a_widget, "head 1")
    corrected = slicer.util.arrayFromMarkupsControlPoints(parameters.markups, world=True)[0] * [-1, -1, 1]
    np.testing.assert_allclose(corrected, the_points[0], atol=1e-4)


def test_corrections_are_not_dropped_without_asking(
    host: Any, a_widget: Any, a_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    asked = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: asked.append(text))
    detect_in(host, a_widget, a_folder)
    open_case(a_widget, "head 1")
    parameters = a_widget.logic.getParameterNode()
    open_case(a_widget, "head 2")
    assert asked == []
    parameters.markups.SetNthControlPointPositionWorld(0, 1, 2, 3)
    open_case(a_widget, "head 1")
    assert asked == ["The corrections of head 2 are not in the data set. Drop them?"]
    assert parameters.volume.GetName() == "head 2"


def test_the_cases_of_a_csv_are_written_back_to_it(
    host: Any,
    a_widget: Any,
    a_folder: Path,
    the_points: Array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import slicer

    known = tmp_path / "known" / "head 1.mrk.json"
    write_landmarks(LandmarkSet(["bright"], the_points[:1] + 3), known)
    path = tmp_path / "train.csv"
    first = Case("head 1", a_folder / "head 1.nii.gz", known, group="family")
    write_split([first, Case("head 2", a_folder / "head 2.nii.gz")], path)
    detect_in(host, a_widget, path)
    open_case(a_widget, "head 1")
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: False)
    before = known.read_bytes()
    a_widget.ui.acceptButton.click()
    assert known.read_bytes() == before
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    a_widget.ui.acceptButton.click()
    case = read_split(path, supervised=False)[0]
    assert (case.name, case.group, case.landmark_path) == ("head 1", "family", known)
    np.testing.assert_allclose(case_landmarks(case, None).positions[:2], the_points, atol=1.0)
    assert [case.name for case in read_split(path, supervised=False)] == ["head 1", "head 2"]


def test_a_batch_goes_on_where_it_stopped(host: Any, a_widget: Any, a_folder: Path) -> None:
    ui = a_widget.ui
    ui.batchInputPathLineEdit.currentPath = str(a_folder)
    host.run_until(lambda: ui.batchTable.rowCount == 4 and ui.batchButton.enabled)
    assert [row[3] for row in rows(a_widget)] == ["to do"] * 4
    ui.batchButton.click()
    host.run_until(lambda: (a_folder / "detections" / "empty.csv").is_file())
    assert ui.batchButton.text == "Cancel" and not ui.detectButton.enabled
    ui.batchButton.click()
    host.run_until(lambda: not a_widget.panel.batch.running)
    done = {path: path.stat().st_mtime_ns for path in (a_folder / "detections").glob("*.csv")}
    assert not (a_folder / "detections" / "head 2.csv").exists()
    detect_in(host, a_widget, a_folder)
    assert (a_folder / "detections" / "head 2.csv").is_file()
    again = {path: path.stat().st_mtime_ns for path in done if path.name != "summary.csv"}
    assert again == {path: time for path, time in done.items() if path.name != "summary.csv"}


def test_a_folder_that_is_not_there_is_told(host: Any, a_widget: Any, tmp_path: Path) -> None:
    a_widget.ui.batchInputPathLineEdit.currentPath = str(tmp_path / "none")
    host.run_until(lambda: "there is no such file or folder" in a_widget.ui.batchMessageLabel.text)
