"""What stands on disk after an evaluation."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.detection.results import CaseDetections, Detection
from LandmarkDetectionLib.evaluation.files import write_evaluation
from LandmarkDetectionLib.evaluation.metrics import Evaluation, evaluate
from LandmarkDetectionLib.evaluation.plots import error_curve, landmark_errors

ERRORS_MM = {"A": 0.5, "B": 1.0, "C": 2.5, "D": 40.0}


@pytest.fixture
def evaluation() -> Evaluation:
    """A case with errors of 0.5, 1, 2.5 and 40 mm and a fifth landmark missed; another without detections."""
    names = [*ERRORS_MM, "E"]
    truth = LandmarkSet(names, np.arange(15.0).reshape(5, 3))
    detections = [
        Detection(name, truth.positions[row] + [0, 0, error], "found", 0.75, 1.0)
        for row, (name, error) in enumerate(ERRORS_MM.items())
    ]
    failed = LandmarkSet(["A"], np.full((1, 3), np.nan))
    result = CaseDetections("one", (*detections, Detection.missing("E")))
    return evaluate({"one": truth, "two": failed}, {"one": result}, radii=[1, 2, 3])


def test_all_files_are_written_and_nothing_else(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path / "new")
    names = {"metrics.json", "per_landmark.csv", "per_case.csv", "points.csv", "errors.png", "landmarks.png"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names


def test_metrics_json_holds_the_promised_numbers(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mre_mm"]["mean"] == 11.0
    assert metrics["mre_mm"]["median"] == 1.75
    assert metrics["sdr"] == {"1": 0.4, "2": 0.4, "3": 0.6}
    assert {key: metrics["presence"][key] for key in ("tp", "tn", "fp", "fn")} == {
        "tp": 4,
        "tn": 0,
        "fp": 0,
        "fn": 1,
    }
    assert (metrics["n_cases"], metrics["n_landmarks"], metrics["n_points"], metrics["missed"]) == (
        2,
        5,
        5,
        1,
    )
    assert metrics["coverage"] == {"fraction": 0.5, "n": 4, "mean_radius_mm": 1.0}
    assert len(metrics["errors"]) == 1 and "'two'" in metrics["errors"][0]


def test_what_is_undefined_is_null_in_json_and_empty_in_csv(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path)
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["presence"]["specificity"] is None
    rows = read_csv(tmp_path / "per_landmark.csv")
    assert rows[-1]["landmark"] == "E"
    assert (rows[-1]["n"], rows[-1]["missed"], rows[-1]["mean_mm"]) == ("1", "1", "")


def test_the_tables_have_a_row_a_landmark_a_case_a_point(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation(evaluation, tmp_path)
    assert [row["landmark"] for row in read_csv(tmp_path / "per_landmark.csv")] == list("ABCDE")
    assert [row["case"] for row in read_csv(tmp_path / "per_case.csv")] == ["one", "two"]
    points = read_csv(tmp_path / "points.csv")
    assert [row["landmark"] for row in points] == [*"ABCDE", "A"]
    assert [float(row["dz_mm"]) for row in points[:4]] == list(ERRORS_MM.values())


def test_a_folder_that_cannot_be_written_is_named(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write in"):
        write_evaluation(evaluation, tmp_path / "file")


def test_the_curve_rises_at_each_error_and_never_reaches_the_missed_one(evaluation: Evaluation) -> None:
    (ax,) = error_curve(evaluation).axes
    x, y = np.asarray(ax.lines[0].get_data(), dtype=float)
    assert ax.lines[0].get_drawstyle() == "steps-post"
    for error, before, after in ((0.5, 0.0, 0.2), (1.0, 0.2, 0.4), (2.5, 0.4, 0.6)):
        assert y[x <= error - 1e-9].max() == pytest.approx(before)
        assert y[x <= error].max() == pytest.approx(after)
    assert y.max() == pytest.approx(0.8)


def test_the_curve_passes_through_the_success_rates_and_states_them(evaluation: Evaluation) -> None:
    (ax,) = error_curve(evaluation).axes
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(dots.get_data(), dtype=float), [[1.0, 2.0, 3.0], [0.4, 0.4, 0.6]])
    assert "within 3 mm: 60.0 %" in all_text(ax)
    assert "5 points (5 landmarks, 2 cases), 1 missed" in all_text(ax)


def test_the_axis_shows_the_radii_and_is_not_stretched_by_an_outlier(evaluation: Evaluation) -> None:
    for figure in (error_curve(evaluation), landmark_errors(evaluation)):
        assert figure.axes[0].get_xlim() == (0.0, 9.0)


def test_landmarks_are_listed_from_worst_to_best_with_every_point(evaluation: Evaluation) -> None:
    (ax,) = landmark_errors(evaluation).axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[::-1] == ["E", "D", "C", "B", "A"]
    inside = [
        float(x) for line in ax.lines if line.get_marker() == "o" for x in np.atleast_1d(line.get_xdata())
    ]
    assert inside == [0.5, 1.0, 2.5]
    (beyond,) = [line for line in ax.lines if line.get_marker() == ">"]
    assert np.atleast_1d(beyond.get_xdata()).tolist() == [9.0]
    assert "1 missed" in all_text(ax)


def test_plots_of_nothing_found_are_drawn_all_the_same(tmp_path: Path) -> None:
    truth = LandmarkSet(["A", "B"], np.full((2, 3), math.nan))
    nothing = evaluate({"one": truth}, {"one": CaseDetections("one", (Detection.missing("A"),))}, radii=[1])
    write_evaluation(nothing, tmp_path)
    assert (tmp_path / "errors.png").stat().st_size > 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["n" * 400, "W" * 60, r"$\x$ " * 30])
def test_very_long_names_leave_room_for_the_plots(name: str, tmp_path: Path) -> None:
    truth = LandmarkSet([f"{name} 1", f"{name} 2"], np.zeros((2, 3)))
    found = CaseDetections("one", tuple(Detection(each, np.ones(3), "found", 0.9) for each in truth.names))
    evaluation = evaluate({"one": truth}, {"one": found}, radii=[1, 2])
    write_evaluation(evaluation, tmp_path)
    (ax,) = landmark_errors(evaluation).axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert [label[-2:] for label in labels] == [" 1", " 2"] and max(map(len, labels)) <= 40


def all_text(ax: Axes) -> str:
    return "\n".join([ax.get_title(loc="left"), *(text.get_text() for text in ax.texts)])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
