"""The command `detect`."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from LandmarkDetectionLib.data.errors import InputError
from train_cli.attempts import Attempts, Failed, Found, failure
from train_cli.cluster import Cluster, check_cluster, detect_on_cluster, name_address
from train_cli.console import Advance, Console
from train_cli.options import Device, Json, Quiet, Seed, resolve_device

if TYPE_CHECKING:
    from LandmarkDetectionLib.data.cases import Case
    from LandmarkDetectionLib.detection.inputs import Input
    from LandmarkDetectionLib.detection.progress import Progress
    from LandmarkDetectionLib.detection.reading import ScanInMemory
    from LandmarkDetectionLib.detection.results import CaseOutcome, Detection
    from LandmarkDetectionLib.detection.results_folder import ResultsFolder
    from LandmarkDetectionLib.evaluation.measurements import Measurement
    from LandmarkDetectionLib.exchange.dicom_sr import Reports
    from LandmarkDetectionLib.model.bundle import Bundle
    from LandmarkDetectionLib.report.cohort import Cohort

FAULT, FAILED, NOTHING_FOUND, STOPPED = 1, 2, 3, 130
_BETWEEN_SUMMARIES, _SUMMARY_SHARE = 2.0, 20
"""A killed process leaves a summary no older than so many seconds, or so many times what writing it takes."""
_NAMED = 8
"""So many cases are named in one warning."""
EXAMPLES = """
Examples:

  train_cli detect mouse.nii.gz --output detections

  train_cli detect scan.nii.gz --model run/model --output detections

  train_cli detect splits/test.csv --model run/model --output detections --device cuda

  train_cli detect monday tuesday extra.nrrd --model run/model --output detections --json

  train_cli detect cohort --model run/model --output detections --report report --measure widths.csv
"""


class Command(TyperCommand):
    """Detect, whose flag --cluster may stand without an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, name_address(args))


def run(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT",
            help="Images, DICOM folders, folders of images, or split CSVs.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE", help="The model's folder.", show_default="the model in the box: mouse skulls"
        ),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw CASE.png, slices through some landmarks.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write a report: which case to look at first, pictures and measurements.",
            show_default=False,
        ),
    ] = None,
    measurements: Annotated[
        Path | None,
        typer.Option(
            "--measure",
            metavar="CSV",
            help="What the report measures: name,kind,a,b,c,d with the kinds distance, angle and asymmetry.",
            show_default="the asymmetry of left-right pairs",
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|UID|WORDS",
            help="Which DICOM series, where a patient has several: its number, its UID or words of its "
            "description.",
            show_default=False,
        ),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Take every DICOM series but localisers.")] = False,
    anonymous: Annotated[
        bool,
        typer.Option(
            "--anonymous",
            help="Name each scan by a digest of its content; nothing that is written says where it lies.",
        ),
    ] = False,
    dicom_sr: Annotated[
        bool,
        typer.Option(
            "--dicom-sr",
            help="Write CASE.sr.dcm, a DICOM structured report, for each scan that came as DICOM. It does "
            "not name the patient, but has the UIDs of study, series, images and frame of reference: without "
            "them it could not be laid on the scan.",
        ),
    ] = False,
    with_patient: Annotated[
        bool,
        typer.Option(
            "--with-patient",
            help="Put the patient's name, ID, birth date and sex, and the study's accession number, ID and "
            "time into the DICOM structured reports.",
        ),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Detect also in scans whose results are there already.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace also results that were corrected, are of another scan, or of another program.",
        ),
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="End with 0 instead of 3 where no scan has a landmark.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Take the I-th of N parts of the scans, as one of N processes into the same DIR.",
            show_default=False,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:PORT]",
            help="Detect on a Ray cluster: the one at this address, or else the one that runs, or else one "
            "that is started on this machine.",
            show_default=False,
        ),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Of each worker on the cluster.",
            show_default="1 beside a GPU, else 4 or what the machines have",
        ),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Find the landmarks of a model in one scan or many.

    Writes CASE.mrk.json, which Slicer opens, CASE.csv, and along the way
    summary.csv over all cases in DIR, the one to look at first on top.
    Coordinates are LPS millimetres in the world of the scan. With --dicom-sr,
    CASE.sr.dcm lies on the DICOM series that the scan came as.

    The same command goes on where an earlier one stopped: a scan whose results
    of this model are there is not done again. A result that you have corrected
    is kept, and given as you have corrected it; summary.csv goes on to say what
    was detected.

    Exit codes: 0 done; 2 a scan could not be used or a result was kept, and a
    sentence says why, the others are done; 3 not one landmark was found in any
    scan; 1 a fault of the program in a scan, the others are done; 130 stopped.
    With --shard they are about the scans of the shard; with --cluster, 2 also
    says that the cluster could not go on, and what is done is kept.
    """
    from LandmarkDetectionLib.data.cases import files_of_cases
    from LandmarkDetectionLib.data.files import make_folder
    from LandmarkDetectionLib.detection.detector import load_detector
    from LandmarkDetectionLib.detection.inputs import Shard, anonymised, find_all_inputs
    from LandmarkDetectionLib.detection.results_folder import ResultsFolder, refuse_shared_names
    from LandmarkDetectionLib.exchange.dicom_sr import Observer, Reports
    from LandmarkDetectionLib.model.bundle import model_digest
    from LandmarkDetectionLib.model.doubt import doubt_of
    from LandmarkDetectionLib.resources import bundled_model

    if report is not None:
        from LandmarkDetectionLib.report.cohort import Cohort
        from LandmarkDetectionLib.report.folder import FRONT, refuse_report_around

    console = Console(quiet=quiet, json=json)
    part = Shard.parse(shard or "1/1")
    if measurements is not None and report is None:
        raise InputError("--measure: the measurements stand in the report; give --report DIR too.")
    if report is not None:
        if shard is not None:
            raise InputError(
                "--report and --shard: a shard knows its own scans only; run the same command afterwards "
                "without --shard, for the report."
            )
        refuse_report_around(report, [output, *sources])
    if cluster is not None:
        if shard is not None:
            raise InputError("--shard and --cluster both share the scans out; give one of the two.")
        check_cluster(cluster, device)
    elif cores is not None:
        raise InputError(f"--cores {cores}: this is for the workers of a cluster; give --cluster too.")
    _check_reports(dicom_sr=dicom_sr, with_patient=with_patient, anonymous=anonymous)
    try:
        inputs = find_all_inputs(sources, series=series, each=each)
    except InputError as error:
        console.result({"exit_code": FAILED, "warnings": [str(error)], "cases": []})
        raise
    cohort = refuse_shared_names(
        anonymised(console.track(inputs, "scans")) if anonymous else inputs, pictures=pictures
    )
    inputs = part.take(cohort)
    if model is None:
        model = bundled_model()
        if model is None:
            raise InputError("There is no model in the box here; give a model's folder, --model BUNDLE.")
        console.say(f"With the model in the box: {model.name}")
    detector = load_detector(model, resolve_device(device if cluster is None else "cpu"))
    measured = _measurements(measurements, detector.bundle) if report is not None else []
    results = ResultsFolder(
        output,
        model,
        detector.bundle,
        pictures=pictures,
        overwrite=overwrite,
        given=[*sources, *files_of_cases(given.case for given in cohort)],
        anonymous=anonymous,
        cohort=[given.case for given in cohort],
    )
    make_folder(output)
    if shard is not None:
        console.say(f"Shard {shard}: {len(inputs)} of {len(cohort)} scans.")
    doubt = doubt_of(detector.bundle)
    if doubt:
        console.warn(doubt)
    outcomes = [] if again else done_before(inputs, results)
    reports = None
    if dicom_sr:
        observer = Observer.of(detector.bundle, model_digest(model))
        reports = Reports(results, observer, with_patient=with_patient)
        outcomes = [reports.add(outcome) for outcome in console.track(outcomes, "DICOM SR")]
    if outcomes:
        console.say(f"{len(outcomes)} of {len(inputs)} were done before; --again does them anew.")
    others = sum(results.is_of_another_model(given.case) for given in inputs)
    if others:
        console.warn(
            f"{output}: results of another model for {others} of the scans are replaced; to keep them, stop "
            "and give another --output."
        )
    by_hand = sum(outcome.corrected for outcome in outcomes)
    if by_hand:
        console.say(f"{by_hand} of them were corrected since and are given as corrected.")
    attempts = Attempts(detector, model, pictures, anonymous)
    on = None if cluster is None else Cluster(cluster, device, cores)
    work = Work(attempts, results, console, on, reports)
    code, stops = detect_all(work, inputs, outcomes)
    order = {_key(given.case, results): place for place, given in enumerate(inputs)}
    outcomes.sort(key=lambda outcome: order[outcome.case, outcome.image_path])
    problems = [
        *stops,
        *(reports.problems if reports else []),
        *(summary_problems(results, outcomes) if outcomes else []),
    ]
    for sentence in problems:
        console.warn(sentence)
    code = code or exit_code(outcomes, problems, allow_empty=allow_empty)
    console.result(
        {
            **_about(detector.bundle),
            "output": output,
            "exit_code": code,
            "warnings": [*([doubt] if doubt else []), *problems],
            "cases": [_about_case(outcome, detector.bundle) for outcome in outcomes],
        }
    )
    _show(outcomes, console)
    _warn(outcomes, console)
    missing = len(inputs) - len(outcomes)
    if missing:
        console.warn(f"Stopped. The same command goes on with the {missing} scans that are missing.")
    elif any(outcome.result for outcome in outcomes):
        if report is not None and code != STOPPED:
            count = f"{len(outcomes)} scan{'' if len(outcomes) == 1 else 's'}"
            cohort_of = Cohort(
                f"Landmarks in {count}",
                outcomes,
                detector.bundle,
                measured,
                [given.case.image_path.parent for given in inputs],
            )
            _write_report(cohort_of, inputs, report, console, anonymous=anonymous)
            console.say(f"Report: open {report / FRONT} in a browser.")
        console.say(f"Written to {output}; open the .mrk.json files in Slicer, look at summary.csv first.")
    if code:
        raise typer.Exit(code)


@dataclass(frozen=True)
class Work:
    """What is the same for all scans of a run: what detects in them, where the results go, who is told."""

    attempts: Attempts
    results: ResultsFolder
    console: Console
    cluster: Cluster | None = None
    reports: Reports | None = None


def _check_reports(*, dicom_sr: bool, with_patient: bool, anonymous: bool) -> None:
    """Refuse flags about DICOM SR that make no sense together.

    Raises:
        InputError: if so, or if what writes one is not installed.
    """
    from LandmarkDetectionLib.exchange.dicom_sr import check_highdicom

    if with_patient and not dicom_sr:
        raise InputError("--with-patient: this is for DICOM structured reports; give --dicom-sr too.")
    if dicom_sr and anonymous:
        raise InputError(
            "--dicom-sr and --anonymous: a DICOM SR says by UIDs which study it is of; give one of the two."
        )
    if dicom_sr:
        check_highdicom()


def _measurements(path: Path | None, bundle: Bundle) -> list[Measurement]:
    """Those of a table, or the asymmetry of all pairs of the model."""
    from LandmarkDetectionLib.evaluation.measurements import asymmetries, read_measurements

    return asymmetries(bundle.table) if path is None else read_measurements(path, bundle.table)


def _write_report(
    cohort: Cohort, inputs: list[Input], path: Path, console: Console, *, anonymous: bool
) -> None:
    """The report of a cohort; where nobody is to know the scans, it does not say why one cannot be read."""
    from LandmarkDetectionLib.data.volume import Volume, read_volume
    from LandmarkDetectionLib.report.cohort import write_report

    images = {given.case.name: given.case.image_path for given in inputs}

    def read(case: str) -> Volume:
        try:
            return read_volume(images[case])
        except InputError:
            if anonymous:
                raise InputError("the scan cannot be read any more.") from None
            raise

    missing = write_report(cohort, read, path, lambda names: console.track(names, "pictures"))
    for case, reason in missing.items():
        console.warn(f"{case} has no pictures: {reason}")


def done_before(inputs: list[Input], results: ResultsFolder) -> list[CaseOutcome]:
    """What an earlier run has found in these scans."""
    found = (results.done(given.case) for given in inputs if not given.problem)
    return [outcome for outcome in found if outcome is not None]


def detect_all(work: Work, inputs: list[Input], outcomes: list[CaseOutcome]) -> tuple[int, list[str]]:
    """Detect in the inputs that have no outcome and add theirs.

    Gives the exit code of a stop, or 0, and the sentence that says why it did not go on, if there is one.
    """
    there = {(outcome.case, outcome.image_path) for outcome in outcomes}
    missing = [given for given in inputs if _key(given.case, work.results) not in there]
    summaries = _Summaries(work.results)
    try:
        with closing(_attempts(work, missing)) as tried:
            for given, attempt in tried:
                outcome = outcome_of(work, given.case, attempt)
                outcomes.append(outcome if work.reports is None else work.reports.add(outcome))
                summaries.write_if_due(outcomes)
    except KeyboardInterrupt:
        return STOPPED, []
    except InputError as error:  # of the cluster; those of a case are its outcome
        return FAILED, [str(error)]
    return 0, []


def _attempts(work: Work, inputs: list[Input]) -> Generator[tuple[Input, Found | Failed]]:
    """Detect in the inputs, here or on a cluster, and give each with what came of it."""
    if work.cluster is None:
        return _detect_here(work, inputs)
    return detect_on_cluster(work.attempts, work.results, work.console, work.cluster, inputs)


def _detect_here(work: Work, inputs: list[Input]) -> Generator[tuple[Input, Found | Failed]]:
    """Detect in the inputs in this process, one after the other, and read the next one meanwhile."""
    from LandmarkDetectionLib.detection.reading import ReadAhead

    with ReadAhead(partial(_read, work.results)) as scans:
        for number, (given, following) in enumerate(zip_longest(inputs, inputs[1:]), start=1):
            scan = partial(scans.take, given, following)
            with work.console.progress(f"{given.case.name} ({number} of {len(inputs)})") as advance:
                attempt = work.attempts.detect(
                    given.case, scan, notice=work.console.warn, progress=_percent(advance)
                )
            yield given, attempt


def _read(results: ResultsFolder, given: Input) -> ScanInMemory:
    """The scan of an input whose results may be written.

    Raises:
        InputError: if it cannot be used, or files that are there are to be kept.
    """
    from LandmarkDetectionLib.detection.reading import read_scan

    if given.problem:
        raise InputError(given.problem)
    results.check(given.case)
    return read_scan(given.case.image_path)


def _percent(advance: Advance) -> Progress:
    return lambda stage, fraction: advance(round(100 * fraction), 100, stage)


def outcome_of(work: Work, case: Case, attempt: Found | Failed) -> CaseOutcome:
    """Write the files of a case; what has gone wrong is reported, not raised."""
    if isinstance(attempt, Found):
        try:
            return _kept(work.results, case, attempt)
        except Exception as error:  # the border of a case: whatever fails in it, the others go on
            attempt = failure(error, case, anonymous=work.attempts.anonymous)
    if attempt.trace:
        work.console.trace(attempt.trace)
    outcome = replace(work.results.failure(case, attempt.reason), fault=bool(attempt.trace))
    work.console.warn(outcome.error if outcome.image_path else f"{outcome.case}: {outcome.error}")
    return outcome


def _kept(results: ResultsFolder, case: Case, found: Found) -> CaseOutcome:
    picture = found.picture
    return results.keep(
        case,
        found.result,
        found.scan,
        seconds=found.seconds,
        warnings=found.warnings,
        draw=None if picture is None else lambda path: path.write_bytes(picture),
    )


class _Summaries:
    """Writes the summary along the way; where another process has done so meanwhile, that is enough."""

    def __init__(self, results: ResultsFolder) -> None:
        self._results = results
        self._due, self._pause = 0.0, _BETWEEN_SUMMARIES
        self._seen = self._state()

    def write_if_due(self, outcomes: list[CaseOutcome]) -> None:
        """Write it if it has become old; what is wrong with it is said at the end."""
        start = time.monotonic()
        if start < self._due:
            return
        if self._state() == self._seen:
            summary_problems(self._results, outcomes)
            self._pause = max(_BETWEEN_SUMMARIES, _SUMMARY_SHARE * (time.monotonic() - start))
        self._due, self._seen = time.monotonic() + self._pause, self._state()

    def _state(self) -> int | None:
        try:
            return self._results.summary.stat().st_mtime_ns
        except OSError:
            return None


def summary_problems(results: ResultsFolder, outcomes: list[CaseOutcome]) -> list[str]:
    """Write the summary; gives the sentence that says why it could not be written, if so."""
    try:
        results.summarise(outcomes)
    except InputError as error:
        return [str(error)]
    return []


def exit_code(outcomes: list[CaseOutcome], problems: list[str], *, allow_empty: bool) -> int:
    """What the command ends with when it was not stopped."""
    if any(outcome.fault for outcome in outcomes):
        return FAULT
    if problems or any(outcome.error for outcome in outcomes):
        return FAILED
    found = any(item.present for outcome in outcomes if outcome.result for item in outcome.result.detections)
    return 0 if found or allow_empty or not outcomes else NOTHING_FOUND


def _key(case: Case, results: ResultsFolder) -> tuple[str, Path | None]:
    return case.name, results.shown_path(case)


def _about(bundle: Bundle) -> dict[str, object]:
    return {
        "model": bundle.name,
        "engine": bundle.engine,
        "training_fingerprint": bundle.training_data.get("fingerprint"),
    }


def _about_case(outcome: CaseOutcome, bundle: Bundle) -> dict[str, object]:
    """A case as docs/json.md describes it."""
    from LandmarkDetectionLib.detection.results import STATUSES
    from LandmarkDetectionLib.detection.review import review

    detections = outcome.result.detections if outcome.result else ()
    judged = review(outcome.result, bundle.table.names, bundle.shape.mean) if outcome.result else None
    return {
        "name": outcome.case,
        "image": outcome.image_path,
        "done_before": outcome.done_before,
        "corrected": outcome.corrected,
        "counts": {status: sum(item.status == status for item in detections) for status in STATUSES},
        "lowest_confidence": judged.lowest_confidence if judged else None,
        "misfit_mm": judged.misfit_mm if judged else None,
        "least_fitting": judged.least_fitting if judged else "",
        "landmarks": [_about_landmark(item) for item in detections],
        "files": outcome.files,
        "seconds": outcome.seconds,
        "warnings": outcome.warnings,
        "error": outcome.error or None,
    }


def _about_landmark(item: Detection) -> dict[str, object]:
    return {
        "name": item.name,
        "position": item.position.tolist() if item.present else None,
        "status": item.status,
        "confidence": item.confidence,
        "radius_mm": item.radius_mm,
    }


def _warn(outcomes: list[CaseOutcome], console: Console) -> None:
    """Say what a person should know, once for all the cases that it is true of."""
    cases: dict[str, list[str]] = {}
    for outcome in outcomes:
        for sentence in outcome.warnings:
            cases.setdefault(sentence, []).append(outcome.case)
    for sentence, names in cases.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        console.warn(f"{', '.join(names[:_NAMED])}{more}: {sentence}")


def _show(outcomes: list[CaseOutcome], console: Console) -> None:
    rows = []
    for outcome in outcomes:
        statuses = [item.status for item in outcome.result.detections] if outcome.result else []
        counts = [statuses.count(status) for status in ("found", "uncertain", "absent")]
        note = "failed" if outcome.error else "done before" if outcome.done_before else ""
        note = "corrected" if outcome.corrected else note
        rows.append((outcome.case, *counts, note))
    console.table(("case", "found", "uncertain", "absent", ""), rows)
