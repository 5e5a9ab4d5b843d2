"""The detections of a split, compared with its true landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from LandmarkDetectionLib.data.batch import Batch
from LandmarkDetectionLib.data.cases import Case, case_landmarks, files_of_cases, find_table
from LandmarkDetectionLib.data.files import refuse_overwriting
from LandmarkDetectionLib.data.landmarks import LandmarkSet
from LandmarkDetectionLib.data.table import LandmarkTable
from LandmarkDetectionLib.detection.results import CaseDetections
from LandmarkDetectionLib.evaluation.detections import DetectionsFolder
from LandmarkDetectionLib.evaluation.files import FILES, write_evaluation
from LandmarkDetectionLib.evaluation.metrics import Evaluation, evaluate


@dataclass(frozen=True, eq=False)
class SplitEvaluation:
    """An evaluation with what it is of.

    Attributes:
        evaluation: the comparison.
        truths: the true landmarks by case, world LPS mm; cases whose own could not be read are left out.
        detections: what was detected by case; a case without has missed all of its landmarks.
        cases: those of the split of which anything could be read.
        table: the landmarks that there are, where the split says so.
        changes: what a person has changed in the detections since, a sentence for each kind of file.
    """

    evaluation: Evaluation
    truths: dict[str, LandmarkSet]
    detections: dict[str, CaseDetections]
    cases: list[Case]
    table: LandmarkTable | None
    changes: list[str]


def evaluate_split(
    batch: Batch, detections: Path, output: Path | None, *, radii: Sequence[float] | None, seed: int
) -> SplitEvaluation:
    """Compare the detections of a split with its landmarks by the rules of `evaluate`.

    Args:
        batch: the cases; those that fail are told by it.
        detections: the folder of their `CASE.csv`.
        output: where the files of `write_evaluation` go; None writes none.
        radii: of the success detection rate, mm; None takes those for the truth's extent.
        seed: of the bootstrap.

    Raises:
        InputError: if no case is left, there is no landmark, a radius is not positive, or the files cannot
            be written, or would overwrite what is read.
    """
    cases = batch.cases
    table = find_table(batch.split, cases)
    truths = batch.each("Reading landmarks", lambda case: case_landmarks(case, table))
    if output is not None:
        results = [detections / f"{case.name}.csv" for case in batch.cases]
        refuse_overwriting(
            [output / name for name in FILES], [batch.split, *files_of_cases(batch.cases), *results]
        )
    folder = DetectionsFolder(detections)
    detected = batch.each("Reading detections", lambda case: folder.read(case, truths[case.name]))
    evaluation = evaluate(truths, detected, radii=radii, seed=seed)
    if output is not None:
        write_evaluation(evaluation, output)
    return SplitEvaluation(evaluation, truths, detected, cases, table, folder.changes())
