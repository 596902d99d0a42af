"""Show the progress of a run: a live bar on a terminal, and one line per epoch elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from train.records.metrics import MEASURED, EpochMetrics, StepMetrics

# The widest a line may be, on a terminal and in a file.
_EPOCH_LINE = 100
# The least width of the bar, the time left and the spaces between columns.
_FIXED = 10 + len("0:00:00") + 5
# The least width of the numbers next to the title.
_NUMBER = len("compiling 1000 s")


class RunProgress:
    """Show one run, or several seeds that train together. Numbers are means over the seeds.

    A narrow terminal shows fewer numbers. The bar, the step and the time left always stay.

    Args:
      title: Name of the run.
      total_steps: Number of steps of the whole run.
      batch_size: Images per step and seed.
      console: The console to print to.
    """

    def __init__(self, title: str, total_steps: int, batch_size: int, console: Console):
        self._console, self._batch_size, self._title = console, batch_size, title
        self._steps_width = len(f"{total_steps}/{total_steps}")
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            _Numbers(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            # With variables such as FORCE_COLOR and TTY_COMPATIBLE, Rich treats a file as a terminal.
            disable=not (console.is_interactive and console.file.isatty()),
        )
        shown, _ = self._title_and_room()
        self._task = self._bar.add_task(shown, total=total_steps, numbers="")
        self._last: float | None = None

    def __enter__(self) -> "RunProgress":
        self._console.print(self._title, style="bold", highlight=False, markup=False, soft_wrap=True)
        if self._bar.disable:  # Otherwise the bar shows that the run compiles.
            self._console.print("compiling")
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def resume(self, done_steps: int) -> None:
        """Show how many steps were made before the run was resumed."""
        if done_steps:
            # An update would count them as steps of this moment and show almost no time left.
            self._bar.reset(self._task, completed=done_steps)

    def steps(self, metrics: StepMetrics) -> None:
        """Show the metrics of a slice, arrays [seeds, steps]."""
        now = time.perf_counter()
        seeds, number = metrics.loss.shape
        numbers = [
            f"loss {metrics.loss.mean():.3f}",
            f"momentum {metrics.momentum.mean():.3f}",
            f"below {metrics.below.mean():.0%}",
        ]
        # The time of the first slice includes compiling.
        if self._last is not None:
            numbers.insert(1, f"{seeds * number * self._batch_size / (now - self._last):,.0f} images/s")
        self._last = now
        title, room = self._title_and_room()
        self._bar.update(self._task, advance=number, description=title, numbers=_fitting(numbers, room))

    def _title_and_room(self) -> tuple[str, int]:
        """Return the title, empty if the terminal is too narrow for it, and the columns left for numbers."""
        room = self._console.width - _FIXED - self._steps_width
        title = self._title if len(self._title) + _NUMBER <= room else ""
        return title, room - len(title)

    def epoch(self, epochs: int, rows: Sequence[EpochMetrics]) -> None:
        """Show the end of an epoch, given the history row of each seed."""
        skipped = sum(row.skipped_steps or 0 for row in rows)
        mean = {name: np.mean([getattr(row, name) for row in rows]) for name in MEASURED}
        numbers = [
            f"epoch {rows[0].epoch + 1}/{epochs}",
            *([f"{skipped} steps skipped"] if skipped else []),
            f"test error {mean['test_error']:.2f}%",
            f"loss {mean['train_loss']:.4f}",
            f"{mean['seconds']:.1f} s",
            f"momentum {mean['mean_momentum']:.3f}",
            f"lr {mean['learning_rate']:.2g}",
            f"below {mean['below_fraction']:.0%}",
        ]
        width = self._console.width if self._console.file.isatty() else _EPOCH_LINE
        self._console.print(_fitting(numbers, min(width, _EPOCH_LINE)), highlight=False, soft_wrap=True)


class _Numbers(ProgressColumn):
    """Column with the numbers of the last slice. Before the first slice, it shows the seconds spent compiling."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["numbers"] or f"compiling {int(task.elapsed or 0)} s", no_wrap=True)


def _fitting(parts: Sequence[str], width: int) -> str:
    """Join as many parts as fit, with two spaces between them."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 2 + len(part) > width:
            break
        line += f"  {part}"
    return line
