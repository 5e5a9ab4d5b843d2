"""Detect, through the panel: real clicks, a real worker process, a real scene."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.model.bundle import VERSION
from LandmarkDetectionLib.worker.protocol import Progress

Array = NDArray[np.float64]


def detect(host: Any, widget: Any) -> str:
    """Click, wait for the end, and give what the panel says."""
    widget.ui.detectButton.click()
    host.run_until(lambda: not widget.panel.detect.running)
    return str(widget.ui.messageLabel.text)


def world_points(markups: Any) -> dict[str, Array]:
    """Where Slicer shows the points, RAS; those without a position are left out."""
    points = {}
    for row in range(markups.GetNumberOfControlPoints()):
        if markups.GetNthControlPointPositionStatus(row) == markups.PositionDefined:
            place = [0.0, 0.0, 0.0]
            markups.GetNthControlPointPositionWorld(row, place)
            points[markups.GetNthControlPointLabel(row)] = np.array(place)
    return points


def table_of(widget: Any) -> list[list[str]]:
    table = widget.ui.landmarkTable
    return [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]


def statuses(widget: Any) -> dict[str, str]:
    return {row[0]: row[1] for row in table_of(widget)}


def markups_of(widget: Any) -> Any:
    return widget.logic.getParameterNode().markups


@pytest.mark.parametrize("transform", ["none", "linear", "bent"])
def test_the_fiducials_sit_on_the_anatomy_in_the_world(
    host: Any, a_widget: Any, a_volume_node: Any, the_points: Array, transform: str
) -> None:
    import slicer
    import vtk

    to_world = vtk.vtkGeneralTransform()
    if transform != "none":
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "pose")
        if transform == "linear":
            pose = vtk.vtkTransform()
            pose.Translate(10, 20, -5)
            pose.RotateWXYZ(70, 1, 2, 3)
        else:
            pose = vtk.vtkThinPlateSplineTransform()
            pose.SetBasisToR()
            rng = np.random.default_rng(0)
            source, target = vtk.vtkPoints(), vtk.vtkPoints()
            for point in rng.uniform(-90, 90, (12, 3)):
                source.InsertNextPoint(point)
                target.InsertNextPoint(point + rng.uniform(-9, 9, 3))
            pose.SetSourceLandmarks(source)
            pose.SetTargetLandmarks(target)
        node.SetAndObserveTransformToParent(pose)
        a_volume_node.SetAndObserveTransformNodeID(node.GetID())
        to_world.Concatenate(pose)
    said = detect(host, a_widget)
    assert said.startswith("2 found, 0 uncertain, 1 absent"), said
    found = world_points(markups_of(a_widget))
    for name, point in zip(("bright", "dark"), the_points, strict=True):
        np.testing.assert_allclose(found[name], to_world.TransformPoint(point * [-1, -1, 1]), atol=1.0)


def test_the_list_shows_what_was_found_and_a_click_goes_there(
    host: Any, a_widget: Any, a_volume_node: Any, the_points: Array
) -> None:
    import slicer

    slice_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    slice_node.SetLayoutName("Red")
    camera = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode")
    detect(host, a_widget)
    host.run_until(lambda: a_widget.ui.landmarkTable.rowCount == 3)
    rows = table_of(a_widget)
    assert [row[:2] for row in rows] == [["bright", "found"], ["dark", "found"], ["nowhere", "absent"]]
    assert [row[3] for row in rows] == ["1.2", "0.75", ""]
    assert all(float(row[2].rstrip("%")) > 50 for row in rows[:2])
    assert a_widget.ui.summaryLabel.text == "1 absent, 2 found"
    assert a_widget.ui.landmarkTable.item(0, 0).toolTip() == "the middle of the bright blob"
    a_widget.ui.landmarkTable.selectRow(1)
    place = [slice_node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    np.testing.assert_allclose(place, world_points(markups_of(a_widget))["dark"], atol=1e-3)
    np.testing.assert_allclose(camera.GetFocalPoint(), place, atol=1e-3)


@pytest.mark.parametrize("stage", ["prepare", "locate", "refine", "detect"])
def test_the_bar_says_in_words_what_an_engine_is_doing(a_widget: Any, stage: str) -> None:
    a_widget.panel.detect.on_progress(Progress(1, stage, 0.5, 12.4))
    said = a_widget.ui.progressBar.format
    assert said.endswith(", 12 s left") and " " in said.split(",")[0] and stage not in said.split()


def test_a_scan_that_is_too_coarse_for_error_radii_is_said(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume
) -> None:
    import slicer

    from LandmarkDetectionLib.scene.volumes import add_volume

    assert "error radii" not in detect(host, a_widget)
    coarse = add_volume(a_scan.averaged((1, 1, 2)), "coarse", slicer.mrmlScene)
    a_widget.ui.volumeSelector.setCurrentNode(coarse)
    said = detect(host, a_widget)
    assert "found" in said and said.endswith("that the model was calibrated on."), said
    host.run_until(lambda: a_widget.ui.landmarkTable.rowCount == 3)
    assert [row[3] for row in table_of(a_widget)] == ["", "", ""]


def test_the_list_can_be_kept_to_one_group(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    detect(host, a_widget)
    host.run_until(lambda: a_widget.ui.groupComboBox.count == 3)
    a_widget.ui.groupComboBox.setCurrentIndex(a_widget.ui.groupComboBox.findText("others"))
    assert [row[0] for row in table_of(a_widget)] == ["nowhere"]


def test_a_second_detection_keeps_what_a_person_moved_and_says_so(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    import slicer

    detect(host, a_widget)
    markups = markups_of(a_widget)
    markups.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    host.run_until(lambda: statuses(a_widget).get("bright") == "placed")
    said = detect(host, a_widget)
    assert said.startswith("1 found, 0 uncertain, 1 absent")
    assert said.endswith("Kept as you placed or locked them: bright.")
    np.testing.assert_allclose(world_points(markups)["bright"], [1, 2, 3], atol=1e-6)
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")) == 1


def click_in_a_view(markups: Any, place: tuple[float, float, float]) -> None:
    """What Slicer does when a person clicks in place mode: the point gets its position, the mode ends."""
    import slicer

    row = markups.GetControlPointPlacementStartIndex()
    markups.SetNthControlPointPositionWorld(row, *place)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    markups.Modified()


def test_landmarks_are_placed_one_after_the_other(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    import slicer

    ui = a_widget.ui
    ui.startButton.click()
    host.run_until(lambda: ui.landmarkTable.rowCount == 3)
    ui.landmarkTable.selectRow(0)
    ui.placeButton.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    for name, definition in (
        ("bright", "the middle of the bright blob"),
        ("dark", "the middle of the dark blob"),
        ("nowhere", "what no scan has"),
    ):
        host.run_until(lambda name=name: ui.placeLabel.text.startswith(f"Click on {name} in a view."))
        assert ui.placeLabel.text.endswith(definition)
        assert interaction.GetCurrentInteractionMode() == interaction.Place
        click_in_a_view(markups_of(a_widget), (7.0, 8.0, 9.0))
        host.run_until(lambda name=name: statuses(a_widget)[name] == "placed")
    host.run_until(lambda: not ui.placeButton.checked)
    assert ui.placeLabel.text == ""


def test_a_landmark_is_what_it_was_when_placing_is_given_up(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    import slicer

    ui = a_widget.ui
    detect(host, a_widget)
    host.run_until(lambda: ui.landmarkTable.rowCount == 3)
    before = table_of(a_widget)
    for row in (0, 2):
        ui.landmarkTable.selectRow(row)
        ui.placeButton.click()
        host.run_until(lambda row=row: table_of(a_widget)[row][1] == "to place")
        if row == 0:
            ui.placeButton.click()
        else:  # Esc in a view
            interaction = slicer.app.applicationLogic().GetInteractionNode()
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        host.run_until(lambda: table_of(a_widget) == before)
    assert not ui.placeButton.checked


def test_what_was_detected_can_be_confirmed_and_is_a_persons_from_then_on(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    ui = a_widget.ui
    detect(host, a_widget)
    host.run_until(lambda: ui.landmarkTable.rowCount == 3)
    ui.landmarkTable.selectRow(0)
    ui.confirmButton.click()
    host.run_until(lambda: table_of(a_widget)[0] == ["bright", "placed", "", ""])
    ui.landmarkTable.selectRow(2)
    assert ui.absentButton.enabled and not ui.confirmButton.enabled
    ui.absentButton.click()
    host.run_until(lambda: table_of(a_widget)[2] == ["nowhere", "absent", "", ""])
    assert detect(host, a_widget).endswith("Kept as you placed or locked them: bright, nowhere.")


def test_a_point_that_was_deleted_is_listed_and_can_be_placed_again(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    detect(host, a_widget)
    markups_of(a_widget).RemoveNthControlPoint(0)
    host.run_until(lambda: statuses(a_widget).get("bright") == "to place")
    row = [cells[0] for cells in table_of(a_widget)].index("bright")
    a_widget.ui.landmarkTable.selectRow(row)
    a_widget.ui.placeButton.click()
    click_in_a_view(markups_of(a_widget), (4.0, 5.0, 6.0))
    host.run_until(lambda: statuses(a_widget)["bright"] == "placed")
    np.testing.assert_allclose(world_points(markups_of(a_widget))["bright"], [4, 5, 6], atol=1e-6)


def test_the_line_about_a_detection_does_not_stand_over_another_scan(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume
) -> None:
    import slicer

    from LandmarkDetectionLib.scene.volumes import add_volume

    detect(host, a_widget)
    first = markups_of(a_widget)
    a_widget.ui.volumeSelector.setCurrentNode(add_volume(a_scan, "another", slicer.mrmlScene))
    host.run_until(lambda: a_widget.ui.messageLabel.text == "")
    a_widget.ui.markupsSelector.setCurrentNode(first)
    host.run_until(lambda: a_widget.ui.messageLabel.text.startswith("'head landmarks' are the landmarks of"))


def test_a_landmark_can_be_given_back_to_the_detector(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    detect(host, a_widget)
    markups_of(a_widget).SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    markups_of(a_widget).SetNthControlPointLocked(0, True)
    host.run_until(lambda: statuses(a_widget).get("bright") == "placed")
    a_widget.ui.landmarkTable.selectRow(0)
    a_widget.ui.releaseButton.click()
    host.run_until(lambda: statuses(a_widget)["bright"] == "to place")
    detect(host, a_widget)
    host.run_until(lambda: statuses(a_widget)["bright"] == "found")


def test_a_landmark_can_be_called_absent(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    detect(host, a_widget)
    host.run_until(lambda: a_widget.ui.landmarkTable.rowCount == 3)
    a_widget.ui.landmarkTable.selectRow(0)
    a_widget.ui.absentButton.click()
    host.run_until(lambda: table_of(a_widget)[0] == ["bright", "absent", "", ""])
    assert "bright" not in world_points(markups_of(a_widget))


def test_doubtful_landmarks_can_be_hidden(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    detect(host, a_widget)
    a_widget.ui.leastConfidenceSliderWidget.value = 1.0
    a_widget.ui.showUncertainCheckBox.click()
    markups = markups_of(a_widget)
    host.run_until(lambda: not markups.GetNthControlPointVisibility(0))
    host.run_until(lambda: [row[1] for row in table_of(a_widget)] == ["uncertain", "uncertain", "absent"])
    markups.SetNthControlPointVisibility(2, False)  # by a person, in the module Markups
    a_widget.ui.showUncertainCheckBox.click()
    host.run_until(lambda: markups.GetNthControlPointVisibility(0))
    assert not markups.GetNthControlPointVisibility(2)


def test_cancel_leaves_no_node_and_the_worker_ready(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    import slicer

    worker = start_worker(host, a_widget)
    a_widget.ui.detectButton.click()
    assert a_widget.ui.detectButton.text == "Cancel"
    host.run_until(lambda: a_widget.panel.client.detecting)
    a_widget.ui.detectButton.click()
    host.run_until(lambda: not a_widget.panel.detect.running)
    assert a_widget.ui.messageLabel.text == "The detection was cancelled."
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []
    assert a_widget.ui.detectButton.text == "Detect" and a_widget.ui.detectButton.enabled
    assert detect(host, a_widget).startswith("2 found")
    assert a_widget.panel.client._worker_id == worker
    assert len(list(a_widget.panel.detect._upload._folder.iterdir())) == 1


def test_a_killed_worker_is_told_and_the_next_click_starts_another(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    import slicer

    worker = start_worker(host, a_widget)
    a_widget.ui.detectButton.click()
    host.run_until(lambda: a_widget.panel.client.detecting)
    os.kill(worker, signal.SIGKILL)
    host.run_until(lambda: not a_widget.panel.detect.running)
    assert a_widget.ui.messageLabel.text == (
        "The worker stopped unexpectedly (crashed, or ended for want of memory): "
        "detect again; what it said is in the log."
    )
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []
    assert detect(host, a_widget).startswith("2 found")


def test_a_worker_that_hangs_is_ended_when_it_does_not_cancel(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    worker = start_worker(host, a_widget)
    os.kill(worker, signal.SIGSTOP)
    a_widget.panel.client._patience.setInterval(100)
    a_widget.ui.detectButton.click()
    host.run_until(lambda: a_widget.panel.client.detecting)
    a_widget.ui.detectButton.click()
    host.run_until(lambda: not a_widget.panel.detect.running)
    assert a_widget.ui.messageLabel.text == "The detection was cancelled."
    host.run_until(lambda: not is_alive(worker))
    assert detect(host, a_widget).startswith("2 found")


def test_closing_the_module_leaves_no_worker_and_no_file(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    worker = start_worker(host, a_widget)
    detect(host, a_widget)
    folder = a_widget.panel.detect._upload._folder
    assert list(folder.iterdir())
    a_widget.cleanup()
    host.run_until(lambda: not is_alive(worker))
    assert not folder.exists()


def test_closing_the_scene_during_a_detection_drops_it(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    import slicer

    a_widget.ui.detectButton.click()
    host.run_until(lambda: a_widget.panel.client.detecting)
    slicer.mrmlScene.Clear()
    host.run_until(lambda: not a_widget.panel.detect.running)
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []
    assert markups_of(a_widget) is None
    assert not a_widget.ui.detectButton.enabled


def test_a_scan_removed_during_its_detection_is_told(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    import slicer

    a_widget.ui.detectButton.click()
    host.run_until(lambda: a_widget.panel.client.detecting)
    slicer.mrmlScene.RemoveNode(a_volume_node)
    host.run_until(lambda: not a_widget.panel.detect.running)
    assert a_widget.ui.messageLabel.text == "The scan is no longer in the scene: its landmarks were dropped."
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []


def test_an_unchanged_scan_is_handed_over_once(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    import slicer

    detect(host, a_widget)
    upload = a_widget.panel.detect._upload
    first = upload._shared
    detect(host, a_widget)
    assert upload._shared is first
    voxels = slicer.util.arrayFromVolume(a_volume_node)
    voxels[:] = 1000
    slicer.util.arrayFromVolumeModified(a_volume_node)
    said = detect(host, a_widget)
    assert said.startswith("0 found") and "all its voxels are 1000" in said
    assert len(list(upload._folder.iterdir())) == 1


def test_opening_the_module_again_changes_nothing_that_was_begun(
    host: Any, a_widget: Any, a_volume_node: Any
) -> None:
    a_widget.ui.detectButton.click()
    a_widget.exit()
    a_widget.enter()
    host.run_until(lambda: not a_widget.panel.detect.running)
    assert a_widget.ui.messageLabel.text.startswith("2 found")


def test_a_result_that_comes_after_cancel_is_dropped(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    from LandmarkDetectionLib.worker.protocol import Result

    client = a_widget.panel.client
    a_widget.ui.detectButton.click()
    host.run_until(lambda: client.detecting)
    a_widget.ui.detectButton.click()
    client._handle(Result(client._number, (), 1.0, "cpu"))
    assert a_widget.ui.messageLabel.text == "The detection was cancelled."
    assert markups_of(a_widget) is None


def test_landmarks_go_where_they_were_meant_to_go_at_the_click(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume
) -> None:
    import slicer

    from LandmarkDetectionLib.scene.markups import volume_of_markups
    from LandmarkDetectionLib.scene.volumes import add_volume

    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "a list of one's own")
    a_widget.ui.detectButton.click()
    other = add_volume(a_scan, "another", slicer.mrmlScene)
    a_widget.ui.volumeSelector.setCurrentNode(other)
    a_widget.ui.markupsSelector.setCurrentNode(own)
    host.run_until(lambda: not a_widget.panel.detect.running)
    assert own.GetNumberOfControlPoints() == 0 and volume_of_markups(own) is None
    made = [node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") if node is not own]
    assert [volume_of_markups(node) for node in made] == [a_volume_node]
    assert a_widget.logic.getParameterNode().volume is other


def test_landmarks_of_a_scan_that_is_gone_are_not_taken_for_another(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume
) -> None:
    import slicer

    from LandmarkDetectionLib.scene.volumes import add_volume

    detect(host, a_widget)
    first = markups_of(a_widget)
    before = world_points(first)
    slicer.mrmlScene.RemoveNode(a_volume_node)
    add_volume(Volume(a_scan.voxels[::-1].copy(), a_scan.frame), "another", slicer.mrmlScene)
    host.run_until(lambda: a_widget.ui.detectButton.enabled and markups_of(a_widget) is None)
    detect(host, a_widget)
    assert markups_of(a_widget) is not first
    np.testing.assert_equal(world_points(first), before)


def test_a_label_map_is_not_taken_for_a_scan(host: Any, a_module: Any, a_scan: Volume) -> None:
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
    widget = host.open_widget(a_module)
    assert widget.logic.getParameterNode().volume is None
    widget.cleanup()


def test_landmarks_of_another_scan_are_left_alone(
    host: Any, a_widget: Any, a_volume_node: Any, a_scan: Volume
) -> None:
    import slicer

    from LandmarkDetectionLib.scene.volumes import add_volume

    detect(host, a_widget)
    first, before = markups_of(a_widget), world_points(markups_of(a_widget))
    second = add_volume(Volume(a_scan.voxels[::-1].copy(), a_scan.frame), "other head", slicer.mrmlScene)
    a_widget.ui.volumeSelector.setCurrentNode(second)
    host.run_until(lambda: markups_of(a_widget) is None)
    detect(host, a_widget)
    assert markups_of(a_widget) is not first
    np.testing.assert_equal(world_points(first), before)
    a_widget.ui.volumeSelector.setCurrentNode(a_volume_node)
    host.run_until(lambda: markups_of(a_widget) is first)


def test_settings_are_saved_with_the_scene(
    host: Any, a_module: Any, a_widget: Any, a_volume_node: Any, tmp_path: Path
) -> None:
    import slicer

    detect(host, a_widget)
    a_widget.ui.leastConfidenceSliderWidget.value = 0.35
    a_widget.ui.datasetPathLineEdit.currentPath = str(tmp_path / "Münze data")
    a_widget.ui.deviceComboBox.setCurrentIndex(a_widget.ui.deviceComboBox.findData("cpu"))
    model = a_widget.logic.getParameterNode().model
    for node, kind, name in (
        (a_volume_node, "vtkMRMLVolumeArchetypeStorageNode", "head.nrrd"),
        (markups_of(a_widget), "vtkMRMLMarkupsJsonStorageNode", "head.mrk.json"),
    ):
        storage = slicer.mrmlScene.AddNewNodeByClass(kind)
        storage.SetFileName(str(tmp_path / name))
        node.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.WriteData(node)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear()
    host.run_until(lambda: a_widget.ui.leastConfidenceSliderWidget.value == 0.0)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    host.run_until(lambda: a_widget.ui.landmarkTable.rowCount == 3)
    settings = a_widget.logic.getParameterNode()
    assert settings.volume.GetName() == "head" and settings.markups is markups_of(a_widget)
    assert (settings.model, settings.device) == (model, "cpu")
    assert a_widget.ui.leastConfidenceSliderWidget.value == 0.35
    assert a_widget.ui.datasetPathLineEdit.currentPath == str(tmp_path / "Münze data")
    assert a_widget.ui.deviceComboBox.currentData == "cpu"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda model: (model / "weights.safetensors").unlink(), "the weights are missing"),
        (lambda model: (model / "weights.safetensors").write_bytes(b"x"), "the weights are damaged"),
        (lambda model: edit(model, engine="magic"), "the engine 'magic' is not known"),
    ],
)
def test_a_damaged_model_is_told_in_one_sentence(
    host: Any,
    a_widget: Any,
    a_volume_node: Any,
    a_trained_model: Path,
    tmp_path: Path,
    damage: Any,
    said: str,
) -> None:
    copy = copied(a_trained_model, tmp_path / "bad model")
    damage(copy)
    a_widget.panel.detect.list_models(select=a_widget.panel.detect._models.choose_folder(copy))
    assert said in detect(host, a_widget)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"version": 99}, f"the model has version 99, this program reads version {VERSION}"),
        ({"format": "other"}, "the field 'format' is not"),
        ({"landmarks": None}, "a field is wrong"),
    ],
)
def test_a_model_that_cannot_be_read_says_why_where_it_is_chosen(
    a_widget: Any,
    a_volume_node: Any,
    a_trained_model: Path,
    tmp_path: Path,
    fields: dict[str, Any],
    said: str,
) -> None:
    copy = copied(a_trained_model, tmp_path / "bad model")
    edit(copy, **fields)
    a_widget.panel.detect.list_models(select=a_widget.panel.detect._models.choose_folder(copy))
    assert said in a_widget.ui.modelInfoLabel.text
    assert not a_widget.ui.detectButton.enabled


def test_the_panel_says_what_the_model_is(a_widget: Any) -> None:
    assert a_widget.ui.modelComboBox.currentText == "blobs"
    for part in ("3 landmarks", "1 mm", "90% of the landmarks", "within 1.2 mm", "60 cases", "CC0-1.0"):
        assert part in a_widget.ui.modelInfoLabel.text


def test_the_model_in_the_box_is_offered_to_someone_who_has_none(host: Any, a_module: Any) -> None:
    widget = host.open_widget(a_module)
    assert widget.ui.modelComboBox.currentText == "mouse-skull-microct"
    assert "45 landmarks" in widget.ui.modelInfoLabel.text and "GPL-3.0" in widget.ui.modelInfoLabel.text
    widget.cleanup()


def test_without_a_model_the_panel_says_what_to_do(
    host: Any, a_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("LandmarkDetectionLib.panel.model_list.resource_path", lambda *_: tmp_path)
    widget = host.open_widget(a_module)
    assert "No model yet: import one" in widget.ui.modelInfoLabel.text
    assert not widget.ui.detectButton.enabled
    widget.cleanup()


def test_a_model_is_imported_from_a_file(
    host: Any, a_widget: Any, a_trained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PySide6.QtWidgets import QFileDialog

    from LandmarkDetectionLib.model.bundle import pack_bundle

    copy = copied(a_trained_model, tmp_path / "copy")
    edit(copy, name="imported")
    pack_bundle(copy, tmp_path / "imported.zip")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "imported.zip"), ""))
    a_widget.panel.detect._on_import()
    assert a_widget.ui.modelComboBox.currentText == "imported"
    a_widget.panel.detect._on_import()
    assert "there is a model 'imported'" in a_widget.ui.messageLabel.text
    edit(copied(a_trained_model, a_trained_model.parent / "same name"), name="imported")
    a_widget.panel.detect.list_models()
    box = a_widget.ui.modelComboBox
    names = [box.itemText(row) for row in range(box.count)]
    shutil.rmtree(a_trained_model.parent / "same name")
    assert len(names) == 4 and sum(name.startswith("imported (") for name in names) == 2


@pytest.mark.parametrize(
    ("shape", "said"),
    [((8, 8, 8, 3), "several values per voxel"), ((1, 8, 8), "single slice"), (None, "has no voxels")],
)
def test_a_volume_that_cannot_be_searched_is_told(
    host: Any, a_widget: Any, shape: tuple[int, ...] | None, said: str
) -> None:
    import slicer

    vector = shape is not None and len(shape) == 4
    kind = "vtkMRMLVectorVolumeNode" if vector else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(kind, "odd")
    if shape is not None:
        slicer.util.updateVolumeFromArray(node, np.zeros(shape, np.uint8))
    a_widget.logic.getParameterNode().volume = node
    host.run_until(lambda: a_widget.ui.detectButton.enabled)
    assert said in detect(host, a_widget)


def test_a_scan_too_large_for_the_model_is_told_by_the_worker(host: Any, a_widget: Any) -> None:
    import slicer

    from LandmarkDetectionLib.scene.volumes import add_volume

    frame = Frame(size=(9, 9, 9), spacing=(100, 100, 100))
    add_volume(Volume(np.zeros((9, 9, 9), np.int16), frame), "torso", slicer.mrmlScene)
    host.run_until(lambda: a_widget.ui.detectButton.enabled)
    assert "million voxels" in detect(host, a_widget)


def test_a_device_that_is_gone_is_told(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    a_widget.logic.getParameterNode().device = "cuda:9"
    assert "cuda:9: " in detect(host, a_widget)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to take memory from a process")
def test_memory_that_runs_out_is_told_with_a_cure(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    detect(host, a_widget)
    leave_memory(start_worker(host, a_widget), 0)
    said = detect(host, a_widget)
    assert said.startswith("This machine has too little memory for the scan; close other programs"), said


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to take memory from a process")
def test_where_memory_runs_out_smaller_pieces_are_tried(
    host: Any, a_widget: Any, a_volume_node: Any, a_trained_model: Path, tmp_path: Path
) -> None:
    copy = copied(a_trained_model, tmp_path / "wide")
    edit(copy, detection={"window": [256] * 3, "threshold": 0.5, "uncertain": 0.3})
    detect(host, a_widget)
    leave_memory(start_worker(host, a_widget), 256 << 20)
    a_widget.panel.detect.list_models(select=a_widget.panel.detect._models.choose_folder(copy))
    assert " s on CPU." in detect(host, a_widget)
    assert "Not enough memory on cpu: trying in smaller pieces." in a_widget.ui.logTextEdit.plainText


def test_a_worker_that_cannot_be_started_is_told(host: Any, a_widget: Any, a_volume_node: Any) -> None:
    start_worker(host, a_widget)
    a_widget.panel.client.stop()
    a_widget.panel.client._python = "no such python"
    assert detect(host, a_widget) == (
        "The worker cannot be started (no such python): install the extension again."
    )
    assert a_widget.ui.detectButton.enabled


def test_packages_that_are_missing_are_told_and_nothing_is_started(
    host: Any, a_widget: Any, a_volume_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from LandmarkDetectionLib.panel import packages

    monkeypatch.setattr(packages, "missing_packages", lambda: ["torch"])
    assert detect(host, a_widget) == (
        "Detection needs PyTorch: install the extension 'PyTorch' (Extensions Manager), restart."
    )


def test_the_devices_are_offered_by_name(host: Any, a_widget: Any) -> None:
    start_worker(host, a_widget)
    box = a_widget.ui.deviceComboBox
    assert (box.itemText(0), box.itemData(0)) == ("Automatic", "auto")
    assert box.itemData(box.count - 1) == "cpu"


def start_worker(host: Any, widget: Any) -> int:
    """Wait until the worker, which opening the module has started, has told its number."""
    host.run_until(lambda: widget.panel.client._worker_id is not None)
    return int(widget.panel.client._worker_id)


def leave_memory(process: int, spare: int) -> None:
    """From now on let a process have so many bytes more than it has."""
    import resource

    used = int(Path(f"/proc/{process}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(process, resource.RLIMIT_AS, (used + spare, used + spare))


def is_alive(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def copied(model: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def edit(model: Path, **fields: Any) -> None:
    path = model / "model.json"
    content = json.loads(path.read_text(encoding="utf-8")) | fields
    path.write_text(json.dumps(content), encoding="utf-8")
