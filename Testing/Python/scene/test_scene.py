"""Positions in the scene, by value."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from LandmarkDetectionLib.data.cases import case_landmarks, read_split
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import mask_centres, read_mask
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, read_table
from LandmarkDetectionLib.data.volume import Volume, read_volume
from LandmarkDetectionLib.detection.results import Detection

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (pip install slicer-core)")
import vtk  # noqa: E402

from LandmarkDetectionLib.scene.export import annotated_volumes, case_name, export_case  # noqa: E402
from LandmarkDetectionLib.scene.markups import (  # noqa: E402
    ask_for,
    describe,
    landmark_rows,
    landmarks_of,
    markups_names,
    set_absent,
    show_detections,
    show_landmarks,
    table_of,
    update_visibility,
)
from LandmarkDetectionLib.scene.volumes import add_volume, frame_of, volume_of  # noqa: E402

Array = NDArray[np.float64]
FRAME = Frame(
    size=(7, 8, 9),
    spacing=(0.5, 0.75, 2.0),
    origin=(12, -30, 41),
    direction=np.linalg.qr(np.random.default_rng(4).standard_normal((3, 3)))[0] * [1, -1, 1],
)
INDICES = {"nasion": (1, 2, 3), "bregma": (5, 6, 7)}


@pytest.fixture
def a_scene() -> Any:
    scene = slicer.vtkMRMLScene()
    slicer.vtkSlicerMarkupsLogic().SetMRMLScene(scene)  # makes the scene know the files of markups
    slicer.mrmlScene = scene
    return scene


@pytest.fixture
def a_volume_node(a_scene: Any) -> Any:
    """Oblique, with a flipped axis; made of a matrix as Slicer's readers make it."""
    node = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
    slicer.util.updateVolumeFromArray(node, np.arange(7 * 8 * 9, dtype=np.int16).reshape(9, 8, 7))
    matrix = vtk.vtkMatrix4x4()
    for row, sign in enumerate((-1, -1, 1)):
        for column in range(3):
            matrix.SetElement(row, column, sign * FRAME.matrix[row, column])
        matrix.SetElement(row, 3, sign * FRAME.origin[row])
    node.SetIJKToRASMatrix(matrix)
    return node


@pytest.fixture
def a_markups_node(a_scene: Any) -> Any:
    return a_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")


@pytest.fixture(params=["none", "linear", "bent"])
def a_transform_node(a_scene: Any, request: pytest.FixtureRequest) -> Any:
    """No transform, a rotation with a shift, or a thin-plate spline."""
    if request.param == "none":
        return None
    node = a_scene.AddNewNodeByClass("vtkMRMLTransformNode", "pose")
    if request.param == "linear":
        transform = vtk.vtkTransform()
        transform.Translate(10, 20, -5)
        transform.RotateWXYZ(70, 1, 2, 3)
    else:
        transform = vtk.vtkThinPlateSplineTransform()
        transform.SetBasisToR()
        rng = np.random.default_rng(0)
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for point in rng.uniform(-60, 60, (12, 3)):
            source.InsertNextPoint(point)
            target.InsertNextPoint(point + rng.uniform(-3, 3, 3))
        transform.SetSourceLandmarks(source)
        transform.SetTargetLandmarks(target)
    node.SetAndObserveTransformToParent(transform)
    return node


def found(name: str, index: tuple[float, ...], status: Any = "found", radius: float = 0.25) -> Detection:
    return Detection(name, FRAME.index_to_world(index), status, 0.93, radius)


DETECTIONS = (
    found("nasion", INDICES["nasion"]),
    found("bregma", INDICES["bregma"], "uncertain"),
    Detection.missing("lambda"),
)


def world(markups: Any, name: str) -> Array:
    place = [0.0, 0.0, 0.0]
    markups.GetNthControlPointPositionWorld(markups_names(markups).index(name), place)
    return np.array(place)


def world_of_voxel(volume: Any, index: tuple[float, ...]) -> Array:
    """Where Slicer itself shows a voxel: by the node's matrix and its transform to the world."""
    matrix, general = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    volume.GetIJKToRASMatrix(matrix)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volume.GetParentTransformNode(), None, general)
    return np.array(general.TransformPoint(matrix.MultiplyPoint([*index, 1])[:3]))


def under(transform: Any, *nodes: Any) -> None:
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)


def test_a_volume_node_has_the_frame_of_its_matrix(a_volume_node: Any) -> None:
    volume = volume_of(a_volume_node)
    assert volume.voxels.shape == (9, 8, 7) and volume.voxels[1, 2, 3] == 1 * 56 + 2 * 7 + 3
    assert frame_of(a_volume_node).agrees_with(FRAME, tolerance=1e-9)


def test_landmarks_sit_on_the_anatomy_in_the_world(
    a_volume_node: Any, a_markups_node: Any, a_transform_node: Any
) -> None:
    under(a_transform_node, a_volume_node)
    assert show_detections(DETECTIONS, a_markups_node, a_volume_node) == ()
    assert markups_names(a_markups_node) == ["nasion", "bregma", "lambda"]
    for name, index in INDICES.items():
        np.testing.assert_allclose(
            world(a_markups_node, name), world_of_voxel(a_volume_node, index), atol=1e-6
        )
    assert a_markups_node.GetNthControlPointPositionStatus(2) == a_markups_node.PositionMissing


def test_landmarks_are_read_back_in_the_frame_of_the_scan(
    a_volume_node: Any, a_markups_node: Any, a_transform_node: Any
) -> None:
    under(a_transform_node, a_volume_node)
    show_detections(DETECTIONS, a_markups_node, a_volume_node)
    landmarks = landmarks_of(a_markups_node, a_volume_node)
    assert landmarks.names == ("nasion", "bregma", "lambda")
    assert landmarks.present.tolist() == [True, True, False]
    np.testing.assert_allclose(
        landmarks.positions[:2], FRAME.index_to_world(list(INDICES.values())), atol=1e-6
    )


def test_points_placed_in_the_world_are_read_in_the_frame_of_a_transformed_scan(
    a_volume_node: Any, a_markups_node: Any, a_transform_node: Any
) -> None:
    under(a_transform_node, a_volume_node)
    place = world_of_voxel(a_volume_node, INDICES["bregma"])
    a_markups_node.AddControlPointWorld(vtk.vtkVector3d(*place), "bregma")
    landmarks = landmarks_of(a_markups_node, a_volume_node)
    np.testing.assert_allclose(landmarks.positions[0], FRAME.index_to_world(INDICES["bregma"]), atol=1e-3)


def test_a_second_detection_moves_its_points_and_keeps_those_of_a_person(
    a_volume_node: Any, a_markups_node: Any, a_transform_node: Any
) -> None:
    detections = [*DETECTIONS, found("moved", (2, 2, 2)), found("locked", (3, 3, 3))]
    show_detections(detections, a_markups_node, a_volume_node)
    rows = {name: row for row, name in enumerate(markups_names(a_markups_node))}
    a_markups_node.SetNthControlPointPosition(rows["moved"], 1, 2, 3)
    a_markups_node.SetNthControlPointLocked(rows["locked"], True)
    a_markups_node.SetNthControlPointPosition(rows["lambda"], 4, 5, 6)
    a_markups_node.AddControlPoint(vtk.vtkVector3d(7, 8, 9), "a person's own")
    stays = {name: world(a_markups_node, name) for name in ("moved", "locked", "lambda", "a person's own")}
    under(a_transform_node, a_volume_node)
    again = [found(item.name, (4, 4, 4)) for item in detections]
    assert set(show_detections(again, a_markups_node, a_volume_node)) == set(stays)
    for name, place in stays.items():
        np.testing.assert_allclose(world(a_markups_node, name), place, atol=1e-3)
    np.testing.assert_allclose(
        world(a_markups_node, "nasion"), world_of_voxel(a_volume_node, (4, 4, 4)), atol=1e-6
    )
    assert a_markups_node.GetNumberOfControlPoints() == 6


def test_a_landmark_that_is_gone_becomes_missing_and_one_that_comes_is_placed(
    a_volume_node: Any, a_markups_node: Any
) -> None:
    show_detections(DETECTIONS, a_markups_node, a_volume_node)
    swapped = [Detection.missing("nasion"), found("lambda", (2, 2, 2))]
    assert show_detections(swapped, a_markups_node, a_volume_node) == ()
    landmarks = landmarks_of(a_markups_node, a_volume_node)
    assert landmarks.present.tolist() == [False, True, True]


def test_uncertain_points_can_be_hidden_and_all_say_how_sure_they_are(
    a_volume_node: Any, a_markups_node: Any
) -> None:
    show_detections([*DETECTIONS, found("sella", (3, 3, 3), radius=np.nan)], a_markups_node, a_volume_node)
    a_markups_node.AddControlPoint(vtk.vtkVector3d(7, 8, 9), "a person's own")
    names = markups_names(a_markups_node)

    def visible(**settings: Any) -> list[str]:
        update_visibility(a_markups_node, **settings)
        return [name for row, name in enumerate(names) if a_markups_node.GetNthControlPointVisibility(row)]

    assert visible(least_confidence=0.0, show_uncertain=True) == names
    assert visible(least_confidence=0.0, show_uncertain=False) == [name for name in names if name != "bregma"]
    assert visible(least_confidence=0.95, show_uncertain=False) == ["lambda", "a person's own"]
    assert a_markups_node.GetNthControlPointDescription(0) == "found, confidence 93%, within 0.25 mm"
    assert describe(Detection.missing("x", 0.04)) == "absent, confidence 4%"


def test_the_list_says_of_each_landmark_who_put_it_there(a_volume_node: Any, a_markups_node: Any) -> None:
    table = LandmarkTable(
        (Landmark("nasion", 1, group="face", definition="where the nose begins"), Landmark("porion", 2))
    )
    ask_for(table, a_markups_node, a_volume_node)
    detections = [*DETECTIONS, found("moved", (2, 2, 2)), found("denied", (3, 3, 3))]
    show_detections(detections, a_markups_node, a_volume_node)
    rows = {name: row for row, name in enumerate(markups_names(a_markups_node))}
    a_markups_node.SetNthControlPointPosition(rows["moved"], 1, 2, 3)
    set_absent(a_markups_node, "denied")
    listed = {row.name: row for row in landmark_rows(a_markups_node)}
    assert {name: row.status for name, row in listed.items()} == {
        "nasion": "found",
        "porion": "to place",
        "bregma": "uncertain",
        "lambda": "absent",
        "moved": "placed",
        "denied": "absent",
    }
    assert (listed["nasion"].confidence, listed["nasion"].radius_mm) == (0.93, 0.25)
    assert (listed["nasion"].group, listed["nasion"].definition) == ("face", "where the nose begins")
    assert np.isnan([listed["moved"].confidence, listed["denied"].confidence]).all()
    assert landmark_rows(a_markups_node, least_confidence=0.95)[0].status == "uncertain"
    again = show_detections(detections, a_markups_node, a_volume_node)
    assert set(again) == {"moved", "denied"}


def test_what_was_detected_is_saved_with_the_scene(
    a_scene: Any, a_volume_node: Any, a_markups_node: Any, tmp_path: Path
) -> None:
    ask_for(LandmarkTable((Landmark("nasion", 3, definition="Wurzel"),)), a_markups_node, a_volume_node)
    show_detections(DETECTIONS, a_markups_node, a_volume_node)
    before = landmark_rows(a_markups_node)
    a_scene.SetRootDirectory(str(tmp_path))
    storages = {
        a_markups_node: ("vtkMRMLMarkupsJsonStorageNode", "landmarks.mrk.json"),
        a_volume_node: ("vtkMRMLVolumeArchetypeStorageNode", "scan.nrrd"),
    }
    for node, (kind, file) in storages.items():
        storage = a_scene.AddNewNodeByClass(kind)
        storage.SetFileName(str(tmp_path / file))
        node.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.WriteData(node)
    a_scene.SetURL(str(tmp_path / "scene.mrml"))
    assert a_scene.Commit()
    a_scene.Clear()
    a_scene.SetURL(str(tmp_path / "scene.mrml"))
    a_scene.Connect()
    markups = a_scene.GetFirstNodeByClass("vtkMRMLMarkupsFiducialNode")
    assert markups is not a_markups_node
    np.testing.assert_equal(landmark_rows(markups), before)
    volume = a_scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert [*annotated_volumes(a_scene)] == [(volume, markups)]


def test_a_case_exported_from_the_scene_is_the_scan_and_its_landmarks(
    a_volume_node: Any, a_markups_node: Any, a_transform_node: Any, tmp_path: Path
) -> None:
    under(a_transform_node, a_volume_node)
    a_volume_node.SetName("Müller: left/right")
    ask_for(
        LandmarkTable((Landmark("porion", 1), Landmark("nasion", 2, group="face"))),
        a_markups_node,
        a_volume_node,
    )
    show_detections(DETECTIONS, a_markups_node, a_volume_node)
    export_case(a_volume_node, a_markups_node, tmp_path / "data" / "cases.csv", group="patient 7")
    (case,) = read_split(tmp_path / "data" / "cases.csv", supervised=True)
    assert (case.name, case.group) == ("Müller_ left_right", "patient 7")
    scan = read_volume(case.image_path)
    assert scan.frame.agrees_with(FRAME, tolerance=1e-4)
    np.testing.assert_array_equal(scan.voxels, volume_of(a_volume_node).voxels)
    landmarks = case_landmarks(case, None)
    assert landmarks.names == ("nasion", "bregma", "lambda")
    np.testing.assert_allclose(
        landmarks.positions, [*FRAME.index_to_world(list(INDICES.values())), [np.nan] * 3], atol=1e-6
    )
    table = read_table(tmp_path / "data" / "landmarks.csv")
    assert table.names == ("porion", "nasion", "bregma", "lambda") and table.landmarks[1].group == "face"
    assert case.mask_path is not None
    mask = read_mask(case.mask_path)
    assert mask.frame.agrees_with(FRAME, tolerance=1e-4)
    assert set(mask_centres(mask.voxels, mask.frame)) == {2, 3}


def test_a_point_outside_the_scan_is_not_exported(
    a_volume_node: Any, a_markups_node: Any, tmp_path: Path
) -> None:
    a_markups_node.AddControlPoint(vtk.vtkVector3d(500, 0, 0), "nasion")
    with pytest.raises(InputError, match="'nasion' lies outside the volume 'scan'"):
        export_case(a_volume_node, a_markups_node, tmp_path / "cases.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"), [("CT 3 / head", "CT 3 _ head"), ("..", "case"), ("a:b?", "a_b_"), ("é", "é")]
)
def test_a_volume_of_any_name_gives_a_case_that_can_name_a_file(
    a_volume_node: Any, name: str, said: str
) -> None:
    a_volume_node.SetName(name)
    assert case_name(a_volume_node) == said


def test_a_scan_and_its_landmarks_come_back_into_a_scene(a_scene: Any, a_markups_node: Any) -> None:
    volume = Volume(np.arange(7 * 8 * 9, dtype=np.int16).reshape(9, 8, 7), FRAME)
    node = add_volume(volume, "skull", a_scene)
    assert add_volume(volume, "skull", a_scene).GetName() != node.GetName()
    assert frame_of(node).agrees_with(FRAME, tolerance=1e-9)
    np.testing.assert_array_equal(volume_of(node).voxels, volume.voxels)
    known = LandmarkSet(["nasion", "lambda"], np.array([FRAME.index_to_world((1, 2, 3)), [np.nan] * 3]))
    show_landmarks(known, a_markups_node, node)
    np.testing.assert_allclose(world(a_markups_node, "nasion"), world_of_voxel(node, (1, 2, 3)), atol=1e-6)
    assert [row.status for row in landmark_rows(a_markups_node)] == ["placed", "absent"]
    assert table_of(a_markups_node) is None


def test_a_point_that_was_never_placed_is_unknown_and_not_absent(
    a_volume_node: Any, a_markups_node: Any
) -> None:
    a_markups_node.AddControlPoint(vtk.vtkVector3d(1, 2, 3), "a")
    a_markups_node.AddControlPoint(vtk.vtkVector3d(1, 2, 3), "b")
    a_markups_node.UnsetNthControlPointPosition(1)
    assert landmarks_of(a_markups_node, a_volume_node).names == ("a",)


@pytest.mark.parametrize(
    ("names", "said"), [(("a", "a"), "two points named 'a'"), (("a", ""), "without a name")]
)
def test_names_that_cannot_be_exported_are_refused(
    a_volume_node: Any, a_markups_node: Any, names: tuple[str, str], said: str
) -> None:
    for row, name in enumerate(names):
        a_markups_node.AddControlPoint(vtk.vtkVector3d(1, 2, 3), name)
        a_markups_node.SetNthControlPointLabel(row, name)
    with pytest.raises(InputError, match=said):
        landmarks_of(a_markups_node, a_volume_node)


@pytest.mark.parametrize(
    ("shape", "said"), [((5, 6, 7, 3), "several values"), ((1, 6, 7), "single slice"), (None, "no voxels")]
)
def test_a_volume_that_cannot_be_searched_is_refused(
    a_scene: Any, shape: tuple[int, ...] | None, said: str
) -> None:
    vector = shape is not None and len(shape) == 4
    kind = "vtkMRMLVectorVolumeNode" if vector else "vtkMRMLScalarVolumeNode"
    node = a_scene.AddNewNodeByClass(kind, "my scan")
    if shape is not None:
        slicer.util.updateVolumeFromArray(node, np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=f"'my scan'.*{said}"):
        volume_of(node)
