from __future__ import annotations

from pathlib import Path

import pytest
from report_samples import Scans, make_scans, write_annotations, write_cohort, write_evaluation, write_run

from LandmarkDetectionLib.report import training


@pytest.fixture(scope="session")
def scans() -> Scans:
    return make_scans()


@pytest.fixture(scope="session")
def reports(scans: Scans, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One report of each kind."""
    folder = tmp_path_factory.mktemp("reports")
    paths = {kind: folder / kind for kind in ("evaluation", "annotations", "cohort", "training")}
    write_evaluation(scans, paths["evaluation"])
    write_annotations(scans, paths["annotations"])
    write_cohort(scans, paths["cohort"])
    (folder / "run").mkdir()
    training.write_report(write_run(folder / "run"), paths["training"])
    return paths
