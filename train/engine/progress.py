"""What a person sees while a run goes on: a live bar on a terminal, a line an epoch elsewhere."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """Shows one run, or several seeds that run together; numbers are means over the seeds.

    Args:
      title: What is being trained.
      total_steps: Steps of the whole run.
      batch_size: Images a step; times the seeds.
      done_steps: Steps made earlier, by the run that this one resumes.
      console: Where to print.
    """

    def __init__(self, title: str, total_steps: int, batch_size: int, done_steps: int, console: Console):
        self._console, self._batch_size, self._title = console, batch_size, title
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn(
                "loss {task.fields[loss]:.3f}  momentum {task.fields[momentum]:.3f}  below {task.fields[below]:.0%}  "
                "{task.fields[speed]:,.0f} images/s"
            ),
            TimeRemainingColumn(),
            console=console,
            # Variables such as FORCE_COLOR and TTY_COMPATIBLE make Rich take a file for a terminal.
            disable=not (console.is_interactive and console.file.isatty()),
        )
        blank: dict[str, Any] = {"loss": float("nan"), "momentum": float("nan"), "below": 0.0, "speed": 0.0}
        self._task = self._bar.add_task(title, total=total_steps, completed=done_steps, **blank)
        self._last = time.perf_counter()

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def steps(self, loss: Any, momentum: Any, below: Any) -> None:
        """Show a slice of steps; arrays [seeds, steps]."""
        now = time.perf_counter()
        seeds, number = loss.shape
        self._bar.update(
            self._task,
            advance=number,
            loss=float(loss.mean()),
            momentum=float(momentum.mean()),
            below=float(below.mean()),
            speed=seeds * number * self._batch_size / (now - self._last),
        )
        self._last = now

    def epoch(self, epochs: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show the end of an epoch, from the history row of each seed."""
        skipped = sum(row["skipped_steps"] for row in rows)
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        self._console.print(
            f"{self._title}  epoch {rows[0]['epoch'] + 1}/{epochs}  train loss {mean['train_loss']:.4f}  "
            f"test error {mean['test_error']:.2f} %  learning rate {mean['learning_rate']:.2g}  "
            f"momentum {mean['mean_momentum']:.3f}  below {mean['below_fraction']:.0%}  {mean['seconds']:.1f} s"
            + f"  {skipped} steps skipped"
            * bool(skipped),
            highlight=False,
            soft_wrap=True,
        )
