"""How long the panel holds up Slicer's main thread while it detects, and what it adds to a detection.

    PYTHONPATH=Testing python Testing/benchmarks/panel.py MODEL SCAN

The event loop is that of the host; a timer that should fire all the time shows the longest gap between two of
its calls, which is the longest call on the main thread.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"
MODULE = Path(__file__).parents[2] / "LandmarkDetection" / "LandmarkDetection.py"


def main(model: Path, scan: Path) -> None:
    """Detect three times in one scan and print the figures of each."""
    from host.application import Host
    from PySide6.QtCore import QSettings, QTimer

    host = Host()
    QSettings().setValue("LandmarkDetection/ModelFolder", str(model))
    widget = host.open_widget(host.load_module(MODULE))
    add_scan(scan)
    host.run_until(lambda: widget.ui.detectButton.enabled and widget.panel.client._worker_id is not None)
    heartbeat = QTimer()
    heartbeat.setInterval(0)
    beats: list[float] = []
    heartbeat.timeout.connect(lambda: beats.append(time.perf_counter()))
    reported: list[Any] = []
    on_end = widget.panel.detect.on_end
    widget.panel.detect.on_end = lambda end: (reported.append(end), on_end(end))
    for number in range(1, 4):
        beats.clear()
        heartbeat.start()
        start = time.perf_counter()
        beats.append(start)
        widget.ui.detectButton.click()
        host.run_until(lambda: not widget.panel.detect.running, seconds=600)
        total = time.perf_counter() - start
        heartbeat.stop()
        longest = max(later - earlier for earlier, later in pairwise(beats))
        print(
            f"detection {number}: {total:.2f} s in all, {total - reported[-1].seconds:.2f} s more than the "
            f"worker's own; longest call on the main thread {1000 * longest:.0f} ms"
        )
    print(widget.ui.messageLabel.text)
    widget.cleanup()


def add_scan(scan: Path) -> None:
    """Open a scan; `random:SIZE` makes one of SIZE cubed voxels."""
    import numpy as np
    import slicer

    from LandmarkDetectionLib.data.frame import Frame
    from LandmarkDetectionLib.data.volume import Volume, read_volume
    from LandmarkDetectionLib.scene.volumes import add_volume

    if str(scan).startswith("random:"):
        size = int(str(scan).removeprefix("random:"))
        frame = Frame(size=(size,) * 3, spacing=(0.7,) * 3)
        voxels = np.random.default_rng(0).integers(0, 255, frame.shape, dtype=np.int16)
        volume = Volume(voxels, frame)
    else:
        volume = read_volume(scan)
    add_volume(volume, "scan", slicer.mrmlScene)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
