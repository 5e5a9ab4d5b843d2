"""Draws the pictures of the documentation: `make pictures`.

The panel is opened in the host (Testing/host), a scan of the demo is detected with the demo's model by
clicking Detect, and the views are drawn by Slicer's displayable managers. So these are previews: Slicer
itself looks a little different around them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ["QT_QPA_PLATFORM"] = "offscreen"
ROOT = Path(__file__).parents[1]
MODULE = ROOT / "LandmarkDetection" / "LandmarkDetection.py"
WIDTH = 350


def main(demo: Path, output: Path) -> None:
    """Draw all pictures from a finished demo."""
    from host.application import Host
    from PySide6.QtCore import QSettings

    host = Host()
    output.mkdir(parents=True, exist_ok=True)
    QSettings().setValue("LandmarkDetection/ModelFolder", str(demo / "run" / "model"))
    widget = host.open_widget(host.load_module(MODULE))
    try:
        draw(host, widget, demo, output)
    finally:
        widget.cleanup()


def draw(host: Any, widget: Any, demo: Path, output: Path) -> None:
    """Go through the sections as a person would, and draw each."""
    from LandmarkDetectionLib.data.cases import case_landmarks, read_split

    ui, splits = widget.ui, demo / "splits" / "test.csv"
    cases = read_split(splits, supervised=True)
    case = max(cases, key=lambda case: case_landmarks(case, None).present.sum())
    detect(host, widget, case)
    save_views(widget, output / "views.png")
    correct(host, widget)
    grab(widget, output / "panel-detect.png", only=("detect", "landmarks"))
    ui.datasetPathLineEdit.currentPath = "data"
    ui.patientLineEdit.text = "patient 7"
    host.run_until(lambda: ui.exportButton.enabled)
    grab(widget, output / "panel-export.png", only=("export",))
    ui.datasetPathLineEdit.currentPath = ""
    review(host, widget, splits)
    grab(widget, output / "panel-batch.png", only=("batch",))


def detect(host: Any, widget: Any, case: Any) -> None:
    """Open a scan and click Detect; select the first landmark that was found."""
    import slicer

    from LandmarkDetectionLib.data.volume import read_volume
    from LandmarkDetectionLib.scene.volumes import add_volume

    ui = widget.ui
    add_volume(read_volume(case.image_path), case.name, slicer.mrmlScene)
    host.run_until(lambda: ui.detectButton.enabled)
    ui.detectButton.click()
    host.run_until(lambda: not widget.panel.detect.running, seconds=300)
    host.run_until(lambda: ui.landmarkTable.rowCount > 0)
    ui.landmarkTable.selectRow(0)


def correct(host: Any, widget: Any) -> None:
    """What a person may do next, so that the picture of the list shows it."""
    from LandmarkDetectionLib.scene.markups import release, set_absent

    parameters = widget.logic.getParameterNode()
    markups = parameters.markups
    place = [0.0, 0.0, 0.0]
    markups.GetNthControlPointPositionWorld(1, place)
    markups.SetNthControlPointPositionWorld(1, place[0] + 1, *place[1:])
    set_absent(markups, markups.GetNthControlPointLabel(3))
    release(markups, markups.GetNthControlPointLabel(4))
    parameters.leastConfidence = 0.9
    host.run_until(lambda: "placed" in widget.ui.summaryLabel.text)


def review(host: Any, widget: Any, splits: Path) -> None:
    """Detect in all cases of a split, and open the one to look at first."""
    ui = widget.ui
    ui.batchInputPathLineEdit.currentPath = str(splits)
    host.run_until(lambda: ui.batchButton.enabled)
    ui.batchButton.click()
    host.run_until(lambda: not widget.panel.batch.running, seconds=600)
    ui.batchTable.cellClicked.emit(0, 0)
    ui.batchInputPathLineEdit.blockSignals(True)  # the picture shows no folder of this machine
    ui.batchInputPathLineEdit.currentPath = "splits/test.csv"
    ui.batchMessageLabel.text = ""


def grab(widget: Any, path: Path, *, only: tuple[str, ...]) -> None:
    """A picture of the panel with these sections unfolded, at the width of a narrow panel."""
    from host import pythonqt
    from PySide6.QtCore import QCoreApplication, QEvent

    for name in ("detect", "landmarks", "export", "batch", "sample"):
        getattr(widget.ui, f"{name}CollapsibleButton").collapsed = name not in only
    outer = pythonqt.unwrap(widget.parent)
    outer.show()
    outer.resize(WIDTH, outer.sizeHint().height())
    for _ in range(5):
        QCoreApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest)
    outer.resize(WIDTH, outer.layout().minimumSize().height())
    QCoreApplication.processEvents()
    assert outer.width() == WIDTH, f"the panel needs {outer.width()} pixels"
    outer.grab().save(str(path))


def save_views(widget: Any, path: Path) -> None:
    """Three slices through a landmark and the surface, with all landmarks."""
    from host.views import slice_picture, surface_picture

    parameters = widget.logic.getParameterNode()  # the first landmark is selected
    place = [0.0, 0.0, 0.0]
    parameters.markups.GetNthControlPointPositionWorld(0, place)
    display = parameters.markups.GetDisplayNode()
    display.SetGlyphScale(3.0)
    display.SetTextScale(3.0)
    slices = [slice_picture(parameters.volume, name, place) for name in ("Axial", "Sagittal", "Coronal")]
    surface = surface_picture(parameters.volume, 300, (0.8, 1, 0.3))
    save(np.vstack([np.hstack([slices[0], surface]), np.hstack(slices[1:])]), path)


def save(picture: np.ndarray, path: Path) -> None:
    """Write (height, width, 3) bytes as a PNG."""
    from PySide6.QtGui import QImage

    height, width, _ = picture.shape
    data = np.ascontiguousarray(picture)
    QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy().save(str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
