"""Names, lists and folders as they are on other people's computers, through the commands."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from LandmarkDetectionLib.data.cases import read_split
from Testing.small_model import write_small_model

if TYPE_CHECKING:
    from Testing.Python.train_cli.conftest import Run

NAMES = {
    "spaces": "skull  no 1 ",
    "accents composed": unicodedata.normalize("NFC", "Schädel é 骨"),
    "accents decomposed": unicodedata.normalize("NFD", "Schädel é"),
    "quotes": 'O\'Brien "left" `x` $HOME',
    "separators": "a,b;c=1#&%20 [x]{y}",
    "as long as a name may be": "x" * 229,  # and .nii.gz, _mask, .mrk.json
}
FIRST = "phantom_001"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model for scans as coarse as the phantoms of these tests."""
    return write_small_model(tmp_path / "model", spacing=10.0)


def renamed(data_set: Path, name: str) -> Path:
    """The data set with a case and the folders of that name; gives the list of its cases."""
    folder = data_set.parent / name
    data_set.rename(folder)
    (folder / "images").rename(folder / name)
    for part, suffix in ((name, ".nii.gz"), ("landmarks", ".mrk.json")):
        (folder / part / f"{FIRST}{suffix}").rename(folder / part / f"{name}{suffix}")
    text = (folder / "cases.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    with (folder / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            moved = {column: cell.replace(FIRST, name) for column, cell in row.items()}
            writer.writerow({**moved, "image_path": moved["image_path"].replace("images", name, 1)})
    return folder / "cases.csv"


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not have")
@pytest.mark.parametrize("kind", NAMES)
def test_any_name_goes_through_all_commands(run: Run, data_set: Path, model: Path, kind: str) -> None:
    name = NAMES[kind]
    listed = renamed(data_set, name)
    again, out = listed.parent / "again.csv", listed.parent / "out"
    commands: list[list[object]] = [
        ["cases", listed.parent / name, "--landmarks", listed.parent / "landmarks", "--output", again],
        ["check", listed],
        ["masks", listed, "--output", out / "masks"],
        ["split", listed, "--output", out / "splits"],
        ["detect", listed, "--model", model, "--output", out / "found"],
    ]
    for command in commands:
        finished = run(*command, "--json")
        assert finished.code == 0, (command[0], finished.err)
    shown = unicodedata.normalize("NFC", name.strip())
    assert shown in {case.name for case in read_split(again, supervised=True)}
    assert shown in {case.name for case in read_split(out / "masks/cases.csv", supervised=True)}
    assert (out / "found" / f"{shown}.mrk.json").is_file()
    parts = [read_split(out / f"splits/{part}.csv", supervised=True) for part in ("train", "val", "test")]
    assert shown in {case.name for cases in parts for case in cases}


def from_excel(text: str) -> bytes:
    """With semicolons, spaces around columns, quotes, empty columns and rows, a byte order mark."""
    header, *rows = csv.reader(io.StringIO(text.replace("/", "\\")))
    lines = [" ; ".join(header), *(";".join(f'"{cell}"' for cell in row) for row in rows), ";;;"]
    return ("\ufeff" + "".join(f"{line};;\r\n" for line in lines)).encode()


SAVED: dict[str, Callable[[str], bytes]] = {
    "paths of Windows": lambda text: text.replace("/", "\\").encode(),
    "CSV of Excel": from_excel,
    "Unicode text of Excel": lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "all cells quoted": lambda text: "\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()
    ).encode(),
}


@pytest.mark.parametrize("how", SAVED)
def test_a_list_that_was_saved_elsewhere_goes_through_all_commands(
    run: Run, data_set: Path, model: Path, how: str
) -> None:
    listed, out = data_set / "cases.csv", data_set / "out"
    listed.write_bytes(SAVED[how](listed.read_text(encoding="utf-8")))
    for command in (
        ["check", listed],
        ["masks", listed, "--output", out / "masks"],
        ["split", listed, "--output", out / "splits"],
        ["detect", listed, "--model", model, "--output", out / "found"],
    ):
        finished = run(*command, "--json")
        assert finished.code == 0, (command[0], finished.err)
    assert len(list((out / "found").glob("*.mrk.json"))) == 5
    assert len(list((out / "masks").glob("*_mask.nii.gz"))) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="there it is a path")
@pytest.mark.parametrize("path", ["C:\\scans\\a.nii.gz", "d:/scans/a.nii.gz", "\\\\server\\scans\\a.nii.gz"])
@pytest.mark.parametrize("command", ["check", "masks", "detect"])
def test_a_path_with_the_letter_of_a_drive_is_told_what_to_do(
    run: Run, data_set: Path, model: Path, path: str, command: str
) -> None:
    listed = data_set / "cases.csv"
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace(f"images/{FIRST}.nii.gz", path), encoding="utf-8")
    with_model = ["--model", model] if command == "detect" else []
    output = [] if command == "check" else ["--output", data_set / "out"]
    finished = run(command, listed, *with_model, *output, "--quiet")
    assert finished.code == 2 and "Traceback" not in finished.err
    assert "a path of a Windows computer; copy the files to where this list is" in finished.err


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("1,5;-20,25;3", None),
        ('"1,5";"-20,25";"3"', None),
        ("1.234,5;0;0", "1.234,5"),
        ("1.234.567;0;0", "1.234.567"),
        ("1 234,5;0;0", "1 234,5"),
        ("1'234;0;0", "1'234"),
    ],
)
def test_landmarks_of_a_european_table_are_read_and_thousands_are_not_guessed(
    run: Run, data_set: Path, cells: str, said: str | None
) -> None:
    points = data_set / "landmarks" / f"{FIRST}.csv"
    text = f"\ufeffname;x;y;z;;\r\nnasion;{cells};;\r\nbregma;0,5;0;0;;\r\n;;;;;\r\n"
    points.write_bytes(text.encode())
    listed = data_set / "cases.csv"
    row = f"a,images/{FIRST}.nii.gz,landmarks/{points.name},"
    header = "image_name,image_path,landmark_file_path,landmark_mask_path"
    listed.write_text(f"{header}\n{row}\n", encoding="utf-8")
    (data_set / "landmarks.csv").unlink()
    finished = run("masks", listed, "--output", data_set / "out")
    if said is None:
        assert finished.code == 0, finished.err
        assert len(list((data_set / "out").glob("*_mask.nii.gz"))) == 1
    else:
        sentence = " ".join(finished.err.split())
        assert finished.code == 2 and said in sentence and "nothing between thousands" in sentence


AS_TWO_USERS = """
import os, sys
from train_cli.app import main
_, folder, umask, mode = sys.argv
arguments = ["--model", f"{folder}/model", "--output", f"{folder}/out", "--quiet"]
first, second = (f"{folder}/images/phantom_00{number}.nii.gz" for number in (1, 2))
os.umask(int(umask))
print(main(["detect", first, *arguments]))  # as root; then all that a detection imports is there
os.chmod(f"{folder}/out", int(mode))
for user in (65534, 0):
    os.seteuid(user)
    print(main(["detect", second, *arguments]))
"""
ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("mode", "umask"), [(0o777, 0o077), (0o755, 0o022)])
def test_two_users_who_detect_into_one_folder_get_a_result_or_a_sentence(
    data_set: Path, model: Path, open_folder: Path, mode: int, umask: int
) -> None:
    shutil.copytree(data_set / "images", open_folder / "images")
    shutil.copytree(model, open_folder / "model")
    arguments = (str(open_folder), str(umask), str(mode))
    finished = subprocess.run(
        [sys.executable, "-c", AS_TWO_USERS, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split() == ["0", "2", "0"], finished.stderr
    assert "Traceback" not in finished.stderr and "ermission denied" in finished.stderr
    found = {path.name for path in (open_folder / "out").glob("*.mrk.json")}
    assert found == {f"phantom_00{number}.mrk.json" for number in (1, 2)}


def test_two_processes_that_detect_into_one_folder_at_once_lose_nothing(data_set: Path, model: Path) -> None:
    out = data_set / "out"
    images = sorted(map(str, (data_set / "images").glob("*.nii.gz")))
    command = [sys.executable, "-m", "train_cli", "detect", "--model", str(model), "--output", str(out)]
    jobs = [subprocess.Popen([*command, *part, "--quiet"], cwd=ROOT) for part in (images[:3], images[2:])]
    assert [job.wait() for job in jobs] == [0, 0]
    listed = (out / "summary.csv").read_text(encoding="utf-8")
    assert all(f"phantom_00{number}," in listed for number in range(1, 6))
    assert not list(out.rglob(".writing-*"))
