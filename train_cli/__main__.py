"""Entry point of `python -m train_cli`."""

import os
import signal
import sys

from train_cli.app import main

if __name__ == "__main__":
    # Before PyTorch starts OpenMP: threads that wait sleep, so that programs beside this one slow it no more
    # than by what they take.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's stop is one like Ctrl-C
    sys.exit(main())
