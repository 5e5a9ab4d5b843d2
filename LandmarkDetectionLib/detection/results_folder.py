"""A folder of results: a batch goes on in it where it stopped, and replaces only what the program wrote.

`detection-records` beside the results says of every case which scan and which model they are of, and holds a
digest of each file that was written. What has another digest, or is not listed, belongs to a person.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from LandmarkDetectionLib.data.cases import Case, natural_key
from LandmarkDetectionLib.data.digests import ScanIdentity, file_digest, is_same_scan, text_digest
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.files import (
    UNFINISHED,
    folded_name,
    make_folder,
    replacing,
    unwritable,
    write_text,
)
from LandmarkDetectionLib.data.landmark_files import read_landmarks
from LandmarkDetectionLib.data.written import WrittenFiles, not_own
from LandmarkDetectionLib.detection.inputs import Input, anonymous_reason
from LandmarkDetectionLib.detection.records import RECORDS_NAME, Entry, Records, scan_of
from LandmarkDetectionLib.detection.results import (
    CaseDetections,
    CaseOutcome,
    case_path,
    corrected,
    read_case,
    summary_row,
    summary_text,
    write_case,
)
from LandmarkDetectionLib.detection.review import Review, in_order_of_doubt, review
from LandmarkDetectionLib.model.bundle import Bundle, model_digest

SUMMARY_NAME = "summary.csv"
PICTURE_SUFFIX = ".png"
_SUFFIXES = (".mrk.json", ".csv")

Draw = Callable[[Path], object]
"""Draws the picture of a case, or writes what else there is of it, into a file."""


def refuse_shared_names(inputs: Sequence[Input], *, pictures: bool = False) -> list[Input]:
    """The inputs, with a problem for each whose files another one, or the summary, would overwrite.

    Names that differ only in upper and lower case are one name on many disks. A scan that is given twice,
    however its path is written, is one input.
    """
    suffixes = (*_SUFFIXES, PICTURE_SUFFIX) if pictures else _SUFFIXES
    taken = {folded_name(SUMMARY_NAME): f"the {SUMMARY_NAME} of all cases; rename the case"}
    kept = []
    for item in _one_each(inputs):
        case = item.case
        names = [f"{case.name}{suffix}" for suffix in suffixes]
        clash = next((name for name in names if folded_name(name) in taken), None)
        if clash is not None:
            sentence = (
                f"{case.image_path}: {clash} of the case '{case.name}' would overwrite "
                f"{taken[folded_name(clash)]}."
            )
            kept.append(replace(item, problem=item.problem or sentence))
        else:
            whose = f"that of the case '{case.name}' ({case.image_path})"
            cure = "rename one, or give it an output folder of its own"
            taken |= {folded_name(name): f"{whose}; {cure}" for name in names}
            kept.append(item)
    return kept


class ResultsFolder:
    """The results of one model in a folder.

    Args:
        folder: made when the first result is written.
        model: the folder of the bundle.
        bundle: its description.
        pictures: whether a picture is among the files of a case.
        overwrite: whether files may be replaced that the program did not write, or a person has changed.
        given: files that the run reads, which are never replaced.
        anonymous: whether nothing that is written says where a scan lies.
        cohort: the cases of this run and of those beside it; a failed one is in the summary though its scan
            is not there.

    Raises:
        InputError: if the model cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        model: Path,
        bundle: Bundle,
        *,
        pictures: bool = False,
        overwrite: bool = False,
        given: Iterable[Path] = (),
        anonymous: bool = False,
        cohort: Iterable[Case] = (),
    ) -> None:
        self.folder = Path(folder)
        self._bundle = bundle
        self._model = model_digest(model)
        self._suffixes = (*_SUFFIXES, PICTURE_SUFFIX) if pictures else _SUFFIXES
        self._overwrite = overwrite
        self._anonymous = anonymous
        self._given = {path.resolve() for path in given}
        self._cohort = {(case.name, str(self.shown_path(case) or "")) for case in cohort}
        self._records = Records(self.folder / RECORDS_NAME)
        self._written = WrittenFiles(self.folder / RECORDS_NAME)

    @property
    def summary(self) -> Path:
        """Where the summary over all cases is, once it is written."""
        return self.folder / SUMMARY_NAME

    def done(self, case: Case) -> CaseOutcome | None:
        """The result that there is of this scan and this model; None where it is still to be found.

        A result that a person has corrected is taken as it is: the positions of `CASE.mrk.json`, if that was
        changed, count before those of `CASE.csv`. One whose changed files cannot be read is none, and `check`
        says that it is kept.
        """
        try:
            entry = self._records.entry(case.name)
        except InputError:
            return None  # `check` says why
        if entry is None or entry.model != self._model:
            return None
        files = [self.folder / f"{case.name}{suffix}" for suffix in self._suffixes]
        if not all(len(entry.files.get(file.name, ())) == 1 and file.is_file() for file in files):
            return None
        try:
            if not is_same_scan(case.image_path, entry.scan):
                return None
            detected = read_case(self.folder, case.name)
            markups, table = files[0], files[1]
            result, known = detected, detected.by_name
            if file_digest(markups) not in entry.files[markups.name]:
                result = corrected(detected, read_landmarks(markups))
            changed = file_digest(table) not in entry.files[table.name]
            by_hand = {item.name for item in result.detections if changed or item is not known.get(item.name)}
        except (OSError, InputError):
            return None
        return CaseOutcome(
            case.name,
            self.shown_path(case),
            result,
            warnings=tuple(entry.warnings),
            files=tuple(files),
            seconds=entry.seconds,
            done_before=True,
            by_hand=frozenset(by_hand),
        )

    def is_of_another_model(self, case: Case) -> bool:
        """Whether results of the case are there that another model has found."""
        try:
            entry = self._records.entry(case.name)
        except InputError:
            return False  # `check` says why
        return entry is not None and entry.model != self._model

    def check(self, case: Case) -> None:
        """Refuse to replace files that are not the program's own.

        Raises:
            InputError: if a person has written or changed a file of the case, it is of another scan, or its
                record cannot be read.
        """
        paths = [case_path(self.folder, case.name, suffix) for suffix in self._suffixes]
        entry = self._records.entry(case.name)
        for path in paths:
            known = entry.files.get(path.name, ()) if entry else ()
            self._check_file(path, bool(known), not path.is_file() or file_digest(path) in known)
        if entry is None or self._overwrite or not entry.image:
            return
        if Path(entry.image) == case.image_path.resolve():
            return
        if Path(entry.image).exists() and not _is_same(case.image_path, entry.scan):
            raise InputError(
                f"{self.folder}: the results of '{case.name}' there are of another scan, {entry.image}; "
                "choose another output folder, rename the case, or replace them with detect --overwrite."
            )

    def keep(
        self,
        case: Case,
        result: CaseDetections,
        scan: ScanIdentity,
        *,
        seconds: float,
        warnings: tuple[str, ...] = (),
        draw: Draw | None = None,
    ) -> CaseOutcome:
        """Write the files of a case, and into the record what they are of.

        The record knows the files before they are there: what a killed process leaves is not taken for a
        person's.

        Raises:
            InputError: as `check`, or if a file cannot be written.
        """
        self.check(case)
        make_folder(self.folder)
        judged = review(result, self._bundle.table.names, self._bundle.shape.mean)
        shown = self.shown_path(case)
        outcome = CaseOutcome(case.name, shown, result, warnings=warnings, seconds=seconds)
        entry = Entry(
            image=str(shown.resolve()) if shown else "",
            scan=scan if shown else scan._replace(state=""),
            model=self._model,
            files={},
            row=summary_row(outcome, judged.misfit_mm, judged.least_fitting),
            seconds=seconds,
            warnings=warnings,
        )
        try:
            with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.folder) as name:
                beside = Path(name)
                write_case(result, beside)
                if draw is not None:
                    draw(beside / f"{case.name}{PICTURE_SUFFIX}")
                written = {path.name: file_digest(path) for path in beside.iterdir()}
                there = self._records.entry(case.name)
                before = there.files if there is not None else {}
                both = {
                    file: list(dict.fromkeys([*before.get(file, ()), digest]))
                    for file, digest in written.items()
                }
                self._records.put(case.name, replace(entry, files={**before, **both}))
                for file in written:
                    (beside / file).replace(self.folder / file)
                for file in before.keys() - written.keys():
                    self._remove(self.folder / file, before[file])
                now = {file: [digest] for file, digest in written.items()}
                self._records.put(case.name, replace(entry, files=now))
        except OSError as error:
            raise unwritable(self.folder, error) from error
        return replace(outcome, files=tuple(self.folder / f"{case.name}{end}" for end in self._suffixes))

    def add(self, case: str, suffix: str, write: Draw) -> Path:
        """Write a further file of a case whose results are there, and give its path.

        It goes when other results take the place of these.

        Raises:
            InputError: if a person has written or changed the file, or it cannot be written.
        """
        path = case_path(self.folder, case, suffix)
        entry = self._records.entry(case)
        if entry is None:
            raise InputError(f"{self.folder}: there are no results of '{case}'; detect its landmarks first.")
        known = entry.files.get(path.name, [])
        self._check_file(path, bool(known), not path.is_file() or file_digest(path) in known)
        with replacing(path) as temporary:
            write(temporary)
            digest = file_digest(temporary)
            self._records.put(case, replace(entry, files={**entry.files, path.name: [*known, digest]}))
        self._records.put(case, replace(entry, files={**entry.files, path.name: [digest]}))
        return path

    def failure(self, case: Case, reason: str) -> CaseOutcome:
        """How a case ended that could not be used."""
        shown = self.shown_path(case)
        reason = reason if shown else anonymous_reason(reason, case.image_path)
        return CaseOutcome(case.name, shown, None, reason)

    def shown_path(self, case: Case) -> Path | None:
        """Where a scan lies, None where nobody is to know it."""
        return None if self._anonymous else case.image_path

    def summarise(self, outcomes: Collection[CaseOutcome]) -> Path:
        """Write `summary.csv` over all cases whose results are in the folder, and give its path.

        Failed cases come first, those of earlier runs too as long as their scans are there, then the most
        doubtful as the panel ranks them. Of several processes that write it, the last leaves one that lacks
        nothing: where another has written it meanwhile, it is written again.

        Raises:
            InputError: if the summary was changed since it was written, or cannot be written, or a record
                cannot be read.
        """
        path = self.summary
        while True:
            before = self._written.history(path)
            text = self._summary(outcomes)
            self._check_file(path, self._written.knows_of(path), self._written.may_replace(path))
            with self._written.replacing(path) as temporary:
                write_text(temporary, text)
            mine, now = text_digest(text), self._written.history(path)
            others = any(before.get(digest) != time for digest, time in now.items() if digest != mine)
            if not (others and path.is_file() and file_digest(path) == mine):
                return path

    def _summary(self, outcomes: Collection[CaseOutcome]) -> str:
        failed = self._record_failures(outcomes)
        rows = {
            name: entry.row
            for name, entry in self._records.entries().items()
            if scan_of(entry.row) not in failed and (self.folder / f"{name}.csv").is_file()
        }
        ranked = in_order_of_doubt([_reviewed(row) for row in rows.values()])
        first = sorted(failed.values(), key=lambda row: (natural_key(row["case"]), row["image_path"]))
        return summary_text([*first, *(rows[item.case] for item in ranked)])

    def _record_failures(self, outcomes: Collection[CaseOutcome]) -> dict[tuple[str, str], dict[str, str]]:
        """Record which cases have failed, and give the lines of all that have, by scan."""
        tried = {scan_of(row): row for row in map(summary_row, outcomes)}
        failed = {scan: row for scan, row in tried.items() if row["error"] and not self._has_kept(row)}
        known = {scan_of(row): row for row in self._records.failures()}
        for scan, row in known.items():
            if scan not in tried and (scan in self._cohort or Path(row["image_path"]).exists()):
                failed[scan] = row
            elif scan not in failed:
                self._records.drop_failure(row)
        for scan, row in failed.items():
            if known.get(scan) != row:
                self._records.put_failure(row)
        return failed

    def _has_kept(self, row: dict[str, str]) -> bool:
        """Whether results of the very scan of a line, by this model, are still there."""
        try:
            entry = self._records.entry(row["case"])
        except InputError:
            return False
        return (
            entry is not None
            and entry.model == self._model
            and scan_of(entry.row) == scan_of(row)
            and (self.folder / f"{row['case']}.csv").is_file()
            and _is_same(Path(row["image_path"]), entry.scan)
        )

    def _check_file(self, path: Path, known: bool, own: bool) -> None:
        """Refuse to replace a file that is read, or is not as the program wrote it.

        Args:
            path: the file.
            known: whether the program wrote one of this name.
            own: whether this is it, or there is none.
        """
        if path.resolve() in self._given:
            raise InputError(
                f"{path}: the same run reads this file, so it is not replaced; choose another output folder."
            )
        if not (self._overwrite or own):
            raise not_own(path, "detect", known=known)

    def _remove(self, path: Path, known: Collection[str]) -> None:
        """Remove a file of an earlier result, such as its picture, if it is the program's own."""
        if path.is_file() and file_digest(path) in known:
            path.unlink()


def _one_each(inputs: Iterable[Input]) -> Iterable[Input]:
    """The inputs without those that are there already under another spelling of their path."""
    kept: dict[object, Input] = {}
    for item in inputs:
        kept.setdefault(item if item.problem else (item.case.name, item.case.image_path.resolve()), item)
    return kept.values()


def _is_same(path: Path, known: ScanIdentity) -> bool:
    try:
        return is_same_scan(path, known)
    except OSError:
        return False


def _reviewed(row: dict[str, str]) -> Review:
    return Review(
        row["case"],
        float(row["min_confidence"] or 0),
        float(row["misfit_mm"] or math.nan),
        row["least_fitting"],
    )
