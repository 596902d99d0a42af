"""`python -m train`."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from train.engine.backend import configure

# The status of a Unix program that SIGPIPE ended: 128 + 13. Python ignores the signal, and Windows lacks it.
_NO_READER_STATUS = 141


class _Wrapped:
    """A stream that behaves like another one."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Lossy(_Wrapped):
    """A stream that ignores failed writes.

    A closed terminal or pipe, or a full disk under the log, must not end a run.
    """

    def write(self, text: str) -> int:
        """Write if possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()


class Piped(_Wrapped):
    """A stream that ends the program without a message if nobody reads it any more, as in `| head -1`."""

    def write(self, text: str) -> int:
        """Write, or end the program."""
        with self._ending():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush, or end the program."""
        with self._ending():
            self._stream.flush()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Python flushes again at the end. https://docs.python.org/3/library/signal.html#note-on-sigpipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise SystemExit(_NO_READER_STATUS) from None


def _prepare_output() -> None:
    """Make standard output and error accept any text. Only standard output reports failed writes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115 - None if it was closed from the start
        stream.reconfigure(errors="backslashreplace")  # a path may not be valid text
        setattr(sys, name, stream)
    sys.stdout, sys.stderr = Piped(sys.stdout), Lossy(sys.stderr)


def _main() -> int:
    """Run the command. If it fails, do not keep the other processes of the run waiting."""
    try:
        from train.cli import main
        from train.engine import processes
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    try:
        status = main()
    except SystemExit as stop:  # after the help of a command, and after an option without its value
        sys.stdout.flush()
        status = int(stop.code or 0)
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
