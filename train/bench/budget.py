"""Least times of the large groups of runs on a GPU, from the compiler's bound of a step.

Nothing here is measured. A bound counts the work of the step's kernels at the chip's peak rates. It excludes compiling,
evaluation, saving, and the time between kernels, which is most of a step of a narrow network.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

from train import experiments, files
from train.experiments import Experiment, tuning

_TRAINING_IMAGES = 50_000  # of CIFAR-10 and of CIFAR-100
# Per line of the table: the group, and the depth and width that its command asks for.
_GROUPS = (("fig3", 28, 10), ("fig4", 28, 10), ("controls", 28, 2), ("arena", 28, 2))
_RECORD = "bench/compiled-h200-wrn-{depth}-{width}.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """The work of a group.

    Attributes:
      group: Its name.
      runs: Number of runs, trials of the tuning included.
      epochs: Of all runs together.
      steps: Of all runs together.
    """

    group: str
    runs: int
    epochs: int
    steps: int


def budget(group: str) -> Budget:
    """Count the runs of a group, each arm with its own seeds, and the trials that come before them."""
    runs = [run for arm in experiments.find(group) for run in _runs(arm)]
    return Budget(
        group=group,
        runs=len(runs),
        epochs=sum(run.epochs for run in runs),
        steps=sum(run.epochs * _steps_per_epoch(run) for run in runs),
    )


def rows(results: Path) -> Iterator[tuple[str, ...]]:
    """A row per group: network, runs, epochs, the bound of a step in ms, and the least hours on one H200.

    Args:
      results: The folder of the committed records.
    """
    for group, depth, width in _GROUPS:
        work = budget(group)
        record = files.loads((results / _RECORD.format(depth=depth, width=width)).read_bytes())
        bound_ms = record["targets"]["h200"]["bound_ms"]
        hours = work.steps * bound_ms / 3.6e6
        yield (
            f"`{group}`",
            f"WRN-{depth}-{width}",
            f"{work.runs:,}",
            f"{work.epochs:,}",
            f"{bound_ms:.2f}",
            f"{hours:.1f}",
        )


def _runs(arm: Experiment) -> list[Experiment]:
    trials = [trial for trial in tuning.trials(arm) for _ in trial.seeds]
    return trials + [arm for _ in arm.seeds]


def _steps_per_epoch(run: Experiment) -> int:
    images = run.train_size or _TRAINING_IMAGES
    images = images * 4 // 5 if run.holdout else images
    return images // run.batch_size if run.drop_last else math.ceil(images / run.batch_size)
