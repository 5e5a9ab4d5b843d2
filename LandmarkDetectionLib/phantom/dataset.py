"""A folder of synthetic cases. For tests and the demo only."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from LandmarkDetectionLib.data.cases import TABLE_NAME, Case, write_split
from LandmarkDetectionLib.data.dataset import CASES_NAME, cases_of
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.landmark_files import write_landmarks
from LandmarkDetectionLib.data.table import write_table
from LandmarkDetectionLib.data.volume import write_volume
from LandmarkDetectionLib.phantom.settings import PhantomSettings, check_seed
from LandmarkDetectionLib.phantom.skull import landmark_table, make_case

_NAME = re.compile(r"phantom_\d{3,}")

Progress = Callable[[int, int], None]


def write_dataset(
    folder: Path,
    cases: int,
    seed: int = 0,
    settings: PhantomSettings | None = None,
    progress: Progress | None = None,
) -> list[Case]:
    """Write `images/CASE.nii.gz`, `landmarks/CASE.mrk.json`, `landmarks.csv` and `cases.csv`.

    A case depends on the settings, the seed and its own number only: more cases leave the first ones as they
    are. Every case is a person of its own, and so a group of its own.

    Args:
        folder: made if it is not there.
        cases: how many, at least 1.
        seed: at least 0.
        settings: of the synthetic scanner; its defaults if None.
        progress: called after each case with the number done and the number of all.

    Returns:
        The cases as they stand in `cases.csv`.

    Raises:
        InputError: if a number is out of its range, or the folder cannot be written or has other cases.
    """
    if cases < 1:
        raise InputError(f"{cases} phantom cases were asked for: give a whole number from 1 up.")
    check_seed(seed)
    folder = Path(folder)
    others = [case.name for case in cases_of(folder / CASES_NAME) if not _NAME.fullmatch(case.name)]
    if others:
        raise InputError(
            f"{folder / CASES_NAME}: it lists cases that are no phantoms, like '{others[0]}', and would be "
            "overwritten; give another folder."
        )
    written = []
    for number in range(1, cases + 1):
        written.append(_write_case(folder, number, seed, settings or PhantomSettings()))
        if progress is not None:
            progress(number, cases)
    write_table(landmark_table(), folder / TABLE_NAME)
    write_split(written, folder / CASES_NAME)
    return written


def _write_case(folder: Path, number: int, seed: int, settings: PhantomSettings) -> Case:
    name = f"phantom_{number:03d}"
    image_path = folder / "images" / f"{name}.nii.gz"
    landmark_path = folder / "landmarks" / f"{name}.mrk.json"
    made = make_case(settings, case_seed(seed, number))
    write_volume(made.volume, image_path)
    write_landmarks(made.landmarks, landmark_path)
    return Case(name, image_path, landmark_path, group=name)


def case_seed(seed: int, number: int) -> int:
    """The seed of one case of a data set, so that data sets with neighbouring seeds share no case."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
