"""The Python packages that a detection needs, installed at the first click and never before."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess

import slicer
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.errors import InputError
from LandmarkDetectionLib.resources import resource_path

_NEEDED = ("numpy", "SimpleITK", "safetensors", "torch")


def missing_packages() -> list[str]:
    """The packages that are not installed; nothing is imported to find out."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def install_missing_packages() -> None:
    """Install what is missing, after asking.

    Raises:
        InputError: if the person declined, the PyTorch extension is not there, or it did not work.
    """
    missing = missing_packages()
    try:
        if "torch" in missing:
            _install_torch()
        if set(missing) - {"torch"}:
            _install_requirements()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            _("The packages could not be installed ({reason}): see the log of Slicer.").format(reason=error)
        ) from error
    importlib.invalidate_caches()
    still = missing_packages()
    if still:
        raise InputError(
            _("Detection needs {packages}: click Detect again and let them be installed.").format(
                packages=", ".join(still)
            )
        )


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise InputError(
            _("Detection needs PyTorch: install the extension 'PyTorch' (Extensions Manager), restart.")
        ) from error
    PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)


def _install_requirements() -> None:
    requirements = resource_path("requirements.txt")
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:  # Slicer 5.10
        question = _("Detection needs the Python package safetensors. Install it now?")
        if slicer.util.confirmOkCancelDisplay(question):
            slicer.util.pip_install(["-r", str(requirements)])
        return
    packaging.pip_ensure(packaging.load_requirements(requirements), requester="LandmarkDetection")
