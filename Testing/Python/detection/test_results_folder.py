"""A folder of results: it goes on where it stopped, and keeps what a person did."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.digests import identify
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.detection.inputs import Input
from LandmarkDetectionLib.detection.results import CaseDetections, CaseOutcome, Detection, read_case
from LandmarkDetectionLib.detection.results_folder import ResultsFolder, refuse_shared_names
from LandmarkDetectionLib.detection.review import Review, in_order_of_doubt, review
from LandmarkDetectionLib.model.bundle import describe_bundle, load_bundle

ROOT = Path(__file__).parents[3]
NAMES = ("nasion", "bregma", "lambda")


@pytest.fixture
def a_case(tmp_path: Path) -> Case:
    return scan(tmp_path / "scans", "head")


def scan(folder: Path, name: str, content: str = "voxels") -> Case:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.nii.gz"
    path.write_text(content)
    return Case(name, path)


def detected(name: str, *confidences: float) -> CaseDetections:
    sure, points = confidences or (0.9, 0.8, 0.7), np.eye(3) * 10
    found = zip(NAMES, points, sure, strict=True)
    return CaseDetections(
        name, tuple(Detection(label, point, "found", share) for label, point, share in found)
    )


def opened(model: Path, *, overwrite: bool = False, pictures: bool = False) -> ResultsFolder:
    """The folder of results beside the model, as a new run sees it."""
    folder = model.parent / "out"
    return ResultsFolder(folder, model, load_bundle(model), overwrite=overwrite, pictures=pictures)


def keep(results: ResultsFolder, case: Case, *confidences: float) -> CaseOutcome:
    return results.keep(
        case, detected(case.name, *confidences), identify(case.image_path), seconds=1.5, warnings=("odd.",)
    )


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_result_of_the_same_scan_and_model_is_done(a_model: Path, a_case: Case) -> None:
    assert opened(a_model).done(a_case) is None
    keep(opened(a_model), a_case)
    done = opened(a_model).done(a_case)
    assert done is not None and done.result is not None and done.done_before
    assert (done.seconds, done.warnings) == (1.5, ("odd.",))
    assert [path.name for path in done.files] == ["head.mrk.json", "head.csv"]
    assert len(done.result.detections) == 3


def test_a_scan_that_was_moved_or_copied_is_still_the_same(a_model: Path, a_case: Case) -> None:
    keep(opened(a_model), a_case)
    moved = a_case.image_path.parent / "elsewhere.nii.gz"
    shutil.copy(a_case.image_path, moved)
    assert opened(a_model).done(Case("head", moved)) is not None


def test_a_scan_with_another_content_is_not_done_and_its_result_is_replaced(
    a_model: Path, a_case: Case
) -> None:
    keep(opened(a_model), a_case)
    a_case.image_path.write_text("VOXELS")
    assert opened(a_model).done(a_case) is None
    keep(opened(a_model), a_case, 0.5, 0.5, 0.5)
    assert read_case(a_model.parent / "out", "head").detections[0].confidence == 0.5
    assert opened(a_model).done(a_case) is not None


def test_what_a_model_says_of_itself_changes_no_result_and_its_settings_do(
    a_model: Path, a_case: Case
) -> None:
    keep(opened(a_model), a_case)
    describe_bundle(a_model, licence="CC0-1.0", intended_use="Mice.")
    assert opened(a_model).done(a_case) is not None
    path = a_model / "model.json"
    path.write_text(path.read_text().replace('"threshold": 0.4', '"threshold": 0.6'))
    assert opened(a_model).done(a_case) is None


def test_a_corrected_result_is_done_and_is_never_replaced_without_overwrite(
    a_model: Path, a_case: Case
) -> None:
    keep(opened(a_model), a_case)
    corrected = a_model.parent / "out" / "head.mrk.json"
    content = corrected.read_text().replace("10.0", "11.0")
    corrected.write_text(content)
    done = opened(a_model).done(a_case)
    assert done is not None and done.result is not None and done.corrected
    np.testing.assert_allclose([item.position for item in done.result.detections], np.eye(3) * 11)
    with pytest.raises(InputError, match="was changed since this program wrote it, so it is kept"):
        keep(opened(a_model), a_case)
    assert corrected.read_text() == content
    corrected.write_text("damaged")
    assert opened(a_model).done(a_case) is None
    keep(opened(a_model, overwrite=True), a_case)
    assert corrected.read_text() not in (content, "damaged")
    keep(opened(a_model), a_case)


def test_a_corrected_table_is_given_as_corrected_and_changed_markups_count_before_it(
    a_model: Path, a_case: Case
) -> None:
    keep(opened(a_model), a_case)
    for name, edge in (("head.csv", 12), ("head.mrk.json", 13)):
        path = a_model.parent / "out" / name
        path.write_text(path.read_text().replace("10.0", f"{edge}.0"))
        done = opened(a_model).done(a_case)
        assert done is not None and done.result is not None and done.corrected
        np.testing.assert_allclose([item.position for item in done.result.detections], np.eye(3) * edge)


@pytest.mark.parametrize("name", ["head.csv", "head.mrk.json"])
def test_a_persons_own_file_of_that_name_is_kept(a_model: Path, a_case: Case, name: str) -> None:
    own = a_model.parent / "out" / name
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(InputError, match="was not written by this program, so it is kept") as caught:
        keep(opened(a_model), a_case)
    assert str(own) in str(caught.value) and "--overwrite" in str(caught.value)
    assert [path.name for path in own.parent.iterdir()] == [name] and own.read_text() == "mine"


def test_a_file_that_the_run_reads_is_not_even_replaced_with_overwrite(a_model: Path, a_case: Case) -> None:
    folder = a_model.parent / "out"
    results = ResultsFolder(
        folder, a_model, load_bundle(a_model), overwrite=True, given=[folder / "head.mrk.json"]
    )
    with pytest.raises(InputError, match="the same run reads this file"):
        keep(results, a_case)


def test_results_of_another_scan_of_the_same_name_are_kept(a_model: Path, a_case: Case) -> None:
    keep(opened(a_model), a_case)
    other = scan(a_model.parent / "others", "head", "another head")
    with pytest.raises(InputError, match="are of another scan") as caught:
        keep(opened(a_model), other)
    assert str(a_case.image_path) in str(caught.value)
    keep(opened(a_model, overwrite=True), other)


@pytest.mark.parametrize("files_moved", [0, 1])
def test_a_process_that_is_killed_while_it_writes_is_gone_on_from(
    a_model: Path, a_case: Case, monkeypatch: pytest.MonkeyPatch, files_moved: int
) -> None:
    """Where earlier results are replaced, neither old nor new ones are taken for a person's."""
    keep(opened(a_model), a_case)
    a_case.image_path.write_text("VOXELS")
    folder, moved = a_model.parent / "out", 0
    replace = Path.replace

    def move(self: Path, target: Path) -> Path:
        nonlocal moved
        if target.parent == folder and target.name.startswith("head"):
            if moved == files_moved:
                raise KeyboardInterrupt
            moved += 1
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", move)
        with pytest.raises(KeyboardInterrupt):
            keep(opened(a_model), a_case, 0.5, 0.5, 0.5)
    assert opened(a_model).done(a_case) is None
    keep(opened(a_model), a_case, 0.5, 0.5, 0.5)
    assert opened(a_model).done(a_case) is not None
    assert not list(folder.glob(".*"))


def test_a_picture_that_is_asked_for_is_missing_until_it_is_drawn_and_goes_with_its_result(
    a_model: Path, a_case: Case
) -> None:
    keep(opened(a_model), a_case)
    assert opened(a_model, pictures=True).done(a_case) is None
    opened(a_model, pictures=True).keep(
        *(a_case, detected("head"), identify(a_case.image_path)),
        seconds=1,
        draw=lambda path: path.write_text("picture"),
    )
    assert opened(a_model, pictures=True).done(a_case) is not None
    keep(opened(a_model), a_case, 0.5, 0.5, 0.5)
    assert not (a_model.parent / "out" / "head.png").exists()


def test_the_summary_keeps_earlier_cases_and_ranks_all_as_the_panel_does(
    a_model: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(a_model)
    results = []
    for name, confidences in (("sure", (0.9, 0.9, 0.9)), ("unsure", (0.2, 0.9, 0.9)), ("fair", (0.6,) * 3)):
        case = scan(tmp_path / "scans", name, name)
        outcome = keep(opened(a_model), case, *confidences)
        path = opened(a_model).summarise([outcome])
        results.append(review(detected(name, *confidences), bundle.table.names, bundle.shape.mean))
    bad = Case("bad", tmp_path / "scans" / "bad.nii.gz")
    bad.image_path.write_text("")
    opened(a_model).summarise([CaseOutcome("bad", bad.image_path, None, "It is empty.")])
    expected = ["bad", *(item.case for item in in_order_of_doubt(results))]
    assert [row["case"] for row in rows(path)] == expected == ["bad", "unsure", "fair", "sure"]
    assert rows(path)[0]["error"] == "It is empty." and rows(path)[1]["min_confidence"] == "0.2"
    bad.image_path.unlink()
    opened(a_model).summarise([])
    assert [row["case"] for row in rows(path)] == expected[1:]


def test_the_summary_names_the_landmark_that_fits_least(a_model: Path, tmp_path: Path) -> None:
    description = json.loads((a_model / "model.json").read_text())
    description["mean_shape"] = [[0, 0, 0], [10, 0, 0], [0, 10, 0]]
    (a_model / "model.json").write_text(json.dumps(description))
    case = scan(tmp_path / "scans", "odd")
    bundle = load_bundle(a_model)
    judged = review(detected("odd"), bundle.table.names, bundle.shape.mean)
    (row,) = rows(opened(a_model).summarise([keep(opened(a_model), case)]))
    assert row["least_fitting"] == judged.least_fitting != ""
    assert float(row["misfit_mm"]) == pytest.approx(judged.misfit_mm, abs=1e-6)


def test_a_summary_that_a_person_has_changed_is_kept(a_model: Path, a_case: Case) -> None:
    path = opened(a_model).summarise([keep(opened(a_model), a_case)])
    path.write_text("my notes")
    with pytest.raises(InputError, match=r"summary\.csv: it was changed since"):
        opened(a_model).summarise([])
    assert path.read_text() == "my notes"


def test_a_record_that_cannot_be_read_is_told_and_keeps_only_its_own_case(
    a_model: Path, a_case: Case
) -> None:
    other = scan(a_case.image_path.parent, "other")
    for case in (a_case, other):
        keep(opened(a_model), case)
    record = a_model.parent / "out/detection-records/cases/head.json"
    record.write_text("{}")
    assert opened(a_model).done(a_case) is None and opened(a_model).done(other) is not None
    for touching in (lambda: keep(opened(a_model), a_case), lambda: opened(a_model).summarise([])):
        with pytest.raises(InputError, match=r"head\.json: the record of a result cannot be read"):
            touching()


WRITES = """
import sys
from collections.abc import Sequence
from pathlib import Path
import numpy as np
from LandmarkDetectionLib.data.cases import Case
from LandmarkDetectionLib.data.digests import identify
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.detection.results_folder import ResultsFolder
from LandmarkDetectionLib.model.bundle import load_bundle
model, folder = Path(sys.argv[1]), Path(sys.argv[2])
found = tuple(Detection(name, np.zeros(3), "found", 0.5) for name in ("nasion", "bregma", "lambda"))
results = ResultsFolder(folder, model, load_bundle(model))
print("ready", flush=True)
sys.stdin.readline()
for image in map(Path, sys.argv[3:]):
    case = Case(image.name.removesuffix(".nii.gz"), image)
    outcome = results.keep(case, CaseDetections(case.name, found), identify(image), seconds=1)
    results.summarise([outcome, results.failure(Case(f"bad {case.name}", image), "It is bad.")])
"""


def test_two_processes_that_detect_into_one_folder_lose_nothing(a_model: Path, tmp_path: Path) -> None:
    cases = [scan(tmp_path / "scans", f"{number}", f"{number}") for number in range(40)]
    halves = ([str(case.image_path) for case in cases[first::2]] for first in (0, 1))
    command = (sys.executable, "-c", WRITES, a_model, tmp_path / "out")
    pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    jobs = [subprocess.Popen([*command, *half], cwd=ROOT, encoding="utf-8", **pipes) for half in halves]
    for job in jobs:
        assert job.stdout is not None and job.stdout.readline() == "ready\n"
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("\n")
        job.stdin.flush()
    assert [job.communicate()[1] for job in jobs] == ["", ""]
    assert all(opened(a_model).done(case) is not None for case in cases)
    for case in cases:
        keep(opened(a_model), case)
    summary = rows(opened(a_model).summarise([]))
    names = {case.name for case in cases}
    assert {row["case"] for row in summary} == names | {f"bad {name}" for name in names}


def test_what_the_summary_was_earlier_is_forgotten_in_the_end(a_model: Path, a_case: Case) -> None:
    keep(opened(a_model), a_case)
    opened(a_model).summarise([])
    known = a_model.parent / "out/detection-records/summary.csv.written"
    (before,) = known.iterdir()
    os.utime(before, (0, 0))
    opened(a_model).summarise([CaseOutcome("bad", a_case.image_path, None, "It is empty.")])
    assert before not in known.iterdir() and len(list(known.iterdir())) == 1


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["summary", "head"], ["summary"]),
        (["Summary"], ["Summary"]),
        (["Head", "head", "HEAD"], ["head", "HEAD"]),
        (["Schädel", "Scha\u0308del"], ["Scha\u0308del"]),
        (["head", "head.mrk", "detections", "landmarks"], []),
    ],
)
def test_a_case_whose_files_would_be_anothers_is_refused_and_the_others_go_on(
    tmp_path: Path, names: list[str], refused: list[str]
) -> None:
    inputs = [Input(Case(name, tmp_path / f"{name}.nii.gz")) for name in names]
    checked = refuse_shared_names(inputs)
    assert [item.case.name for item in checked if item.problem] == refused
    assert all("would overwrite" in item.problem for item in checked if item.problem)


def test_a_scan_that_is_given_twice_is_one_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scan(tmp_path / "scans", "head").image_path
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    monkeypatch.chdir(tmp_path)
    given = [Path("scans/head.nii.gz"), path, Path("link/head.nii.gz"), Path("link/../scans/head.nii.gz")]
    (only,) = refuse_shared_names([Input(Case("head", spelling)) for spelling in (*given, path)])
    assert only.problem == "" and only.case.image_path == given[0]


def test_a_summary_that_another_process_has_written_meanwhile_is_written_again(
    a_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (scan(tmp_path / "scans", name, name) for name in ("first", "second"))
    outcome = keep(opened(a_model), first)
    ranking = "LandmarkDetectionLib.detection.results_folder.in_order_of_doubt"

    def while_the_other_ends(reviews: Sequence[Review]) -> list[Review]:
        monkeypatch.setattr(ranking, in_order_of_doubt)
        opened(a_model).summarise([keep(opened(a_model), second)])
        return in_order_of_doubt(reviews)

    monkeypatch.setattr(ranking, while_the_other_ends)
    path = opened(a_model).summarise([outcome])
    assert {row["case"] for row in rows(path)} == {"first", "second"}


def test_the_failed_cases_of_the_cohort_stay_though_their_scans_are_not_there(
    a_model: Path, a_case: Case, tmp_path: Path
) -> None:
    gone = Case("gone", tmp_path / "gone.nii.gz")
    opened(a_model).summarise([CaseOutcome("gone", gone.image_path, None, "It is not there.")])
    beside = ResultsFolder(tmp_path / "out", a_model, load_bundle(a_model), cohort=[gone, a_case])
    path = beside.summarise([keep(beside, a_case)])
    assert [row["case"] for row in rows(path)] == ["gone", "head"]
    assert [row["case"] for row in rows(opened(a_model).summarise([]))] == ["head"]
