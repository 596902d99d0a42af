"""TensorBoard events of a run, written after each epoch. A failure here does not stop the run."""

import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from train.records.metrics import MEASURED, EpochMetrics

# TensorBoard recognises "tfevents" in a name.
_PATTERN = "events.out.tfevents.*"


def remove_events(folder: Path) -> None:
    """Remove the event files of a run's folder."""
    for path in folder.glob(_PATTERN):
        path.unlink(missing_ok=True)


class EventLog:
    """Appends the rows of a run's history to its TensorBoard event file.

    A run that starts from its first epoch replaces earlier files. A resumed run adds a file; TensorBoard drops the
    points of earlier files from the resumed epoch on.

    Args:
      folder: The run's folder; made if it is missing.
      first_epoch: The first epoch that will be written, counted from 0.
      report: Called with one sentence if the events cannot be written. Nothing more is written then.
    """

    def __init__(self, folder: Path, first_epoch: int, report: Callable[[str], None]):
        # The import takes as long as the first steps of a small run.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._folder, self._report, self._protocol = folder, report, event_pb2
        self._writer: EventsWriter | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if first_epoch == 0:
                remove_events(folder)
            # Without thread and temporary file, so a full disk is noticed here.
            self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{first_epoch}")
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.write_event(event_pb2.Event(wall_time=time.time(), step=first_epoch, session_log=start))
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def epoch(self, row: EpochMetrics) -> None:
        """Write one row without numbers that are not finite. TensorBoard shows a gap there."""
        if self._writer is None:
            return
        event = self._protocol.Event(wall_time=time.time(), step=row.epoch)
        for name in MEASURED:
            if math.isfinite(number := getattr(row, name)):
                event.summary.value.add(tag=name, simple_value=number)
        try:
            self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._give_up(error)
            self._writer = None

    def _give_up(self, error: OSError) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._writer = None
        self._report(
            f"{self._folder}: TensorBoard events cannot be written ({error.strerror or error}). The run goes on."
        )
