"""Cases: split files, and what a case says about its landmarks."""

import unicodedata
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LandmarkDetectionLib.data.cases import (
    Case,
    case_landmarks,
    discover_table,
    find_table,
    natural_key,
    read_split,
    write_split,
)
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.masks import draw_mask
from LandmarkDetectionLib.data.table import Landmark, LandmarkTable, write_table
from LandmarkDetectionLib.data.volume import Volume, write_volume

HEADER = "image_name,image_path,landmark_file_path,landmark_mask_path\n"
FRAME = Frame(size=(20, 22, 24), origin=(5, -7, 9), spacing=(0.5, 0.5, 0.7))
NASION, BREGMA = FRAME.index_to_world([(6, 7, 8), (14, 12, 15)])
TABLE = LandmarkTable((Landmark("nasion", 1), Landmark("bregma", 5), Landmark("lambda", 7)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files that a split can name."""
    for name in ("a.nii.gz", "b.nii.gz", "a.csv", "b.csv", "a_mask.nii.gz"):
        (tmp_path / name).touch()
    return tmp_path


def write_csv(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "train.csv"
    path.write_text(header + rows, encoding="utf-8")
    return path


def refusal(path: Path, *, supervised: bool = True) -> str:
    with pytest.raises(InputError) as caught:
        read_split(path, supervised=supervised)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    return message


def write_mask(path: Path, labels: list[int]) -> None:
    voxels = draw_mask(FRAME, [NASION, BREGMA], labels, positive=1.5, negative=3)
    write_volume(Volume(voxels, FRAME), path)


def test_a_split_gives_its_cases(folder: Path) -> None:
    path = write_csv(
        folder, "a,a.nii.gz,a.csv,a_mask.nii.gz,family 1\nb,b.nii.gz,b.csv,,\n", HEADER.strip() + ",group\n"
    )
    assert read_split(path, supervised=True) == [
        Case("a", folder / "a.nii.gz", folder / "a.csv", folder / "a_mask.nii.gz", "family 1"),
        Case("b", folder / "b.nii.gz", folder / "b.csv"),
    ]


def test_a_split_from_windows_is_read(folder: Path) -> None:
    (folder / "scans").mkdir()
    (folder / "scans" / "a.nii.gz").touch()
    path = folder / "train.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + (HEADER + "a,scans\\a.nii.gz,.\\a.csv,\n").replace("\n", "\r\n").encode()
    )
    (case,) = read_split(path, supervised=True)
    assert case.image_path == folder / "scans" / "a.nii.gz"


def test_absolute_paths_are_taken_as_they_are(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_csv(tmp_path_factory.mktemp("elsewhere"), f"a,{folder / 'a.nii.gz'},{folder / 'a.csv'},\n")
    assert read_split(path, supervised=True)[0].image_path == folder / "a.nii.gz"


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_csv", ["NFC", "NFD"])
def test_accents_and_spaces_in_paths_are_right(tmp_path: Path, on_disk: str, in_csv: str) -> None:
    def spelled(form: str) -> str:
        return unicodedata.normalize("NFC" if form == "NFC" else "NFD", "crâne numéro 1.nii.gz")

    (tmp_path / spelled(on_disk)).touch()
    path = write_csv(tmp_path, f"a,{spelled(in_csv)},,\n")
    assert read_split(path, supervised=False)[0].image_path.exists()


def test_empty_lines_are_no_cases(folder: Path) -> None:
    assert len(read_split(write_csv(folder, "\na,a.nii.gz,a.csv,\n,,,\n\n"), supervised=True)) == 1


def test_scans_without_landmarks_make_a_split_for_detection(folder: Path) -> None:
    path = write_csv(folder, "a,a.nii.gz\n", "image_name,image_path\n")
    assert read_split(path, supervised=False) == [Case("a", folder / "a.nii.gz")]


def test_a_missing_split_file_is_refused(tmp_path: Path) -> None:
    assert "there is no such list of cases" in refusal(tmp_path / "train.csv")


@pytest.mark.parametrize("column", HEADER.strip().split(","))
def test_a_missing_column_is_named(folder: Path, column: str) -> None:
    header = ",".join("x" if name == column else name for name in HEADER.strip().split(","))
    assert f"'{column}' is missing" in refusal(write_csv(folder, "a,a.nii.gz,a.csv,\n", header + "\n"))


@pytest.mark.parametrize("rows", ["", "\n", ",,,\n"])
def test_a_split_without_a_case_is_refused(folder: Path, rows: str) -> None:
    assert "no case" in refusal(write_csv(folder, rows))


def test_an_empty_file_is_refused(folder: Path) -> None:
    assert "is missing" in refusal(write_csv(folder, "", ""))


def test_two_cases_of_one_name_are_refused_with_both_lines(folder: Path) -> None:
    message = refusal(write_csv(folder, "a,a.nii.gz,a.csv,\na,b.nii.gz,b.csv,\n"))
    assert "line 3" in message
    assert "line 2" in message


@pytest.mark.parametrize("name", ["", "x/a", "x\\a"])
def test_a_name_that_no_file_can_have_is_refused(folder: Path, name: str) -> None:
    assert "line 2: image_name" in refusal(write_csv(folder, f"{name},a.nii.gz,a.csv,\n"))


def test_an_empty_image_path_is_refused(folder: Path) -> None:
    assert "line 2: image_path is empty" in refusal(write_csv(folder, "a,,a.csv,\n"))


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("a,x.nii.gz,a.csv,", "image_path"),
        ("a,a.nii.gz,x.csv,", "landmark_file_path"),
        ("a,a.nii.gz,,x.nii", "landmark_mask_path"),
    ],
)
def test_a_missing_file_is_named_with_its_line(folder: Path, row: str, column: str) -> None:
    message = refusal(write_csv(folder, f"b,b.nii.gz,b.csv,\n{row}\n"))
    assert f"line 3: {column} is" in message
    assert str(folder / "x.") in message


def test_a_training_case_without_landmarks_is_refused(folder: Path) -> None:
    path = write_csv(folder, "a,a.nii.gz,,\n")
    assert "neither a landmark_file_path nor a landmark_mask_path" in refusal(path)
    assert len(read_split(path, supervised=False)) == 1


def test_a_path_with_a_bare_comma_is_refused(folder: Path) -> None:
    assert "line 2: more cells than columns" in refusal(write_csv(folder, "a,a,1.nii.gz,a.csv,\n"))


def test_a_file_of_another_encoding_is_refused(folder: Path) -> None:
    path = folder / "train.csv"
    path.write_bytes((HEADER + "crâne,a.nii.gz,a.csv,\n").encode("cp1252"))
    assert "UTF-8" in refusal(path)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1
)


@given(
    st.lists(
        st.tuples(NAMES, NAMES), min_size=1, unique_by=lambda pair: unicodedata.normalize("NFC", pair[0])
    )
)
def test_a_written_split_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("split")
    (folder / "a.nii.gz").touch()
    cases = [
        Case(
            unicodedata.normalize("NFC", name), folder / "a.nii.gz", group=unicodedata.normalize("NFC", group)
        )
        for name, group in rows
    ]
    write_split(cases, folder / "all.csv")
    assert read_split(folder / "all.csv", supervised=False) == cases


def test_a_written_split_moves_with_its_data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "splits").mkdir()
    write_split([Case("a", folder / "a.nii.gz", folder / "a.csv")], folder / "splits" / "train.csv")
    assert "a,../a.nii.gz,../a.csv,\n" in (folder / "splits" / "train.csv").read_text(encoding="utf-8")
    moved = folder.rename(tmp_path_factory.mktemp("moved") / "data")
    assert read_split(moved / "splits" / "train.csv", supervised=True)[0].image_path.exists()


def test_a_split_has_a_group_column_only_where_there_are_groups(folder: Path) -> None:
    write_split([Case("a", folder / "a.nii.gz")], folder / "plain.csv")
    write_split([Case("a", folder / "a.nii.gz", group="g")], folder / "grouped.csv")
    assert (folder / "plain.csv").read_text(encoding="utf-8").startswith(HEADER)
    assert read_split(folder / "grouped.csv", supervised=False)[0].group == "g"


def test_the_landmark_file_speaks_before_the_mask(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.nii.gz", [1, 5])
    write_landmarks(LandmarkSet(["nasion", "lambda"], np.array([NASION, [np.nan] * 3])), tmp_path / "a.csv")
    case = Case("a", tmp_path / "a.nii.gz", tmp_path / "a.csv", tmp_path / "mask.nii.gz")
    landmarks = case_landmarks(case, TABLE)
    assert landmarks.names == ("nasion", "lambda")
    assert landmarks.present.tolist() == [True, False]


def test_a_mask_gives_the_centres_of_its_balls_by_name(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.nii.gz", [1, 5])
    landmarks = case_landmarks(Case("a", tmp_path / "a.nii.gz", None, tmp_path / "mask.nii.gz"), TABLE)
    assert landmarks.names == ("nasion", "bregma")
    np.testing.assert_allclose(landmarks.positions, [NASION, BREGMA], atol=0.05)


def test_a_mask_does_not_say_that_a_landmark_is_absent(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.nii.gz", [1, 5])
    landmarks = case_landmarks(Case("a", tmp_path / "a.nii.gz", None, tmp_path / "mask.nii.gz"), TABLE)
    assert "lambda" not in landmarks.names


def test_a_mask_with_an_unknown_label_is_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.nii.gz", [1, 6])
    with pytest.raises(InputError, match=r"mask\.nii\.gz.*\b6\b"):
        case_landmarks(Case("a", tmp_path / "a.nii.gz", None, tmp_path / "mask.nii.gz"), TABLE)


def test_a_mask_without_a_table_is_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.nii.gz", [1, 5])
    with pytest.raises(InputError, match=r"put its landmarks\.csv beside it"):
        case_landmarks(Case("a", tmp_path / "a.nii.gz", None, tmp_path / "mask.nii.gz"), None)


def test_a_landmark_that_the_table_does_not_know_is_refused(tmp_path: Path) -> None:
    write_landmarks(LandmarkSet(["nasoin"], np.array([NASION])), tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"a\.csv.*'nasoin' is not in the landmark table"):
        case_landmarks(Case("a", tmp_path / "a.nii.gz", tmp_path / "a.csv"), TABLE)


@pytest.mark.parametrize("place", ["", "masks"])
def test_the_table_is_found_beside_the_split_or_its_masks(tmp_path: Path, place: str) -> None:
    write_table(TABLE, tmp_path / place / "landmarks.csv")
    case = Case("a", tmp_path / "a.nii.gz", None, tmp_path / "masks" / "a.nii.gz")
    assert find_table(tmp_path / "train.csv", [case]) == TABLE


def test_no_table_is_found_where_there_is_none(tmp_path: Path) -> None:
    assert find_table(tmp_path / "train.csv", [Case("a", tmp_path / "a.nii.gz")]) is None


def test_two_tables_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "landmarks.csv")
    write_table(LandmarkTable.from_names(["lambda", "nasion"]), tmp_path / "masks" / "landmarks.csv")
    case = Case("a", tmp_path / "a.nii.gz", None, tmp_path / "masks" / "a.nii.gz")
    with pytest.raises(InputError, match="name labels differently"):
        find_table(tmp_path / "train.csv", [case])


def test_the_names_in_the_landmark_files_make_a_table_in_natural_order(tmp_path: Path) -> None:
    cases = []
    for case, names in (("a", ["L10", "L2"]), ("b", ["l1", "L2", "bregma"])):
        write_landmarks(LandmarkSet(names, np.zeros((len(names), 3))), tmp_path / f"{case}.csv")
        cases.append(Case(case, tmp_path / "x.nii.gz", tmp_path / f"{case}.csv"))
    assert discover_table(cases, tmp_path / "train.csv").names == ("bregma", "l1", "L2", "L10")


def test_landmarks_without_a_name_anywhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a landmarks\.csv nor a landmark file"):
        discover_table([Case("a", tmp_path / "a.nii.gz")], tmp_path / "train.csv")


@given(st.lists(st.text()), st.randoms())
def test_any_names_have_one_natural_order(names: list[str], random: Random) -> None:
    shuffled = random.sample(names, len(names))
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


def test_what_is_no_list_of_cases_is_called_what_it_is(tmp_path: Path) -> None:
    assert "this is a folder" in refusal(tmp_path)
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    assert "this is an image" in refusal(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("before", ["", "sep={}\r\n", "{0}{0}\r\n\r\n"])
def test_a_list_of_cases_of_another_country_is_read(folder: Path, separator: str, before: str) -> None:
    table = (HEADER + "crâne,a.nii.gz,a.csv,\n,,,\n").replace(",", separator)
    path = folder / "train.csv"
    path.write_text(before.format(separator) + table, encoding="utf-8")
    (case,) = read_split(path, supervised=True)
    assert (case.name, case.image_path) == ("crâne", folder / "a.nii.gz")


def test_a_column_that_stands_twice_is_refused(folder: Path) -> None:
    path = folder / "train.csv"
    path.write_text(HEADER.replace("\n", ",image_path\n") + "a,a.nii.gz,a.csv,,b.nii.gz\n", encoding="utf-8")
    assert "the column 'image_path' stands twice; remove or rename one" in refusal(path)


def names_alone(tmp_path: Path, names: dict[str, list[str]]) -> Path:
    rows = []
    for case, own in names.items():
        (tmp_path / f"{case}.nii.gz").touch()
        lines = ["name,x,y,z", *(f"{name},{row},0,0" for row, name in enumerate(own))]
        (tmp_path / f"{case}.csv").write_text("\n".join(lines) + "\n")
        rows.append(f"{case},{case}.nii.gz,{case}.csv,")
    (tmp_path / "cases.csv").write_text(
        "\n".join(["image_name,image_path,landmark_file_path,landmark_mask_path", *rows]) + "\n"
    )
    return tmp_path / "cases.csv"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            {case: [f"{case}-{k}" for k in range(16)] for case in "ab"},
            "no landmark of 32 occurs in two cases",
        ),
        (
            {case: ["Nasion", *(f"{case}-{k}" for k in range(15))] for case in "abcdef"},
            "only 1 landmark of 91 occurs in two cases, and 'a-0' is in 'a' alone",
        ),
    ],
)
def test_names_of_each_scan_for_itself_are_no_landmarks(
    tmp_path: Path, names: dict[str, list[str]], words: str
) -> None:
    listing = names_alone(tmp_path, names)
    with pytest.raises(InputError, match=words):
        discover_table(read_split(listing, supervised=True), listing)


@pytest.mark.parametrize(
    "names",
    [
        {"a": [f"L{k}" for k in range(16)]},  # one case
        {"a": ["L1", "L2", "L3"], "b": ["L3", "L4", "L5"]},  # two, each with a part
        {case: ["L1", "L2", "L3", f"tumour {case}"] for case in "abcdef"},  # some that are rare
        {"a": [f"x{k}" for k in range(9)], **{case: ["L1", "L2", "L3"] for case in "bcde"}},  # one is odd
    ],
)
def test_rare_landmarks_are_landmarks(tmp_path: Path, names: dict[str, list[str]]) -> None:
    listing = names_alone(tmp_path, names)
    table = discover_table(read_split(listing, supervised=True), listing)
    assert set(table.names) == {name for own in names.values() for name in own}
