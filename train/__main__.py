"""`python -m train`."""

import sys

from train.backend import configure

if __name__ == "__main__":
    configure()
    from train.cli import main

    sys.exit(main())
