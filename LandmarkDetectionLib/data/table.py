"""The table of landmarks that travels with masks and bundles (`landmarks.csv`)."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import read_text, write_text
from LandmarkDetectionLib.data.text_table import parse_table

MAX_LABEL = 32767
COLUMNS = ("name", "label", "pair", "group", "definition")
_SKULLENGINE = {"name": "landmark_name", "label": "landmark_label"}


@dataclass(frozen=True)
class Landmark:
    """One landmark of a table.

    Attributes:
        name: unique name.
        label: the mask's value for it, 1 to 32767.
        pair: the name of its left-right counterpart, '' if it has none.
        group: the anatomical group it is shown in, '' if none.
        definition: where it is, in words.
    """

    name: str
    label: int
    pair: str = ""
    group: str = ""
    definition: str = ""


@dataclass(frozen=True)
class LandmarkTable:
    """All landmarks of a data set or a bundle, in the order of their labels."""

    landmarks: tuple[Landmark, ...]

    def __post_init__(self) -> None:
        _validate(self.landmarks)
        object.__setattr__(self, "landmarks", tuple(sorted(self.landmarks, key=lambda item: item.label)))

    @classmethod
    def from_names(cls, names: Sequence[str]) -> LandmarkTable:
        """Labels 1, 2, .. in the order given."""
        return cls(tuple(Landmark(name, label) for label, name in enumerate(names, start=1)))

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(landmark.name for landmark in self.landmarks)

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(landmark.label for landmark in self.landmarks)

    def with_pairs(self, order: Sequence[int]) -> LandmarkTable:
        """The same landmarks with the left-right pairs of `mirrored_order`."""
        return LandmarkTable(
            tuple(
                replace(landmark, pair="" if partner == row else self.names[partner])
                for row, (landmark, partner) in enumerate(zip(self.landmarks, order, strict=True))
            )
        )

    @property
    def mirrored_order(self) -> list[int]:
        """For each row, the row of its left-right counterpart (itself where it has none)."""
        row = {landmark.name: index for index, landmark in enumerate(self.landmarks)}
        return [row[landmark.pair or landmark.name] for landmark in self.landmarks]


def read_table(path: Path) -> LandmarkTable:
    """Read `landmarks.csv`: columns name and label, optionally pair, group, definition.

    SkullEngine's files of labels are such tables; their columns are called landmark_name and landmark_label.

    Raises:
        InputError: if the file or a column is missing, or a row does not make sense.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such landmark table; give the landmarks.csv made with the masks."
        )
    table = parse_table(read_text(path), path, (*COLUMNS, *_SKULLENGINE.values()))
    for column in ("name", "label"):
        if column not in table.columns and _SKULLENGINE[column] not in table.columns:
            raise InputError(f"{path}: the column '{column}' is missing; add it to the first line.")
    landmarks = []
    for line, row in table.rows:
        cells = {
            column: row.get(column, row.get(_SKULLENGINE.get(column, ""), "")).strip() for column in COLUMNS
        }
        try:
            label = int(cells["label"])
        except ValueError as error:
            raise InputError(
                f"{path}, line {line}: the label '{cells['label']}' is not a whole number; "
                f"use 1 to {MAX_LABEL}."
            ) from error
        name, _, *rest = (cells[column] for column in COLUMNS)
        landmarks.append(Landmark(name, label, *rest))
    try:
        return LandmarkTable(tuple(landmarks))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_table(table: LandmarkTable, path: Path) -> None:
    """Write `landmarks.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for landmark in table.landmarks:
        writer.writerow([landmark.name, landmark.label, landmark.pair, landmark.group, landmark.definition])
    write_text(Path(path), text.getvalue())


def _validate(landmarks: tuple[Landmark, ...]) -> None:
    if not landmarks:
        raise InputError("the landmark table is empty; it needs at least one landmark.")
    for what, values in (
        ("name", [landmark.name for landmark in landmarks]),
        ("label", [landmark.label for landmark in landmarks]),
    ):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise InputError(
                f"the {what} '{value}' stands {count} times; every landmark needs a {what} of its own."
            )
    partner = {landmark.name: landmark.pair for landmark in landmarks}
    for landmark in landmarks:
        if not landmark.name:
            raise InputError(f"the landmark with label {landmark.label} has no name; give it one.")
        if not 1 <= landmark.label <= MAX_LABEL:
            raise InputError(f"the label of '{landmark.name}' is {landmark.label}; use 1 to {MAX_LABEL}.")
        if landmark.pair and partner.get(landmark.pair) != landmark.name:
            raise InputError(
                f"'{landmark.name}' names '{landmark.pair}' as its pair, which does not name it back; "
                "give both rows each other's name."
            )
