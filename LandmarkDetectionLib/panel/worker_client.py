"""The panel's end of the worker process: starts it, asks, listens, and ends it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from LandmarkDetectionLib.worker.protocol import (
    Cancel,
    Detect,
    Event,
    Failure,
    Notice,
    Progress,
    Ready,
    Request,
    Result,
    decode,
    encode,
)
from LandmarkDetectionLib.worker.shared_volume import SharedVolume

_PATIENCE_MS = 5000
"""A worker that has not stopped so long after it was asked to is ended."""
_LIBRARY_FOLDER = Path(__file__).parents[2]


class Listener(Protocol):
    """Who wants to know how a detection goes."""

    def on_progress(self, progress: Progress) -> None: ...

    def on_notice(self, notice: Notice) -> None: ...

    def on_end(self, end: Result | Failure) -> None: ...


def console_python() -> str:
    """The Python that runs scripts: PythonSlicer inside Slicer, this very one outside."""
    return shutil.which("PythonSlicer") or sys.executable


class WorkerClient:
    """Runs one detection at a time in a process that stays, with its model, until `stop`.

    Who wants to detect claims the client first, hears of all that it detects, and releases it in the end.

    Args:
        log: takes what the worker says besides its messages.
        on_devices: takes identifier and name of each device, once the worker has started.
        on_claim: is called when the client was claimed or released.
        python: the interpreter to run.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        on_devices: Callable[[tuple[tuple[str, str], ...]], None],
        on_claim: Callable[[], None],
        python: str | None = None,
    ) -> None:
        self._log, self._on_devices, self._on_claim = log, on_devices, on_claim
        self._python = python or console_python()
        self._process: Any = None
        self._ended_process: Any = None  # Qt does not survive that a process is deleted in its own signal
        self._worker_id: int | None = None
        self._unread = b""
        self._number = 0
        self._listener: Listener | None = None
        self._detecting = self._cancelled = False
        self._patience = qt.QTimer()
        self._patience.setSingleShot(True)
        self._patience.setInterval(_PATIENCE_MS)
        self._patience.connect("timeout()", self._kill)

    def is_free_for(self, listener: Listener) -> bool:
        """Whether nobody else has claimed the client."""
        return self._listener in (None, listener)

    @property
    def detecting(self) -> bool:
        """Whether a detection is running."""
        return self._detecting

    def claim(self, listener: Listener) -> None:
        """Reserve the client; it must be free."""
        if not self.is_free_for(listener):
            raise RuntimeError("the worker client is claimed already")
        self._listener = listener
        self._on_claim()

    def release(self) -> None:
        """Let others claim the client."""
        self._listener = None
        self._on_claim()

    def start(self) -> None:
        """Start the worker, if it is not running, so that the first detection need not wait for it."""
        if self._process is not None:
            return
        process = qt.QProcess()
        process.connect("readyReadStandardOutput()", self._read_events)
        process.connect("readyReadStandardError()", self._read_log)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)
        process.setWorkingDirectory(str(_LIBRARY_FOLDER))  # where `-m` finds the library
        self._process, self._worker_id, self._unread = process, None, b""
        process.start(self._python, ["-m", "LandmarkDetectionLib.worker"])

    def detect(self, model: Path, device: str, scan: SharedVolume | Path) -> None:
        """Start a detection; who has claimed the client hears of its progress and, once, of its end."""
        self._number += 1
        self._detecting, self._cancelled = True, False
        self.start()
        self._send(Detect(self._number, model, device, scan))

    def cancel(self) -> None:
        """Ask the running detection to stop; a worker that does not is ended."""
        if self._detecting and not self._cancelled:
            self._cancelled = True
            self._send(Cancel(self._number))
            self._patience.start()

    def stop(self) -> None:
        """End the worker; nobody hears of a detection that was running."""
        self._listener, self._detecting = None, False
        self._patience.stop()
        if self._process is not None:
            self._process.closeWriteChannel()
            if not self._process.waitForFinished(1000):
                process = self._process
                self._kill()
                process.waitForFinished(1000)

    def _send(self, request: Request) -> None:
        if self._process is not None:
            self._process.write(encode(request).encode())

    def _read_events(self) -> None:
        if self._process is None:
            return
        self._unread += bytes(self._process.readAllStandardOutput().data())
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            try:
                self._handle(decode(line.decode()))
            except ValueError as error:
                self._log(str(error))

    def _handle(self, event: Event | Request) -> None:
        if isinstance(event, Ready):
            self._worker_id = event.process
            self._on_devices(event.devices)
        elif self._listener is None or not self._detecting or getattr(event, "number", 0) != self._number:
            return
        elif isinstance(event, Progress):
            self._listener.on_progress(event)
        elif isinstance(event, Notice):
            self._listener.on_notice(event)
        elif isinstance(event, Result | Failure):
            self._end(event)

    def _end(self, end: Result | Failure) -> None:
        self._patience.stop()
        self._detecting = False
        if self._cancelled:  # even if it came to its end just before
            end = Failure(self._number, "cancelled", _("The detection was cancelled."))
        elif isinstance(end, Failure) and end.details:
            self._log(end.details)
        if self._listener is not None:
            self._listener.on_end(end)

    def _read_log(self) -> None:
        if self._process is not None:
            text = bytes(self._process.readAllStandardError().data()).decode(errors="replace").strip()
            if text:
                self._log(text)

    def _on_error(self, error: Any) -> None:
        if error == qt.QProcess.FailedToStart:
            self._ended_process, self._process = self._process, None
            self._end_unexpectedly(
                _("The worker cannot be started ({python}): install the extension again.").format(
                    python=self._python
                )
            )

    def _on_finished(self, code: int, status: Any) -> None:
        self._read_events()
        self._read_log()
        self._ended_process, self._process = self._process, None
        crashed = status == qt.QProcess.CrashExit
        how = (
            _("crashed, or ended for want of memory") if crashed else _("exit code {code}").format(code=code)
        )
        self._end_unexpectedly(
            _("The worker stopped unexpectedly ({how}): detect again; what it said is in the log.").format(
                how=how
            )
        )

    def _end_unexpectedly(self, text: str) -> None:
        if self._detecting:
            self._end(Failure(self._number, "fault", text))

    def _kill(self) -> None:
        """End the process at once. PythonSlicer is a launcher: the worker is ended by its own number."""
        if self._process is None:
            return
        self._process.closeWriteChannel()
        if self._worker_id is not None:
            with suppress(OSError):  # it may have ended by itself
                os.kill(self._worker_id, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.kill()
