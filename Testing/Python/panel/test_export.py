"""Annotate and export through the panel; what is exported can be checked, planned and trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import case_landmarks, read_split
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from train_cli.app import main

Array = NDArray[np.float64]
RAS = [-1, -1, 1]


def export(host: Any, widget: Any, folder: Path) -> str:
    """Click, wait for the end, and give what the panel says."""
    ui = widget.ui
    ui.datasetPathLineEdit.currentPath = str(folder)
    host.run_until(lambda: ui.exportButton.enabled)
    ui.exportButton.click()
    host.run_until(lambda: not widget.panel.export._timer.active)
    return str(ui.exportMessageLabel.text)


def add_head(host: Any, scan: Volume, points: Array, name: str) -> Any:
    """A scan in the scene with both blobs placed by hand."""
    import slicer
    import vtk

    from LandmarkDetectionLib.scene.markups import new_markups
    from LandmarkDetectionLib.scene.volumes import add_volume

    volume = add_volume(scan, name, slicer.mrmlScene)
    markups = new_markups(volume)
    for label, point in zip(("bright", "dark"), points, strict=True):
        markups.AddControlPointWorld(vtk.vtkVector3d(*(point * RAS)), label)
    return volume


def test_a_scan_is_annotated_from_the_landmarks_of_the_model(
    host: Any, a_widget: Any, a_volume_node: Any, the_points: Array, tmp_path: Path
) -> None:
    ui, parameters = a_widget.ui, a_widget.logic.getParameterNode()
    ui.startButton.click()
    host.run_until(lambda: ui.landmarkTable.rowCount == 3)
    assert "3 of 3 still to place (or to mark as absent): bright, dark, nowhere." in ui.unplacedLabel.text
    for row, point in enumerate(the_points):
        parameters.markups.SetNthControlPointPositionWorld(row, *(point * RAS))
    host.run_until(lambda: "1 of 3 still to place" in ui.unplacedLabel.text)
    ui.landmarkTable.selectRow(2)
    ui.absentButton.click()
    host.run_until(lambda: ui.unplacedLabel.text == "")
    ui.patientLineEdit.text = "patient 1"
    assert export(host, a_widget, tmp_path) == f"1 exported to {tmp_path / 'cases.csv'}."
    (case,) = read_split(tmp_path / "cases.csv", supervised=True)
    landmarks = case_landmarks(case, None)
    assert (case.name, case.group) == ("head", "patient 1")
    assert landmarks.names == ("bright", "dark", "nowhere")
    np.testing.assert_allclose(landmarks.positions, [*the_points, [np.nan] * 3], atol=1e-4)


def test_what_only_the_detector_says_is_absent_or_uncertain_is_left_out_until_it_is_confirmed(
    host: Any, a_widget: Any, a_volume_node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    ui = a_widget.ui
    ui.detectButton.click()
    host.run_until(lambda: not a_widget.panel.detect.running)
    host.run_until(lambda: ui.unplacedLabel.text.endswith("or they are left out: nowhere."))
    said = export(host, a_widget, tmp_path)
    assert said.endswith("1 guesses of the detector (uncertain or absent) were left out as unknown.")
    (case,) = read_split(tmp_path / "cases.csv", supervised=True)
    assert case_landmarks(case, None).names == ("bright", "dark")
    ui.landmarkTable.selectRow(2)
    ui.absentButton.click()
    host.run_until(lambda: ui.unplacedLabel.text == "")
    export(host, a_widget, tmp_path)
    (case,) = read_split(tmp_path / "cases.csv", supervised=True)
    assert case_landmarks(case, None).present.tolist() == [True, True, False]


@pytest.mark.parametrize("agreed", [True, False])
def test_points_of_other_names_are_exported_only_with_consent(
    host: Any,
    a_widget: Any,
    a_volume_node: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    agreed: bool,
) -> None:
    import slicer

    asked: list[str] = []

    def answer(text: str) -> bool:
        asked.append(text)
        return agreed

    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", answer)
    a_widget.ui.detectButton.click()
    host.run_until(lambda: not a_widget.panel.detect.running)
    a_widget.logic.getParameterNode().markups.SetNthControlPointLabel(0, "renamed")
    export(host, a_widget, tmp_path)
    assert asked == ["renamed are not in the list of landmarks. Export them as further landmarks?"]
    (case,) = read_split(tmp_path / "cases.csv", supervised=True)
    assert ("renamed" in case_landmarks(case, None).names) == agreed


def test_a_case_that_is_there_is_replaced_only_with_consent(
    host: Any,
    a_widget: Any,
    a_volume_node: Any,
    the_points: Array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: asked.append(text))
    a_widget.ui.startButton.click()
    markups = a_widget.logic.getParameterNode().markups
    markups.SetNthControlPointPositionWorld(0, *(the_points[0] * RAS))
    export(host, a_widget, tmp_path)
    before = (tmp_path / "landmarks" / "head.mrk.json").read_bytes()
    markups.SetNthControlPointPositionWorld(0, *((the_points[0] + 1) * RAS))
    assert export(host, a_widget, tmp_path) == "Nothing was exported."
    assert asked == ["The data set has head already. Replace what it has?"]
    assert (tmp_path / "landmarks" / "head.mrk.json").read_bytes() == before
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text: True)
    export(host, a_widget, tmp_path)
    assert (tmp_path / "landmarks" / "head.mrk.json").read_bytes() != before


def test_the_patient_stays_with_a_case_and_goes_to_no_other_scan(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume, the_points: Array, tmp_path: Path
) -> None:
    ui = a_widget.ui
    volume = add_head(host, a_scan, the_points, "one")
    ui.volumeSelector.setCurrentNode(volume)
    host.run_until(lambda: a_widget.logic.getParameterNode().markups is not None)
    ui.patientLineEdit.text = "patient 1"
    export(host, a_widget, tmp_path)
    ui.volumeSelector.setCurrentNode(a_volume_node)
    host.run_until(lambda: ui.patientLineEdit.text == "")
    add_head(host, a_scan, the_points, "two")
    ui.scopeComboBox.setCurrentIndex(1)
    assert not ui.patientLineEdit.enabled
    export(host, a_widget, tmp_path)
    groups = {case.name: case.group for case in read_split(tmp_path / "cases.csv", supervised=True)}
    assert groups == {"one": "patient 1", "two": ""}


def test_points_of_no_scan_are_left_out_and_named(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume, the_points: Array, tmp_path: Path
) -> None:
    import slicer

    add_head(host, a_scan, the_points, "one")
    lost = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "lost")
    lost.AddControlPoint([1, 2, 3], "x")
    a_widget.ui.scopeComboBox.setCurrentIndex(1)
    said = export(host, a_widget, tmp_path)
    assert said.startswith("1 exported") and "Left out" in said and "lost" in said


def test_every_scan_with_landmarks_is_exported_and_a_bad_one_does_not_stop_the_others(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume, the_points: Array, tmp_path: Path
) -> None:
    for name, shift in (("one", 0), ("far", 500), ("two", 0)):
        add_head(host, a_scan, the_points + shift, name)
    a_widget.ui.scopeComboBox.setCurrentIndex(1)
    said = export(host, a_widget, tmp_path)
    assert said.startswith("2 exported to") and "'bright' lies outside the volume 'far'" in said
    assert [case.name for case in read_split(tmp_path / "cases.csv", supervised=True)] == ["one", "two"]


@pytest.mark.parametrize("names", [("a:b", "a?b"), ("a_b", "A_B")])
def test_two_scans_of_one_name_are_refused(
    host: Any,
    a_widget: Any,
    a_volume_node: Any,
    a_scan: Volume,
    the_points: Array,
    tmp_path: Path,
    names: tuple[str, str],
) -> None:
    for name in names:
        add_head(host, a_scan, the_points, name)
    a_widget.ui.scopeComboBox.setCurrentIndex(1)
    assert "Two scans would become the case 'a_b'" in export(host, a_widget, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_export_is_told(host: Any, a_widget: Any, a_volume_node: Any, tmp_path: Path) -> None:
    assert "choose a scan and its landmarks" in export(host, a_widget, tmp_path)
    a_widget.ui.scopeComboBox.setCurrentIndex(1)
    assert "No scan of the scene has landmarks" in export(host, a_widget, tmp_path)


def test_landmarks_start_from_a_table_or_from_points(
    host: Any, a_widget: Any, a_volume_node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer
    from PySide6.QtWidgets import QFileDialog

    ui, parameters = a_widget.ui, a_widget.logic.getParameterNode()
    (tmp_path / "landmarks.csv").write_text("name,label,group\nsella,1,base\nnasion,2,face\n")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "landmarks.csv"), ""))
    ui.sourceComboBox.setCurrentIndex(1)
    ui.startButton.click()
    host.run_until(lambda: ui.landmarkTable.rowCount == 2)
    assert [ui.landmarkTable.item(row, 0).text() for row in range(2)] == ["sella", "nasion"]
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    own.AddControlPoint([1, 2, 3], "porion")
    parameters.markups = own
    ui.sourceComboBox.setCurrentIndex(2)
    ui.startButton.click()
    host.run_until(lambda: ui.landmarkTable.rowCount == 1)
    assert parameters.markups is own and ui.landmarkTable.item(0, 1).text() == "placed"
    assert ui.exportMessageLabel.text == "All these landmarks are placed already."
    (tmp_path / "landmarks.csv").write_text("something else\n")
    ui.sourceComboBox.setCurrentIndex(1)
    ui.startButton.click()
    assert "the column 'name' is missing" in ui.exportMessageLabel.text


def test_exported_cases_can_be_checked_planned_and_trained(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume, tmp_path: Path
) -> None:
    frame: Frame = a_scan.frame
    noise = np.random.default_rng(3)
    for number in range(4):
        points = frame.index_to_world(noise.uniform(8, 28, (2, 3)))
        voxels = a_scan.voxels + noise.integers(0, 9, a_scan.voxels.shape, dtype=np.int16)
        add_head(host, Volume(voxels, frame), points, f"head {number}")
    a_widget.ui.scopeComboBox.setCurrentIndex(1)
    data = tmp_path / "data"
    assert export(host, a_widget, data).startswith("4 exported")
    cases, config = data / "cases.csv", tmp_path / "config.yaml"
    assert main(["check", str(cases), "--quiet"]) == 0
    assert main(["plan", str(cases), "--output", str(config), "--quiet"]) == 0
    steps = ["--set", "training.epochs=2", "--set", "training.steps_per_epoch=2"]
    run = ["train", str(config), "--output", str(tmp_path / "run"), *steps, "--device", "cpu", "--quiet"]
    assert main(run) == 0
    assert (tmp_path / "run" / "model" / "model.json").is_file()
