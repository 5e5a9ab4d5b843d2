"""Landmark files: every kind, both ways, through Slicer's own code, and wrong ones."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import (
    LANDMARK_SUFFIXES,
    CoordinateSystem,
    Measurement,
    read_landmarks,
    write_landmarks,
)
from LandmarkDetectionLib.data.landmarks import LandmarkSet

SYSTEMS = st.sampled_from(["LPS", "RAS"])
WITH_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXTS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12).map(str.strip)
COORDINATES = st.floats(-1e4, 1e4).map(lambda value: value + 0.0)


@st.composite
def landmark_sets(draw: st.DrawFn, names: st.SearchStrategy[str] = TEXTS, absent: bool = True) -> LandmarkSet:
    chosen = draw(st.lists(names.filter(bool), min_size=1, max_size=6, unique=True))
    positions = [
        (math.nan,) * 3 if absent and draw(st.booleans()) else draw(st.tuples(*[COORDINATES] * 3))
        for _ in chosen
    ]
    return LandmarkSet(chosen, np.array(positions), [draw(TEXTS) for _ in chosen])


def assert_same(read: LandmarkSet, written: LandmarkSet, *, rtol: float = 0.0) -> None:
    assert read.names == written.names
    assert read.descriptions == written.descriptions
    np.testing.assert_allclose(read.positions, written.positions, rtol=rtol)


def markups(points: list[dict[str, Any]], **fields: Any) -> str:
    point_list = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points} | fields
    return json.dumps({"@schema": "markups-schema-v1.0.3.json#", "markups": [point_list]})


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# our own round trips


@WITH_A_FOLDER
@given(landmarks=landmark_sets(), suffix=st.sampled_from(LANDMARK_SUFFIXES), system=SYSTEMS)
@example(LandmarkSet(["a", "b"], np.array([[0, 0, 0], [-1, -1, -1]])), ".fcsv", "RAS")
@example(LandmarkSet(['the "left", one', "#1"], np.full((2, 3), 1e-9), ["a, b", '"']), ".fcsv", "LPS")
def test_what_is_written_is_read(
    tmp_path: Path, landmarks: LandmarkSet, suffix: str, system: CoordinateSystem
) -> None:
    path = tmp_path / f"case{suffix}"
    write_landmarks(landmarks, path, coordinate_system=system)
    assert_same(read_landmarks(path), landmarks)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize("suffix", [".mrk.json", ".csv"])
def test_a_description_keeps_its_lines(tmp_path: Path, suffix: str) -> None:
    landmarks = LandmarkSet(["A"], np.ones((1, 3)), ["first\nsecond\r\nthird"])
    write_landmarks(landmarks, tmp_path / f"case{suffix}")
    assert read_landmarks(tmp_path / f"case{suffix}").descriptions == landmarks.descriptions


def test_an_fcsv_description_becomes_one_line(tmp_path: Path) -> None:
    write_landmarks(LandmarkSet(["A"], np.ones((1, 3)), ["first\nsecond"]), tmp_path / "case.fcsv")
    assert read_landmarks(tmp_path / "case.fcsv").descriptions == ("first second",)


def test_a_csv_has_the_four_columns_and_an_absent_landmark_has_no_coordinates(tmp_path: Path) -> None:
    landmarks = LandmarkSet(["A", "B"], np.array([[1.5, -2, 0], [np.nan] * 3]))
    write_landmarks(landmarks, tmp_path / "case.csv")
    assert (tmp_path / "case.csv").read_text() == "name,x,y,z\nA,1.5,-2.0,0.0\nB,,,\n"


# Slicer's own code


def slicer_core() -> Any:
    return pytest.importorskip("slicer", reason="slicer-core is not installed (pip install slicer-core)")


def read_by_slicer(path: Path) -> Any:
    slicer = slicer_core()
    node = slicer.vtkMRMLMarkupsFiducialNode()
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    if path.suffix == ".fcsv":
        storage = slicer.vtkMRMLMarkupsFiducialStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


def ras_position(node: Any, row: int) -> NDArray[np.float64]:
    return np.array(node.GetNthControlPointPosition(row))


@WITH_A_FOLDER
@given(landmarks=landmark_sets(), system=SYSTEMS, suffix=st.sampled_from([".mrk.json", ".fcsv"]))
def test_slicer_reads_what_we_write(
    tmp_path: Path, landmarks: LandmarkSet, system: CoordinateSystem, suffix: str
) -> None:
    path = tmp_path / f"case{suffix}"
    write_landmarks(landmarks, path, coordinate_system=system)
    node = read_by_slicer(path)
    assert node.GetNumberOfControlPoints() == len(landmarks)
    for row, present in enumerate(landmarks.present):
        assert node.GetNthControlPointLabel(row) == landmarks.names[row]
        assert node.GetNthControlPointDescription(row) == landmarks.descriptions[row]
        status = node.GetNthControlPointPositionStatus(row)
        assert status == (node.PositionDefined if present else node.PositionMissing)
        if present:
            expected = landmarks.positions[row] * (-1, -1, 1)
            np.testing.assert_allclose(ras_position(node, row), expected, rtol=1e-12)


@WITH_A_FOLDER
@given(landmarks=landmark_sets(), system=SYSTEMS, suffix=st.sampled_from([".mrk.json", ".fcsv"]))
def test_we_read_what_slicer_writes(
    tmp_path: Path, landmarks: LandmarkSet, system: CoordinateSystem, suffix: str
) -> None:
    slicer = slicer_core()
    node = slicer.vtkMRMLMarkupsFiducialNode()
    for row, present in enumerate(landmarks.present):
        x, y, z = np.nan_to_num(landmarks.positions[row])
        node.AddControlPoint([-x, -y, z], landmarks.names[row])
        node.SetNthControlPointDescription(row, landmarks.descriptions[row])
        if not present:
            node.SetNthControlPointPositionMissing(row)
    node.AddControlPoint([0, 0, 0], "not yet placed")
    node.UnsetNthControlPointPosition(len(landmarks))
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    if suffix == ".fcsv":
        storage = slicer.vtkMRMLMarkupsFiducialStorageNode()
    storage.SetCoordinateSystem(0 if system == "RAS" else 1)
    storage.SetFileName(str(tmp_path / f"slicer{suffix}"))
    assert storage.WriteData(node) == 1
    assert f"{system}" in (tmp_path / f"slicer{suffix}").read_text()
    assert_same(read_landmarks(tmp_path / f"slicer{suffix}"), landmarks, rtol=1e-12)


def test_measurements_reach_slicer_and_survive_there(tmp_path: Path) -> None:
    slicer = slicer_core()
    landmarks = LandmarkSet(["A", "B"], np.array([[1.0, 2, 3], [np.nan] * 3]), ["found", ""])
    measurements = [
        Measurement("confidence", np.array([0.975, 0.125]), description="probability of presence"),
        Measurement("radius", np.array([0.5, np.nan]), "mm"),
    ]
    path = tmp_path / "case.mrk.json"
    write_landmarks(landmarks, path, measurements=measurements)
    node = read_by_slicer(path)
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node) == 1
    node = read_by_slicer(path)
    confidence, radius = (node.GetNthMeasurement(number) for number in range(2))
    assert [confidence.GetName(), radius.GetName()] == ["confidence", "radius"]
    assert [confidence.GetControlPointValues().GetValue(row) for row in range(2)] == [0.975, 0.125]
    assert [radius.GetControlPointValues().GetValue(row) for row in range(2)] == [0.5, 0]
    assert radius.GetUnits() == "mm"
    assert confidence.GetDescription() == "probability of presence"
    assert radius.GetDescription() == "(0 where there is none)"
    assert node.GetNthControlPointDescription(0) == "found; confidence 0.975; radius 0.5 mm"
    assert node.GetNthControlPointDescription(1) == "confidence 0.125"


def test_a_measured_file_is_strict_json(tmp_path: Path) -> None:
    write_landmarks(
        LandmarkSet(["A"], np.full((1, 3), np.nan)),
        tmp_path / "case.mrk.json",
        measurements=[Measurement("radius", np.array([np.nan]), "mm")],
    )

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "case.mrk.json").read_text(), parse_constant=refuse)


# slicerio, an independent reader and converter


@WITH_A_FOLDER
@given(
    landmarks=landmark_sets(TEXTS.filter(lambda text: not set(text) & set(',"#')), absent=False),
    system=SYSTEMS,
)
def test_slicerio_reads_our_fcsv_and_we_read_its_markups(
    tmp_path: Path, landmarks: LandmarkSet, system: CoordinateSystem
) -> None:
    slicerio = pytest.importorskip("slicerio", reason="slicerio is not installed")
    plain = LandmarkSet(landmarks.names, landmarks.positions)  # slicerio knows no quotes
    write_landmarks(plain, tmp_path / "case.fcsv", coordinate_system=system)
    theirs = slicerio.read_markups_fcsv(tmp_path / "case.fcsv")["markups"][0]
    assert theirs["coordinateSystem"] == system
    signs = (-1, -1, 1) if system == "RAS" else (1, 1, 1)
    np.testing.assert_allclose(
        np.array([point["position"] for point in theirs["controlPoints"]]) * signs, plain.positions
    )
    slicerio.fcsv_to_markups_json(tmp_path / "case.fcsv", tmp_path / "case.mrk.json")
    assert_same(read_landmarks(tmp_path / "case.mrk.json"), plain)


# real files


def test_the_real_markups_agree_with_their_csv(shared_data: Path) -> None:
    files = sorted(shared_data.rglob("*.mrk.json"))
    assert files
    for path in files:
        from_markups = read_landmarks(path)
        from_csv = read_landmarks(path.with_name(path.name.replace(".mrk.json", ".csv")))
        assert from_markups.names == from_csv.names
        np.testing.assert_allclose(from_markups.positions, from_csv.positions, atol=6e-5)


# spellings


@pytest.mark.parametrize(("spelling", "sign"), [("RAS", -1), ("0", -1), ("LPS", 1), ("1", 1)])
def test_the_coordinate_system_of_a_markups_file_is_read(tmp_path: Path, spelling: str, sign: int) -> None:
    text = markups([{"label": "A", "position": [1, 2, 3]}], coordinateSystem=spelling)
    landmarks = read_landmarks(written(tmp_path, "a.mrk.json", text))
    np.testing.assert_array_equal(landmarks.positions, [[sign, 2 * sign, 3]])


def test_markups_without_a_coordinate_system_are_lps(tmp_path: Path) -> None:
    text = markups([{"label": "A", "position": [1, 2, 3]}]).replace('"coordinateSystem": "LPS", ', "")
    assert "coordinateSystem" not in text
    np.testing.assert_array_equal(
        read_landmarks(written(tmp_path, "a.mrk.json", text)).positions, [[1, 2, 3]]
    )


@pytest.mark.parametrize(
    ("flag", "sign"),
    [
        ("", -1),
        ("# CoordinateSystem = 0\n", -1),
        ("# CoordinateSystem = RAS\n", -1),
        ("# CoordinateSystem = 1\n", 1),
        ("# CoordinateSystem = LPS\r\n", 1),
        ("#CoordinateSystem=LPS\n", 1),
    ],
)
def test_the_coordinate_system_of_an_fcsv_is_read(tmp_path: Path, flag: str, sign: int) -> None:
    header = "# Markups fiducial file version = 4.10\n" + flag
    columns = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    row = "vtkMRMLMarkupsFiducialNode_0,1,2,3,0,0,0,1,1,1,0,A,the first,vtkMRMLScalarVolumeNode1\n"
    for text in (header + columns + row, header + row):
        landmarks = read_landmarks(written(tmp_path, "a.fcsv", text))
        np.testing.assert_array_equal(landmarks.positions, [[sign, 2 * sign, 3]])
        assert (landmarks.names, landmarks.descriptions) == (("A",), ("the first",))


@pytest.mark.parametrize("header", ["", "# columns = label,x,y,z,sel,vis\n# name = F\n"])
def test_an_fcsv_of_slicer_3_is_ras(tmp_path: Path, header: str) -> None:
    landmarks = read_landmarks(written(tmp_path, "a.fcsv", header + "A,1,2,3,1,1\nB,-4,5,6,1,1\n"))
    assert landmarks.names == ("A", "B")
    np.testing.assert_array_equal(landmarks.positions, [[-1, -2, 3], [4, -5, 6]])


def test_a_missing_point_is_absent_and_an_unplaced_one_is_unknown(tmp_path: Path) -> None:
    points: list[dict[str, Any]] = [
        {"label": "A", "position": [0, 0, 0]},
        {"label": "B", "position": [-1, -1, -1], "positionStatus": "defined"},
        {"label": "C", "position": [1, 2, 3], "positionStatus": "missing"},
        {"label": "D", "position": "", "positionStatus": "missing"},
        {"label": "E", "position": [1, 2, 3], "positionStatus": "preview"},
        {"label": "F", "positionStatus": "undefined"},
    ]
    landmarks = read_landmarks(written(tmp_path, "a.mrk.json", markups(points)))
    assert landmarks.names == ("A", "B", "C", "D")
    assert landmarks.present.tolist() == [True, True, False, False]


def test_a_point_list_beside_other_markups_is_found(tmp_path: Path) -> None:
    document = json.loads(markups([{"label": "A", "position": [1, 2, 3]}]))
    document["markups"].insert(0, {"type": "ROI", "center": [0, 0, 0]})
    assert read_landmarks(written(tmp_path, "a.mrk.json", json.dumps(document))).names == ("A",)


def test_a_csv_from_a_spreadsheet_or_from_detect_is_read(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbfname,x,y,z,status,confidence\r\n A ,1,2,3,found,0.9\r\n\r\nB,,,,absent,0.1\r\n"
    landmarks = read_landmarks(written(tmp_path, "a.csv", text))
    assert landmarks.names == ("A", "B")
    assert landmarks.present.tolist() == [True, False]


# wrong files

POINT = {"label": "A", "position": [1, 2, 3]}
FCSV = "# Markups fiducial file version = 5.0\n"
WRONG = {
    ("a.csv", ""): "the file is empty",
    ("a.csv", 'name,x,y,z\nA,1,2,3\n"B,1,2,3\nC,1,2,3\nD",1,2,3\n'): "put the double quote that is missing",
    ("a.csv", 'name,x,y,z\n"A,1,2,3\nB,1,2,3\n'): "not a text table",
    ("a.csv", "name,x,y,z,r,a,s\nA,1,2,3,1,2,3\n"): "x,y,z stand beside others",
    ("a.csv", "name,x,y\nA,1,2\n"): "column 'z' is missing",
    ("a.csv", "name,label\nA,1\n"): "column 'x' is missing",
    ("a.csv", "name,x,y,z\n"): "holds no landmarks",
    ("a.csv", "name,x,y,z\nA,1,2,3\nB,1,two,3\n"): "line 3: y is 'two'",
    ("a.csv", "name,x,y,z\nA,1,,3\n"): "line 2: y is ''",
    ("a.csv", "name,x,y,z\nA,nan,nan,nan\n"): "line 2: x is 'nan'",
    ("a.csv", "name,x,y,z\nA,inf,2,3\n"): "line 2: x is 'inf'",
    ("a.csv", "name,x,y,z\nA,1,5,2,5,3,5\n"): "decimals with a point",
    ("a.csv", "name,x,y,z\n,1,2,3\n"): "line 2: the point has no name",
    ("a.csv", "name,x,y,z\nA,1,2,3\nB,1,2,3\nA ,4,5,6\n"): "line 4: the name 'A' stands already in line 2",
    ("a.csv", b"name,x,y,z\n\xff,1,2,3\n"): "UTF-8",
    ("a.fcsv", FCSV): "holds no landmarks",
    ("a.fcsv", FCSV + "# CoordinateSystem = IJK\n1,1,2,3,0,0,0,1,1,1,0,A,,\n"): "coordinate system is 'IJK'",
    ("a.fcsv", FCSV + "# CoordinateSystem = 2\n1,1,2,3,0,0,0,1,1,1,0,A,,\n"): "coordinate system is '2'",
    ("a.fcsv", FCSV + "# columns = id,x,y,label\n1,1,2,A\n"): "column 'z' is missing",
    ("a.fcsv", FCSV + "1,1,2,3,0,0,0,1,1,1,0,A,,\n2,1,x,3,0,0,0,1,1,1,0,B,,\n"): "line 3: y is 'x'",
    ("a.fcsv", FCSV + "1,1,2,3,0,0,0,1,1,1,0,A,,\n2,1,2,3,0,0,0,1,1,1,0,A,,\n"): "stands already in line 2",
    ("a.fcsv", FCSV + "1,1,2\n"): "line 2: z is ''",
    ("a.fcsv", FCSV + "1,1,2,3,0,0,0,1,1,1,0,A,one, two, three\n"): "double quotes",
    ("a.mrk.json", ""): "not valid JSON",
    ("a.mrk.json", "[1, 2"): "not valid JSON",
    ("a.mrk.json", "[1, 2]"): "no 'markups'",
    ("a.mrk.json", '{"markups": []}'): "no 'markups'",
    ("a.mrk.json", '{"markups": [7]}'): "not one point list",
    ("a.mrk.json", markups([POINT], type="ROI")): "holds ROI, not one point list",
    ("a.mrk.json", markups([POINT], type="Plane")): "holds Plane, not one point list",
    (
        "a.mrk.json",
        json.dumps({"markups": json.loads(markups([POINT]))["markups"] * 2}),
    ): "Fiducial, Fiducial",
    ("a.mrk.json", markups([])): "holds no landmarks",
    ("a.mrk.json", markups([POINT], controlPoints=7)): "controlPoints is not a list",
    ("a.mrk.json", markups([POINT], coordinateSystem="IJK")): "coordinate system is 'IJK'",
    ("a.mrk.json", markups([POINT], coordinateSystem="lps")): "coordinate system is 'lps'",
    ("a.mrk.json", markups([POINT], coordinateSystem=1)): "coordinate system is 1",
    ("a.mrk.json", markups([POINT], coordinateUnits="um")): "coordinateUnits is 'um'",
    ("a.mrk.json", markups([POINT], coordinateUnits=["cm", "UCUM", "centimeter"])): "save the points in mm",
    ("a.mrk.json", markups([POINT, POINT])): "point 2: the name 'A' stands already in point 1",
    ("a.mrk.json", markups([{"position": [1, 2, 3]}])): "point 1: the point has no name",
    ("a.mrk.json", markups([{"label": "A"}])): "point 1: position is None",
    ("a.mrk.json", markups([{"label": "A", "position": [1, 2]}])): "not three numbers",
    ("a.mrk.json", markups([{"label": "A", "position": [1, "x", 3]}])): "position is 'x'",
    ("a.mrk.json", markups([{"label": "A", "position": [1, math.nan, 3]}])): "position is nan",
    ("a.mrk.json", markups([{"label": "A", "position": [1, True, 3]}])): "position is True",
    ("a.mrk.json", markups([{"label": "A", "position": [1, 10**400, 3]}])): "not a number",
    ("a.mrk.json", markups([POINT | {"positionStatus": "perhaps"}])): "positionStatus is 'perhaps'",
    ("a.mrk.json", markups([POINT | {"positionStatus": ["defined"]}])): "positionStatus is ['defined']",
    ("a.mrk.json", markups([POINT | {"positionStatus": "undefined"}])): "none of its 1 points is placed",
    ("a.mrk.json", markups([7])): "point 1: not a control point",  # type: ignore[list-item]
    ("a.txt", "1 2 3"): "must end in .mrk.json or .fcsv or .csv",
}


@pytest.mark.parametrize(("name", "text"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_file_gives_one_sentence(tmp_path: Path, name: str, text: str | bytes) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(InputError) as caught:
        read_landmarks(path)
    message = str(caught.value)
    assert WRONG[name, text] in message
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(InputError):
            read_landmarks(path)


@WITH_A_FOLDER
@given(
    text=st.one_of(st.text(), st.binary()),
    name=st.sampled_from([f"a{suffix}" for suffix in LANDMARK_SUFFIXES]),
)
@example(b"name,x,y,z\n\0,1,2,3\n", "a.csv")
def test_nothing_but_an_input_error_comes_out_of_a_file_of_rubbish(
    tmp_path: Path, text: str | bytes, name: str
) -> None:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        read_landmarks(written(tmp_path, name, raw))
    except InputError as error:
        assert str(error).startswith(str(tmp_path))


def test_an_unwritable_folder_and_an_unknown_suffix(tmp_path: Path) -> None:
    landmarks = LandmarkSet(["A"], np.zeros((1, 3)))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose a folder that you can write in"):
        write_landmarks(landmarks, tmp_path / "file" / "a.csv")
    with pytest.raises(InputError, match="must end in"):
        write_landmarks(landmarks, tmp_path / "a.xlsx")


# tables that went through a table program

HEAD = "# Markups fiducial file version = 4.10\n# CoordinateSystem = LPS\n"
COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
ROW = "1,10,20,30,0,0,0,1,1,1,0,L1"


def padded(text: str) -> str:
    """As Excel saves it: every line has as many cells as the longest."""
    return "".join(line + "," * (13 - line.count(",")) + "\r\n" for line in text.splitlines())


EXCEL: dict[str, str | bytes] = {
    "padded": padded(HEAD + COLUMNS + ROW),
    "quoted": "".join(f'"{line}"\n' for line in (HEAD + COLUMNS).splitlines()) + ROW + "\n",
    "blank rows": HEAD + COLUMNS + ",,,,,,,,,,,,,\n" + ROW + "\n,,,,\n",
    "old line ends": (HEAD + COLUMNS + ROW).replace("\n", "\r"),
    "semicolons and decimal commas": HEAD
    + COLUMNS.replace(",", ";")
    + "1;10,0;20,0;30,0;0;0;0;1;1;1;0;L1;;\n",
    "UTF-16": (HEAD + COLUMNS + ROW).encode("utf-16"),
}


@pytest.mark.parametrize("how", EXCEL)
def test_a_fiducial_file_that_a_table_program_saved(tmp_path: Path, how: str) -> None:
    content = EXCEL[how]
    (tmp_path / "a.fcsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    landmarks = read_landmarks(tmp_path / "a.fcsv")
    assert landmarks.names == ("L1",)
    np.testing.assert_array_equal(landmarks.positions, [[10, 20, 30]])


@pytest.mark.parametrize(
    "row",
    [
        "1,10,5,20,5,30,5,0,0,0,1,1,1,0,L1,,",  # three decimal commas
        "1,10,5,20,30,0,0,0,1,1,1,0,L1,,",  # one
        "1,10,5,20,0,0,0,0,1,1,1,0,L1,,",  # one, and z is 0
        "1,10,5,20,1,0,0,0,1,1,1,0,L1,,",  # one, and z is 1
        "1,10,20,30,0,0,0,1,1,1,0,a,b,c,d",  # a text with commas
    ],
)
def test_decimal_commas_in_a_fiducial_file_are_no_positions(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.fcsv").write_text(HEAD + COLUMNS + row + "\n")
    with pytest.raises(InputError, match=r"a\.fcsv, line 4: .*write decimals with a point"):
        read_landmarks(tmp_path / "a.fcsv")


@pytest.mark.parametrize(
    "text",
    [
        "name,x,y,z\r\nL1,1,2,3\r\n,,,\r\n",
        "Name, X, Y, Z\nL1, 1, 2, 3\n\n",
        "z,note,x,name,y\n3,why,1,L1,2\n",
    ],
)
def test_tables_with_blank_rows_capitals_and_columns_in_another_order(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    landmarks = read_landmarks(tmp_path / "a.csv")
    assert landmarks.names == ("L1",)
    np.testing.assert_array_equal(landmarks.positions, [[1, 2, 3]])


@pytest.mark.parametrize("word", ["NA", "N/A", "null", "-", " "])
def test_what_is_not_available_is_absent(tmp_path: Path, word: str) -> None:
    (tmp_path / "a.csv").write_text(f"name,x,y,z\nL1,{word},{word},{word}\nL2,1,2,3\n")
    landmarks = read_landmarks(tmp_path / "a.csv")
    assert landmarks.present.tolist() == [False, True]


@pytest.mark.parametrize("cells", ["NA,2,3", "NaN,NaN,NaN", "1,2,NA"])
def test_a_part_of_a_position_and_nan_may_be_a_mistake(tmp_path: Path, cells: str) -> None:
    (tmp_path / "a.csv").write_text(f"name,x,y,z\nL1,{cells}\n")
    with pytest.raises(InputError, match="leave x, y and z empty if the landmark is absent"):
        read_landmarks(tmp_path / "a.csv")


SEPARATED = {
    "semicolons": ("name;x;y;z\nL1;1;2;3.5\n", [1, 2, 3.5]),
    "semicolons and decimal commas": ("name;x;y;z\nL1;1,234;2,5;-3\n", [1.234, 2.5, -3]),
    "tabs and decimal commas": ("Name\tX\tY\tZ\nL1\t1,5\t2,123\t3\n", [1.5, 2.123, 3]),
    "quoted decimal commas": ('name,x,y,z\nL1,"1,5","2,123","3,0"\n', [1.5, 2.123, 3]),
    "the separator named": ("sep=;\r\nname;x;y;z\r\nL1;1;2;3\r\n", [1, 2, 3]),
    "rows and cells to no purpose": (',,,,\nname,x,y,z,\n,,,,\nL1,1,2,3,\n\n,,,,"\n"\n', [1, 2, 3]),
    "a header that is filled up": ("name,x,y,z,,,\nL1,1,2,3,,,\n", [1, 2, 3]),
    "a row name before the first column": ('"","name","x","y","z"\n"1","L1",1,2,3\n', [1, 2, 3]),
    "a table of Slicer in LPS": (
        "label,l,p,s,defined,selected,visible,locked,description\nL1,1,2,3,1,1,1,0,\nL2,0,0,0,0,1,1,0,\n",
        [1, 2, 3],
    ),
    "a table of Slicer in RAS": ("label,r,a,s,defined,selected\nL1,-1,-2,3,1,1\n", [1, 2, 3]),
    "row names of R": ('"","x","y","z"\n"L1",1,2,3\n', [1, 2, 3]),
    "remarks on top": ("# landmarks of today\n#\nLandmark,X,Y,Z\nL1,1,2,3\n", [1, 2, 3]),
    "a minus sign of typesetters": ("name,x,y,z\nL1,\N{MINUS SIGN}1,2,3e-1\n", [-1, 2, 0.3]),
}


@pytest.mark.parametrize("how", SEPARATED)
def test_a_table_as_table_programs_of_any_country_save_it(tmp_path: Path, how: str) -> None:
    text, position = SEPARATED[how]
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    landmarks = read_landmarks(tmp_path / "a.csv")
    assert landmarks.names == ("L1",)
    np.testing.assert_array_equal(landmarks.positions, [position])


AMBIGUOUS = {
    "thousands or decimals": 'name,x,y,z\nL1,"1,234","2,345","3,456"\n',
    "thousands beside decimals": 'name,x,y,z\nL1,"1,234.5",2,3\n',
    "commas beside points": 'name,x,y,z\nL1,"1,5",2.5,3\n',
    "points for thousands": "name;x;y;z\nL1;1.234,5;2;3\n",
    "thousands apart": "name;x;y;z\nL1;1 234;2;3\n",
    "thousands apart by a line": "name;x;y;z\nL1;1_234;2;3\n",
    "thousands apart by a stroke": "name;x;y;z\nL1;1'234;2;3\n",
    "thousands with tabs": "name\tx\ty\tz\nL1\t1,234\t2\t3\n",
}


@pytest.mark.parametrize("how", AMBIGUOUS)
def test_a_number_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, how: str) -> None:
    (tmp_path / "a.csv").write_text(AMBIGUOUS[how], encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2: x is .*write numbers with a point before the decimals"):
        read_landmarks(tmp_path / "a.csv")


@pytest.mark.parametrize("text", ["name,x,y,z,X\nL1,1,2,3,4\n", "name;x;x;y;z\nL1;1;2;3;4\n"])
def test_a_column_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="the column 'x' stands twice; remove or rename one"):
        read_landmarks(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "spelling", ["# coordinatesystem = lps", "#CoordinateSystem=LPS", '"# COORDINATE SYSTEM = 1",,']
)
def test_a_fiducial_file_says_its_coordinate_system_in_any_spelling(tmp_path: Path, spelling: str) -> None:
    text = f"# Markups fiducial file version = 4.10\n{spelling}\n{COLUMNS}{ROW}\n"
    (tmp_path / "a.fcsv").write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.fcsv").positions, [[10, 20, 30]])


HEADLESS = {
    ROW + ",,\n": "the first lines, which say the columns and LPS or RAS, are missing",
    "name,x,y,z\nL1,1,2,3\n": "name it so if its points are in LPS",
    HEAD + COLUMNS.replace("y,z", "y,y,z") + ROW + "\n": "the column 'y' stands twice",
}


@pytest.mark.parametrize("text", HEADLESS)
def test_a_fiducial_file_that_does_not_say_what_its_cells_are_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.fcsv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=HEADLESS[text]):
        read_landmarks(tmp_path / "a.fcsv")


@pytest.mark.parametrize("kind", [".fcsv", ".mrk.json"])
@pytest.mark.parametrize("suffix", LANDMARK_SUFFIXES)
def test_what_a_file_is_stands_in_it_not_in_its_name(tmp_path: Path, kind: str, suffix: str) -> None:
    landmarks = LandmarkSet(["A", "B"], np.array([[1.0, 2, 3], [-4, 5, 6]]))
    write_landmarks(landmarks, tmp_path / f"right{kind}", coordinate_system="RAS")
    (tmp_path / f"right{kind}").rename(tmp_path / f"named{suffix}")
    np.testing.assert_array_equal(read_landmarks(tmp_path / f"named{suffix}").positions, landmarks.positions)


# files whose labels are numbers

AFIDS_HEAD = "# Markups fiducial file version = 4.6\n# CoordinateSystem = 0\n" + COLUMNS


def numbered_rows(*points: tuple[str, str], lock: int = 1) -> str:
    row = "vtkMRMLMarkupsFiducialNode_{0},1.5,{0},-4.25,0,0,0,1,1,1,{1},{0},{2},vtkMRMLScalarVolumeNode1\n"
    return AFIDS_HEAD + "".join(row.format(label, lock, words) for label, words in points)


@pytest.mark.parametrize("lock", [0, 1])
def test_afids_have_their_names_however_a_rater_spelt_them(tmp_path: Path, lock: int) -> None:
    text = numbered_rows(("1", "AC"), ("10", "Culmen"), ("19", "Genu of  CC"), ("20", "spleniun"), lock=lock)
    landmarks = read_landmarks(written(tmp_path, "a.fcsv", text))
    assert landmarks.names == ("AC", "culmen", "genu of CC", "splenium of CC")
    assert landmarks.descriptions == ("AFID01", "AFID10", "AFID19", "AFID20")
    np.testing.assert_array_equal(landmarks.positions[1], [-1.5, -10, -4.25])


def test_an_afid_whose_number_and_name_contradict_each_other_is_refused(tmp_path: Path) -> None:
    text = numbered_rows(("1", "AC"), ("2", "PC"), ("6", "L superior LMS"))
    with pytest.raises(InputError, match=r"line 6: the label 6 is that of .*R superior LMS.* that of 7"):
        read_landmarks(written(tmp_path, "a.fcsv", text))


def test_other_numbers_are_names(tmp_path: Path) -> None:
    text = numbered_rows(("1", "tip of the nose"), ("2", "chin"))
    assert read_landmarks(written(tmp_path, "a.fcsv", text)).names == ("1", "2")
    shifted = AFIDS_HEAD + "1,10,5,20,1,0,0,0,1,1,1,0,3,,\n2,10,20,30,0,0,0,1,1,1,0,2,chin,\n"
    with pytest.raises(InputError, match=r"line 4: .*write decimals with a point"):
        read_landmarks(written(tmp_path, "b.fcsv", shifted))
