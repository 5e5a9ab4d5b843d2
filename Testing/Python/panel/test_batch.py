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
    host.run_until(lambda: ui.batchTable.rowCount > 0 and ui.batchButton.enabled)
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
    assert said.startswith("3 done; results in") and "1 failed" in said and "broken.nii.gz" in said
    listed = rows(a_widget)
    assert [row[0] for row in listed] == ["broken", "empty", "head 1", "head 2"]
    assert [row[3] for row in listed] == ["failed", "to review", "to review", "to review"]
    assert listed[1][1] == "0%"
    names = {path.name for path in (a_folder / "detections").iterdir()}
    assert {"head 1.mrk.json", "head 1.csv", "empty.csv", "summary.csv"} <= names


def test_scans_that_are_too_coarse_for_error_radii_are_named(
    host: Any, a_widget: Any, a_scan: Volume, tmp_path: Path
) -> None:
    write_volume(a_scan, tmp_path / "fine.nii.gz")
    write_volume(a_scan.averaged((1, 1, 2)), tmp_path / "coarse.nii.gz")
    said = detect_in(host, a_widget, tmp_path)
    assert (
        said.startswith("2 done") and "1 to be doubted, the first: coarse, no error radii: the voxels" in said
    )


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
    host.run_until(lambda: a_widget.logic.getParameterNode().dataset == str(tmp_path / "data"))
    assert rows(a_widget)[0][3] == "failed"
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

    asked: list[str] = []
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


def test_corrections_after_accepting_are_not_dropped_either_nor_by_looking_elsewhere(
    host: Any, a_widget: Any, a_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: asked.append(text))
    a_widget.ui.datasetPathLineEdit.currentPath = str(tmp_path / "data")
    detect_in(host, a_widget, a_folder)
    open_case(a_widget, "head 1")
    markups = a_widget.logic.getParameterNode().markups
    markups.SetNthControlPointPosition(0, *(np.array(markups.GetNthControlPointPosition(0)) + 1))
    a_widget.ui.acceptButton.click()
    markups.SetNthControlPointPosition(0, *(np.array(markups.GetNthControlPointPosition(0)) + 1))
    a_widget.exit()
    a_widget.enter()
    host.run_until(lambda: a_widget.ui.acceptButton.enabled)
    open_case(a_widget, "head 2")
    assert asked == ["The corrections of head 1 are not in the data set. Drop them?"]
    assert markups.GetScene() is slicer.mrmlScene
    a_widget.ui.acceptButton.click()
    open_case(a_widget, "head 2")
    assert len(asked) == 1
    nodes = slicer.mrmlScene.GetNumberOfNodesByClass
    assert (nodes("vtkMRMLScalarVolumeDisplayNode"), nodes("vtkMRMLMarkupsFiducialDisplayNode")) == (1, 1)


def test_an_experts_mask_is_not_replaced_without_asking_and_other_landmarks_stay(
    host: Any,
    a_widget: Any,
    a_folder: Path,
    a_scan: Volume,
    the_points: Array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import slicer

    from LandmarkDetectionLib.data.masks import draw_mask
    from LandmarkDetectionLib.data.table import LandmarkTable, write_table

    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: asked.append(text))
    mask, path = tmp_path / "expert.nii.gz", tmp_path / "train.csv"
    drawn = draw_mask(a_scan.frame, the_points[:1] + 3, [1], positive=2, negative=4)
    write_volume(Volume(drawn, a_scan.frame), mask)
    write_table(LandmarkTable.from_names(["porion"]), tmp_path / "landmarks.csv")
    write_split([Case("head 1", a_folder / "head 1.nii.gz", None, mask)], path)
    before = mask.read_bytes()
    detect_in(host, a_widget, path)
    open_case(a_widget, "head 1")
    a_widget.ui.acceptButton.click()
    assert len(asked) == 1 and mask.read_bytes() == before
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    a_widget.ui.acceptButton.click()
    landmarks = case_landmarks(read_split(path, supervised=True)[0], None)
    assert set(landmarks.names) == {"porion", "bright", "dark", "nowhere"}
    np.testing.assert_allclose(landmarks.positions_of(["porion"])[0], the_points[0] + 3, atol=0.3)


def test_detection_and_batch_wait_for_each_other(
    host: Any, a_widget: Any, a_volume_node: Any, a_folder: Path
) -> None:
    ui = a_widget.ui
    ui.batchInputPathLineEdit.currentPath = str(a_folder)
    host.run_until(lambda: ui.batchButton.enabled and ui.batchTable.rowCount == 4)
    ui.detectButton.click()
    host.run_until(lambda: not ui.batchButton.enabled)
    host.run_until(lambda: not a_widget.panel.detect.running)
    host.run_until(lambda: ui.batchButton.enabled)
    ui.batchButton.click()
    host.run_until(lambda: not ui.detectButton.enabled)
    host.run_until(lambda: not a_widget.panel.batch.running)
    host.run_until(lambda: ui.detectButton.enabled)


def test_closing_the_scene_during_a_batch_ends_it_where_it_began(
    host: Any, a_widget: Any, a_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ui = a_widget.ui
    ui.batchInputPathLineEdit.currentPath = str(a_folder)
    host.run_until(lambda: ui.batchTable.rowCount == 4 and ui.batchButton.enabled)
    ui.batchButton.click()
    host.run_until(lambda: (a_folder / "detections" / "empty.csv").is_file())
    slicer.mrmlScene.Clear()
    host.run_until(lambda: not a_widget.panel.batch.running)
    assert list((tmp_path / "here").iterdir()) == []
    assert (a_folder / "detections" / "summary.csv").is_file()


def test_a_drive_that_is_not_there_fails_every_case_and_nothing_else(
    host: Any, a_widget: Any, tmp_path: Path
) -> None:
    path = tmp_path / "train.csv"
    lines = [f"case {number},missing/{number}.nii.gz" for number in range(1500)]
    path.write_text("\n".join(["image_name,image_path", *lines]) + "\n", encoding="utf-8")
    said = detect_in(host, a_widget, path)
    assert said.startswith("0 done") and "1500 failed" in said


def test_results_of_another_model_are_not_taken_for_this_one(
    host: Any, a_widget: Any, a_folder: Path, a_trained_model: Path
) -> None:
    detect_in(host, a_widget, a_folder)
    result, model = a_folder / "detections" / "head 1.csv", a_trained_model / "model.json"
    before, written = result.stat().st_mtime_ns, model.read_text(encoding="utf-8")
    assert a_widget.ui.skipDoneCheckBox.checked
    model.touch()
    detect_in(host, a_widget, a_folder)
    assert result.stat().st_mtime_ns == before, "the same model, touched"
    try:
        model.write_text(written.replace('"threshold": 0.5', '"threshold": 0.45'), encoding="utf-8")
        detect_in(host, a_widget, a_folder)
    finally:
        model.write_text(written, encoding="utf-8")
    assert result.stat().st_mtime_ns > before


def test_results_that_a_person_has_changed_are_kept(host: Any, a_widget: Any, a_folder: Path) -> None:
    detect_in(host, a_widget, a_folder)
    corrected = a_folder / "detections" / "head 1.mrk.json"
    corrected.write_text(corrected.read_text() + "\n")
    (a_folder / "broken.nii.gz").unlink()
    content = corrected.read_text()
    a_widget.ui.skipDoneCheckBox.checked = False
    said = detect_in(host, a_widget, a_folder)
    assert "was changed since this program wrote it" in said and "head 1.mrk.json" in said
    assert corrected.read_text() == content


def test_what_the_command_has_detected_is_done_for_the_panel(
    host: Any, a_widget: Any, a_folder: Path, a_trained_model: Path
) -> None:
    from train_cli.app import main

    output = a_folder / "detections"
    command = ["detect", str(a_folder), "--model", str(a_trained_model), "--output", str(output)]
    assert main([*command, "--quiet", "--device", "cpu"]) == 2, "one is broken"
    before = (output / "head 1.csv").stat().st_mtime_ns
    a_widget.ui.batchInputPathLineEdit.currentPath = str(a_folder)
    host.run_until(lambda: a_widget.ui.batchTable.rowCount == 4)
    assert [row[3] for row in rows(a_widget)] == ["to review"] * 3 + ["to do"]
    detect_in(host, a_widget, a_folder)
    assert (output / "head 1.csv").stat().st_mtime_ns == before


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
    assert ui.batchButton.text == "Cancel"
    ui.batchButton.click()
    host.run_until(lambda: not a_widget.panel.batch.running)
    done = {path: path.stat().st_mtime_ns for path in (a_folder / "detections").glob("*.csv")}
    assert not (a_folder / "detections" / "head 2.csv").exists()
    detect_in(host, a_widget, a_folder)
    assert (a_folder / "detections" / "head 2.csv").is_file()
    again = {path: path.stat().st_mtime_ns for path in done if path.name != "summary.csv"}
    assert again == {path: time for path, time in done.items() if path.name != "summary.csv"}


def test_accepting_a_scan_that_was_removed_is_not_possible(host: Any, a_widget: Any, a_folder: Path) -> None:
    import slicer

    detect_in(host, a_widget, a_folder)
    open_case(a_widget, "head 1")
    assert a_widget.ui.acceptButton.enabled
    slicer.mrmlScene.RemoveNode(a_widget.logic.getParameterNode().volume)
    host.run_until(lambda: not a_widget.ui.acceptButton.enabled)


def test_a_folder_without_scans_is_told(host: Any, a_widget: Any, a_trained_model: Path) -> None:
    a_widget.ui.batchInputPathLineEdit.currentPath = str(a_trained_model)
    host.run_until(lambda: "no scans in this folder" in a_widget.ui.batchMessageLabel.text)


def test_a_folder_that_is_not_there_is_told(host: Any, a_widget: Any, tmp_path: Path) -> None:
    a_widget.ui.batchInputPathLineEdit.currentPath = str(tmp_path / "none")
    host.run_until(lambda: "there is no such file or folder" in a_widget.ui.batchMessageLabel.text)
