"""The worker process: `python -m LandmarkDetectionLib.worker`.

A thread reads requests, so that a cancellation is heard while a detection runs. When standard input ends, the
process ends at once: a panel that is gone leaves no worker behind.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import TextIO

# Before PyTorch starts OpenMP: threads that wait sleep, and leave the cores to Slicer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from LandmarkDetectionLib.detection.devices import list_devices
from LandmarkDetectionLib.worker.protocol import Cancel, Detect, Event, Ready, decode, encode
from LandmarkDetectionLib.worker.session import Session

LONGEST = 1 << 20
"""Letters of a message, at most; of a longer line every part is refused, and none of it kept."""


def main() -> None:
    """Serve requests until standard input ends."""
    requests, events = _open_streams()

    def say(event: Event) -> None:
        events.write(encode(event))

    session = Session(say)
    waiting: queue.SimpleQueue[Detect] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, session, waiting), daemon=True).start()
    say(Ready(tuple(list_devices()), os.getpid()))
    while True:
        session.detect(waiting.get())


def _open_streams() -> tuple[TextIO, TextIO]:
    """The streams of messages; whatever else is printed in this process goes to standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1, newline="\n")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8", errors="backslashreplace", newline="\n")
    return requests, events


def _listen(requests: TextIO, session: Session, waiting: queue.SimpleQueue[Detect]) -> None:
    while line := requests.readline(LONGEST):
        try:
            message = decode(line)
        except ValueError as error:
            print(error, file=sys.stderr, flush=True)
            continue
        if isinstance(message, Detect):
            waiting.put(message)
        elif isinstance(message, Cancel):
            session.cancel(message.number)
    os._exit(0)


if __name__ == "__main__":
    main()
