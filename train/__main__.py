"""`python -m train`."""

import sys

from train.engine.backend import configure

if __name__ == "__main__":
    configure()
    for output in (sys.stdout, sys.stderr):
        output.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a path may be no text
    from train.cli import main

    sys.exit(main())
