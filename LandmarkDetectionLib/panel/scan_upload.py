"""Handing a scan of the scene to the worker without holding up the user interface."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.scene.volumes import volume_of
from LandmarkDetectionLib.worker.shared_volume import SharedVolume, write_in_pieces


class ScanUpload:
    """Writes the voxels of a volume node into a file that the worker maps, piece by piece.

    The file of the last scan is kept: an unchanged scan is not written again.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="LandmarkDetection-"))
        self._state: tuple[object, ...] = ()
        self._shared: SharedVolume | None = None
        self._count = 0
        self._pieces: Iterator[float] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._write_piece)

    def start(
        self,
        node: Any,
        *,
        on_progress: Callable[[float], None],
        on_done: Callable[[SharedVolume], None],
        on_failure: Callable[[str], None],
    ) -> None:
        """Begin to write; one of `on_done` and `on_failure` is called in the end, unless it is cancelled.

        Raises:
            InputError: if the node has no voxels that can be searched.
        """
        self.cancel()
        volume = volume_of(node)
        state = _state_of(node, volume.frame)
        if self._state == state and self._shared is not None:
            on_done(self._shared)
            return
        self.forget()
        self._count += 1
        self._state = state
        self._shared = SharedVolume(self._folder / f"scan-{self._count}.npy", volume.frame)
        self._pieces = write_in_pieces(volume.voxels, self._shared.path)
        self._on_progress, self._on_done, self._on_failure = on_progress, on_done, on_failure
        self._timer.start()

    def cancel(self) -> None:
        """Stop writing; what is half written is removed."""
        self._timer.stop()
        if self._pieces is not None:
            self.forget()

    def forget(self) -> None:
        """Stop, and remove the file of the last scan."""
        self._timer.stop()
        self._pieces, self._state = None, ()
        shared, self._shared = self._shared, None
        if shared is not None:
            with suppress(OSError):  # Windows removes no file that the worker still maps
                shared.path.unlink()

    def clear(self) -> None:
        """Stop, and remove all files."""
        self.forget()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_piece(self) -> None:
        if self._pieces is None:
            return
        try:
            fraction = next(self._pieces, None)
        except (OSError, ValueError) as error:
            self.forget()
            text = _("The scan cannot be handed to the worker ({error}): make room on the disk.")
            self._on_failure(text.format(error=error))
            return
        if fraction is not None:
            self._on_progress(fraction)
            return
        self._timer.stop()
        self._pieces = None
        if self._shared is not None:
            self._on_done(self._shared)


def _state_of(node: Any, frame: Frame) -> tuple[object, ...]:
    """What tells whether a node still has the voxels that were written."""
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars()
    return node.GetID(), image.GetMTime(), scalars.GetMTime(), str(frame.as_numbers())
