"""Entry point of `python -m train_cli`."""

import sys

from train_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
