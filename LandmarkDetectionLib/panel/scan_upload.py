"""Handing a scan of the scene to the worker without holding up the user interface."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from LandmarkDetectionLib.data.frame import Frame
from LandmarkDetectionLib.data.volume import Volume
from LandmarkDetectionLib.scene.volumes import volume_of
from LandmarkDetectionLib.worker.shared_volume import SharedVolume, write_in_pieces


class ScanUpload:
    """Writes the voxels of a volume node into a file that the worker maps, piece by piece.

    The file of the last scan is kept: an unchanged scan is not written again.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="LandmarkDetection-"))
        self._written: tuple[tuple[object, ...], SharedVolume] | None = None
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
        key = _state_of(node, volume.frame)
        if self._written is not None and self._written[0] == key:
            on_done(self._written[1])
            return
        self._forget()
        self._count += 1
        path = self._folder / f"scan-{self._count}.npy"
        self._pieces = write_in_pieces(volume.voxels, path)
        self._on_progress, self._on_failure = on_progress, on_failure
        self._finish = lambda: self._done(key, volume, path, on_done)
        self._timer.start()

    def cancel(self) -> None:
        """Stop writing."""
        self._timer.stop()
        self._pieces = None

    def clear(self) -> None:
        """Stop, and remove the files."""
        self.cancel()
        self._written = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_piece(self) -> None:
        if self._pieces is None:
            return
        try:
            fraction = next(self._pieces, None)
        except (OSError, ValueError) as error:
            self.cancel()
            self._on_failure(
                _("The scan cannot be handed to the worker ({error}): make room on the disk.").format(
                    error=error
                )
            )
            return
        if fraction is None:
            self.cancel()
            self._finish()
        else:
            self._on_progress(fraction)

    def _done(
        self, key: tuple[object, ...], volume: Volume, path: Path, on_done: Callable[[SharedVolume], None]
    ) -> None:
        shared = SharedVolume(path, volume.frame)
        self._written = key, shared
        on_done(shared)

    def _forget(self) -> None:
        if self._written is not None:
            self._written[1].path.unlink(missing_ok=True)
            self._written = None


def _state_of(node: Any, frame: Frame) -> tuple[object, ...]:
    """What tells whether a node still has the voxels that were written."""
    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars()
    return node.GetID(), scalars, image.GetMTime(), scalars.GetMTime(), str(frame.as_numbers())
