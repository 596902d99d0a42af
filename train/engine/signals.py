"""Signals that ask a run to finish its slice, save and stop."""

import contextlib
import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType

# Whoever sends one of these twice doesn't want to wait.
_URGENT = (signal.SIGINT, signal.SIGTERM)
# Schedulers announce the end of the time with SIGUSR1, SIGUSR2 or SIGXCPU, and send SIGTERM later. A closed terminal
# may send SIGHUP twice. Windows lacks them.
_GENTLE = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name))


class Stopped(Exception):  # noqa: N818 - no error: what was asked for was done
    """The run was asked to stop and has saved; the message says where.

    Attributes:
      signum: The signal.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


class TimeUp(Exception):  # noqa: N818 - no error either
    """The time budget of the run is used up, and the run has saved; the message says what is left."""


class StopSignals(contextlib.AbstractContextManager):
    """While entered, notes the first signal and acknowledges it at once on standard error.

    A second SIGINT or SIGTERM ends the process. A signal that no `Stopped` answered, as it came too late, has its
    usual effect on leaving. A signal that the process ignores, as under `nohup`, stays ignored.

    In a thread other than the main thread, where Python allows no signal handlers, it does nothing.

    Attributes:
      received: The first signal, None while there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._noted: set[int] = set()
        self._leave = contextlib.ExitStack()

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for signum in (*_URGENT, *_GENTLE):
                # None: installed by what started Python.
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
        """Start a thread that learns of signals at once.

        The main thread runs `_note` only when it is back from C++, where compiling takes many seconds.
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
        """Answer the signals whose numbers Python writes to the other end of a socket, until that is closed."""
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
