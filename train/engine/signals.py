"""SIGTERM and SIGINT as a wish: finish the slice, save, leave. A second one stops at once."""

import signal
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):  # noqa: N818 - no error: what was asked for was done
    """The run was asked to stop and has saved; the message says where.

    Attributes:
      signum: The signal.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


class StopSignals:
    """While entered, notes the first signal; the second one has its usual effect.

    So has the first, on leaving, where no `Stopped` answered it: it came too late, or before anybody looked.

    Attributes:
      received: The signal, None while there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "StopSignals":
        self._earlier = {signum: signal.signal(signum, self._note) for signum in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._earlier.items():
            signal.signal(signum, handler)
        if self.received is not None and error is None:
            signal.raise_signal(self.received)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
