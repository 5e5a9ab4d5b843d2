"""Entry point of `python -m train_cli`."""

import signal
import sys

from train_cli.app import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's stop is one like Ctrl-C
    sys.exit(main())
