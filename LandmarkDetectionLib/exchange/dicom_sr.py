"""Detections as a DICOM structured report (SR), which lies on the series that the scan came as.

The report is a Measurement Report (TID 1500) in a Comprehensive 3D SR. Each landmark with a position is a
group of measurements (TID 1410) around one SCOORD3D POINT: world LPS millimetres are the patient coordinate
system of the series' frame of reference, so a position goes in as it is. An absent landmark is a group
without a point (TID 1501). Of the tags of the scan only those come in that are copied here by name.

Sources: DICOM PS3.3 A.35.13 and C.18.9, PS3.16 TID 1500, 1410, 1501 and 1600.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LandmarkDetectionLib import __version__
from LandmarkDetectionLib.data.dicom_series import Series, is_dicom, series_of
from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.data.image_files import REPORT_SUFFIX
from LandmarkDetectionLib.detection.results import DECIMALS, CaseDetections, CaseOutcome, Detection, Status
from LandmarkDetectionLib.detection.results_folder import ResultsFolder
from LandmarkDetectionLib.model.bundle import Bundle

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        ContainerContentItem,
        Measurement,
        MeasurementReport,
        ObservationContext,
    )
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

NOT_DICOM = "it did not come as a DICOM series, so there is no DICOM SR of it."
_PROGRAM = "LandmarkDetection"
_SCHEME = "99LANDMARKS"
"""The designator of the codes that no standard has."""
_FIRST_NUMBER = 9000
"""Of the series of reports in a study, behind those of its scans."""
_UIDS = {
    "StudyInstanceUID": "0020,000d",
    "SeriesInstanceUID": "0020,000e",
    "SOPClassUID": "0008,0016",
    "SOPInstanceUID": "0008,0018",
    "FrameOfReferenceUID": "0020,0052",
}
_PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_NAMELESS = tuple(keyword for keyword in _PATIENT if keyword != "IssuerOfPatientID")
"""What every report has, empty where nobody is to know it."""


def check_highdicom() -> None:
    """Refuse to go on without highdicom.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise InputError(
            '--dicom-sr: highdicom is not installed here; install it with: pip install "highdicom>=0.28"'
        ) from error


class Reports:
    """Writes `CASE.sr.dcm` beside the results of each scan that came as DICOM.

    Args:
        results: the folder of the results.
        model: what detected.
        with_patient: whether the reports say whose scan it is.

    Attributes:
        problems: a sentence for each report that could not be written.
    """

    def __init__(self, results: ResultsFolder, model: Observer, *, with_patient: bool = False) -> None:
        self.problems: list[str] = []
        self._results = results
        self._model = model
        self._with_patient = with_patient

    def add(self, outcome: CaseOutcome) -> CaseOutcome:
        """Write the report of a case; gives its outcome with the file, or why there is none."""
        scan, result = outcome.image_path, outcome.result
        if scan is None or result is None:
            return outcome
        if not (scan.is_dir() or is_dicom(scan)):
            return replace(outcome, warnings=(*outcome.warnings, NOT_DICOM))

        def write(path: Path) -> None:
            write_report(
                path,
                series_of(scan),
                result,
                self._model,
                written=_time_of(outcome.files[:2]),
                by_hand=outcome.by_hand,
                with_patient=self._with_patient,
            )

        try:
            path = self._results.add(outcome.case, REPORT_SUFFIX, write)
        except InputError as error:
            self.problems.append(str(error))
            return outcome
        return replace(outcome, files=(*outcome.files, path))


@dataclass(frozen=True)
class Observer:
    """The model that detected.

    Attributes:
        name: of the model.
        engine: of the model.
        fingerprint: its `model_digest`.
        coverage: the share of landmarks that an error radius holds; None where the model has no radii.
    """

    name: str
    engine: str
    fingerprint: str
    coverage: float | None

    @classmethod
    def of(cls, bundle: Bundle, fingerprint: str) -> Observer:
        """What a bundle says of itself."""
        coverage = bundle.calibration.coverage if bundle.calibration else None
        return cls(bundle.name, bundle.engine, fingerprint, coverage)


def write_report(
    path: Path,
    series: Series,
    result: CaseDetections,
    model: Observer,
    *,
    written: datetime,
    by_hand: Collection[str] = (),
    with_patient: bool = False,
) -> None:
    """Write detections as a DICOM SR; the same ones give the same file.

    Args:
        path: of the file.
        series: that they were found in.
        result: the detections, world LPS mm.
        model: what found them.
        written: when the result was written, local time without a zone, as scanners have it.
        by_hand: landmarks that a person has placed, moved or removed.
        with_patient: whether to copy name, ID, birth date and sex of the patient, and accession number, ID
            and time of the study. UIDs of study, series, images and frame of reference are always in.

    Raises:
        InputError: if the series has no frame of reference or lacks another UID, or its tags allow no report.
    """
    images = _images(series)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the tags of the patient hold
            whose = _patient(series) if with_patient else {}
            report = _report(images, result, model, by_hand)
            document = _document(report, images, whose, model, series.number, written)
            document.save_as(path, enforce_file_format=True)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{series.first}: no DICOM SR can be made with what the tags say ({error}); export the series "
            "again."
        ) from error


def _images(series: Series) -> list[Dataset]:
    """What a report says of the images of a series, each once.

    Raises:
        InputError: if a UID is missing, or the images are not in one frame of reference.
    """
    from pydicom.dataset import Dataset

    images: dict[str, Dataset] = {}
    for file, tags in series.headers.items():
        image = Dataset()
        for keyword, tag in _UIDS.items():
            if not tags.get(keyword):
                raise InputError(
                    f"{file}: the DICOM file has no {keyword} ({tag}), which a DICOM SR refers to, so none "
                    "is written; export the series again, with it."
                )
            setattr(image, keyword, tags.get(keyword))
        image.Rows, image.Columns = tags.Rows, tags.Columns
        image.Modality = ""  # or else highdicom looks for positions, which multi-frame files have elsewhere
        for keyword in _NAMELESS:
            setattr(image, keyword, None)
        images.setdefault(image.SOPInstanceUID, image)
    frames = {image.FrameOfReferenceUID for image in images.values()}
    if len(frames) > 1:
        raise InputError(
            f"{series.folder}: the slices are in {len(frames)} frames of reference "
            f"({_UIDS['FrameOfReferenceUID']}), so no DICOM SR is written; export the series again, in one."
        )
    return list(images.values())


def _patient(series: Series) -> dict[str, str]:
    """The patient and the study as the series names them, by keyword."""
    import pydicom

    tags = pydicom.dcmread(series.first, stop_before_pixels=True, specific_tags=[*_PATIENT], force=True)
    return {keyword: str(tags.get(keyword)) for keyword in _PATIENT if tags.get(keyword)}


def _document(
    report: MeasurementReport,
    images: list[Dataset],
    whose: Mapping[str, str],
    model: Observer,
    number: int,
    written: datetime,
) -> Dataset:
    """The SR document around the content of a report."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import Comprehensive3DSR

    content = json.dumps([report[0].to_json_dict(), written.isoformat(), dict(whose)])
    document = Comprehensive3DSR(
        evidence=images,
        content=report,
        series_instance_uid=_uid("series", images[0].SeriesInstanceUID, __version__, model.fingerprint),
        series_number=_FIRST_NUMBER + number % 1000,
        series_description=f"Landmarks in series {number}",
        sop_instance_uid=_uid("report", content),
        instance_number=1,
        manufacturer=_PROGRAM,
        manufacturer_model_name=_PROGRAM,
        software_versions=__version__,
        device_serial_number=model.fingerprint,
        is_complete=True,
        content_date=written.date(),
        content_time=written.time(),
        coding_schemes=[CodingSchemeIdentificationItem(_SCHEME, name=_PROGRAM)],
        specific_character_set="ISO_IR 192",
    )
    document.InstanceCreationDate, document.InstanceCreationTime = document.ContentDate, document.ContentTime
    for equipment in document.ContributingEquipmentSequence:
        del equipment.ContributionDateTime
    for keyword, value in whose.items():
        setattr(document, keyword, value)
    return document


def _report(
    images: list[Dataset], result: CaseDetections, model: Observer, by_hand: Collection[str]
) -> MeasurementReport:
    """The content: who observed, in which images, and a group for each landmark."""
    from highdicom.sr import MeasurementReport
    from pydicom.sr.codedict import codes

    report = MeasurementReport(
        observation_context=_observers(model, by_hand),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[
            _group(detection, images[0], model, by_hand=detection.name in by_hand)
            for detection in result.detections
        ],
    )
    report[0].ContentSequence.insert(-1, _library(images))  # the measurements stay last
    return report


def _library(images: list[Dataset]) -> ContainerContentItem:
    """All images in one group, with what they have in common: highdicom's own library repeats it for each."""
    from highdicom.sr import (
        ContainerContentItem,
        ContentSequence,
        ImageContentItem,
        ImageLibraryEntryDescriptors,
        RelationshipTypeValues,
    )
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    inside, source = RelationshipTypeValues.CONTAINS, Code("260753009", "SCT", "Source")
    group = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type=inside)
    group.ContentSequence = ContentSequence(ImageLibraryEntryDescriptors(images[0]))
    group.ContentSequence.extend(
        ImageContentItem(source, image.SOPClassUID, image.SOPInstanceUID, relationship_type=inside)
        for image in images
    )
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=inside)
    library.ContentSequence = ContentSequence([group])
    return library


def _observers(model: Observer, by_hand: Collection[str]) -> ObservationContext:
    """The program with its model, and the person who has corrected it, if somebody has."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=_uid("device", __version__, model.fingerprint),
        name=f"{_PROGRAM} {__version__}",
        manufacturer_name=_PROGRAM,
        model_name=model.name,
        serial_number=model.fingerprint,
    )
    if not by_hand:
        return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))
    person = PersonObserverIdentifyingAttributes(name="Unknown^")
    return ObservationContext(
        observer_device_context=ObserverContext(codes.DCM.Device, device),
        observer_person_context=ObserverContext(codes.DCM.Person, person),
    )


def _group(detection: Detection, image: Dataset, model: Observer, *, by_hand: bool) -> Any:
    """The measurement group of a landmark, around a point if it is there."""
    from highdicom.sr import (
        ImageRegion3D,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    uid = _uid("landmark", image.SeriesInstanceUID, detection.name)
    about = {
        "tracking_identifier": TrackingIdentifier(uid, detection.name),
        "finding_category": codes.SCT.AnatomicalStructure,
        "finding_type": Code("LANDMARK", _SCHEME, "Anatomical landmark"),
        "method": codes.SCT.Manual if by_hand else codes.SCT.Automated,
        "algorithm_id": None if by_hand else _algorithm(model),
        "measurements": [] if by_hand else _measurements(detection, model),
        "qualitative_evaluations": [
            QualitativeEvaluation(codes.DCM.PresenceOfProperty, _presence(detection.status))
        ],
    }
    if not detection.present:
        return MeasurementsAndQualitativeEvaluations(**about)
    position = detection.position.round(DECIMALS)  # as the other files of the result have it
    point = ImageRegion3D("POINT", position[None], image.FrameOfReferenceUID)
    return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=point, **about)


def _algorithm(model: Observer) -> AlgorithmIdentification:
    from highdicom.sr import AlgorithmIdentification
    from pydicom.sr.codedict import codes

    return AlgorithmIdentification(
        name=f"{_PROGRAM} {__version__}, {model.engine}: {model.name}",
        version=model.fingerprint,
        family=codes.DCM.ArtificialIntelligence,
    )


def _measurements(detection: Detection, model: Observer) -> list[Measurement]:
    """How certain it is that the landmark is in the scan, and how far off its position may be."""
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    certainty = round(100 * detection.confidence, DECIMALS - 2)
    measured = [Measurement(codes.DCM.CertaintyOfFinding, certainty, codes.UCUM.Percent)]
    if model.coverage is not None and not math.isnan(detection.radius_mm):
        share = f"{100 * model.coverage:.4g}"
        radius = Code(f"RADIUS-{share}", _SCHEME, f"Estimated error radius, {share} % coverage")
        millimetres = round(detection.radius_mm, DECIMALS)
        measured.append(Measurement(radius, millimetres, codes.UCUM.Millimeter))
    return measured


def _presence(status: Status) -> Code:
    """The status as CID 240 has it."""
    from pydicom.sr.codedict import codes

    return {
        "found": codes.SCT.Present,
        "uncertain": codes.SCT.Undetermined,
        "absent": codes.SCT.Absent,
    }[status]


def _uid(*parts: str) -> str:
    """A UID that the same parts give again."""
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=[json.dumps([_PROGRAM, *parts])])


def _time_of(files: Collection[Path]) -> datetime:
    """When the newest of the files was written."""
    return datetime.fromtimestamp(int(max(file.stat().st_mtime for file in files)))
