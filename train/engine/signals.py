"""Handle the signals that ask a run to finish its slice, save and stop."""

import contextlib
import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType

# Sending one of these twice means that the user does not want to wait.
_URGENT = (signal.SIGINT, signal.SIGTERM)
# Schedulers send SIGUSR1, SIGUSR2 or SIGXCPU before a job's time ends, and SIGTERM later. A closed terminal may send
# SIGHUP twice. Windows has none of these.
_GENTLE = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name))


class Stopped(Exception):  # noqa: N818 - not an error: the run did what it was asked to do
    """Raised after a signal asked the run to stop and the run has saved. The message says where.

    Attributes:
      signum: Number of the signal.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


class TimeUp(Exception):  # noqa: N818 - not an error either
    """Raised when the time budget is used up and the run has saved. The message says what is left to do.

    Attributes:
      before_fresh: Whether the old runs, which were to be deleted, are still there.
    """

    def __init__(self, message: str, *, before_fresh: bool = False):
        super().__init__(message)
        self.before_fresh = before_fresh


class StopSignals(contextlib.AbstractContextManager):
    """Context that remembers the first signal and acknowledges it at once on standard error.

    A second SIGINT or SIGTERM ends the process. A signal that comes too late to raise `Stopped` has its usual effect
    when the context is left. A signal that the process ignores, as under `nohup`, stays ignored.

    Does nothing in other threads than the main thread, because Python allows no signal handlers there.

    Attributes:
      received: Number of the first signal, or None before there is one.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._noted: set[int] = set()
        self._leave = contextlib.ExitStack()

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for signum in (*_URGENT, *_GENTLE):
                # None means a handler that was not installed from Python.
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                    self._noted.add(signum)
                    self._leave.callback(signal.signal, signum, signal.signal(signum, self._note))
            self._watch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.close()
        if self.received is not None and error is None:
            signal.raise_signal(self.received)

    def _watch(self) -> None:
        """Start a thread that notices signals at once.

        The main thread runs `_note` only when it returns from C++, where compiling takes many seconds.
        """
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        thread = threading.Thread(target=self._acknowledge, args=(reader,), name="stop-signals", daemon=True)
        thread.start()
        self._leave.callback(reader.close)
        self._leave.callback(thread.join)
        self._leave.callback(writer.close)
        earlier = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._leave.callback(signal.set_wakeup_fd, earlier)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = self.received or signum

    def _acknowledge(self, reader: socket.socket) -> None:
        """Acknowledge each signal whose number Python writes to a socket, until the socket is closed."""
        seen: set[int] = set()
        while signums := reader.recv(1):
            signum = signums[0]
            if signum in _URGENT and seen.intersection(_URGENT):
                os._exit(128 + signum)
            again = "; again to stop now" if signum in _URGENT else ""
            if signum in self._noted and signum not in seen:
                seen.add(signum)
                with contextlib.suppress(OSError):  # the terminal may be gone
                    print(
                        f"{signal.Signals(signum).name}: finishing the slice, saving{again}.",
                        file=sys.stderr,
                        flush=True,
                    )
