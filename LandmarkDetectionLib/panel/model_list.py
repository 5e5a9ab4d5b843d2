"""The models that the panel offers: those in a folder of the user's, those in the box, those imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.model.bundle import DESCRIPTION_FILE, Bundle, load_bundle, unpack_bundle
from LandmarkDetectionLib.model.doubt import doubt_of
from LandmarkDetectionLib.resources import resource_path

_FOLDER_KEY = "LandmarkDetection/ModelFolder"


@dataclass(frozen=True, eq=False)
class ModelEntry:
    """A model that can be chosen.

    Attributes:
        name: to choose it by.
        folder: of the bundle.
        bundle: its description, None if it cannot be used.
        problem: why it cannot be used, '' if it can.
    """

    name: str
    folder: Path
    bundle: Bundle | None
    problem: str = ""


class ModelList:
    """Finds models, and takes in new ones."""

    @property
    def imported_folder(self) -> Path:
        """Where imported models are kept, beside Slicer's own settings."""
        return Path(slicer.app.slicerUserSettingsFilePath).parent / "LandmarkDetection" / "Models"

    @property
    def own_folder(self) -> Path | None:
        """The folder of the user's that was chosen last."""
        chosen = qt.QSettings().value(_FOLDER_KEY)
        return Path(chosen) if chosen else None

    def entries(self) -> list[ModelEntry]:
        """All models, those in the folder chosen by the user first; each has a name of its own."""
        entries = [_entry(folder) for folder in dict.fromkeys(self._folders())]
        names = [entry.name for entry in entries]
        return [
            replace(entry, name=f"{entry.name} ({entry.folder})") if names.count(entry.name) > 1 else entry
            for entry in entries
        ]

    def choose_folder(self, folder: Path) -> Path:
        """Offer the models of a folder from now on: it is a bundle, or holds some; gives the first.

        Raises:
            InputError: if there is no bundle.
        """
        bundles = list(_bundles_in(folder))
        if not bundles:
            raise InputError(
                _("{folder}: no model here; choose the folder of a model, which holds {file}.").format(
                    folder=folder, file=DESCRIPTION_FILE
                )
            )
        qt.QSettings().setValue(_FOLDER_KEY, str(folder))
        return bundles[0]

    def import_bundle(self, archive: Path) -> Path:
        """Unpack a packed bundle into the imported models; gives its folder.

        Raises:
            InputError: if it is none, damaged, or there is a model of that name.
        """
        return unpack_bundle(archive, self.imported_folder)

    def _folders(self) -> Iterator[Path]:
        own = self.own_folder
        for parent in (*([own] if own else []), resource_path("Models"), self.imported_folder):
            yield from _bundles_in(parent)


def describe_model(bundle: Bundle) -> str:
    """What a person wants to know of a model before using it, in a few lines of rich text."""
    lines = [
        _("{count} landmarks, seen at {spacing:g} mm").format(
            count=len(bundle.table), spacing=bundle.preparation.spacing
        ),
        _accuracy(bundle),
        doubt_of(bundle),
        _("Trained on {count} cases").format(count=bundle.training_data.get("training_cases", "?")),
        bundle.intended_use,
        _("Licence: {licence}").format(licence=bundle.licence or _("not stated")),
    ]
    return "<br>".join(line for line in lines if line)


def _accuracy(bundle: Bundle) -> str:
    calibration = bundle.calibration
    if calibration is None:
        return _("Not calibrated: no error estimates")
    return _("{share:.0%} of the landmarks of unseen cases within {radius:.2g} mm").format(
        share=calibration.coverage, radius=calibration.levels[0].pooled_mm
    )


def _bundles_in(folder: Path) -> Iterator[Path]:
    if (folder / DESCRIPTION_FILE).is_file():
        yield folder
    elif folder.is_dir():
        yield from sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION_FILE}"))


def _entry(folder: Path) -> ModelEntry:
    try:
        bundle = load_bundle(folder)
    except InputError as error:
        return ModelEntry(folder.name, folder, None, str(error))
    return ModelEntry(bundle.name, folder, bundle)
