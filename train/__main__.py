"""`python -m train`."""

import contextlib
import os
import signal
import sys
import traceback
from typing import Any, TextIO

from train.engine.backend import configure


class Lossy:
    """A stream that ignores failed writes.

    A closed terminal or pipe, or a full disk under the log, must not end a run.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _prepare_output() -> None:
    """Make standard output and error accept any text. Only standard output reports failed writes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115 - None if it was closed from the start
        stream.reconfigure(errors="backslashreplace")  # a path may not be valid text
        setattr(sys, name, stream)
    sys.stderr = Lossy(sys.stderr)


def _main() -> int:
    """Run the command. If it fails, do not keep the other processes of the run waiting."""
    try:
        from train.cli import main
        from train.engine import processes
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    try:
        status = main()
    except Exception as error:
        if not processes.joined():
            raise
        if processes.is_loss(error):
            processes.leave_after_loss(error)
        traceback.print_exc()
        status = 1
    # After a signal all processes stop together.
    if 0 < status < 128:
        processes.leave(status)
    return status


if __name__ == "__main__":
    _prepare_output()
    configure()
    sys.exit(_main())
