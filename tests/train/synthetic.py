"""Made-up runs for the tests of records, statistics, figures and the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from train.records import EpochMetrics, Record, StepMetrics

STEPS_PER_EPOCH = 6
CONFIG = {
    "dataset": "digits",
    "depth": 10,
    "width": 1,
    "batch_size": 128,
    "learning_rate": 0.1,
    "schedule": "constant",
    "weight_decay": 5e-4,
    "momentum_below": 0.9,
    "momentum_above": 0.9,
    "phase": "epoch_mean",
    "nesterov": False,
    "delay": True,
}


def record(arm: str, seed: int, errors: Sequence[float], *, group: str = "demo", **config: Any) -> Record:
    """A run with the given test error after each epoch."""
    history = [
        EpochMetrics(
            epoch=epoch,
            train_loss=2.0 / (1 + epoch),
            test_error=error,
            test_loss=2.5 / (1 + epoch),
            learning_rate=0.1,
            below_fraction=0.5,
            mean_momentum=0.925,
            seconds=30.0,
        )
        for epoch, error in enumerate(errors)
    ]
    return Record(
        name=f"{group}/{arm}",
        group=group,
        seed=seed,
        config={**CONFIG, "epochs": len(errors), **config},
        versions={"python": "3.11.0", "jax": "0.10.2"},
        device={"platform": "cpu", "kind": "cpu", "count": 1, "process_count": 1},
        command=f"python -m train run {group}/{arm} --seeds {seed}",
        history=history,
    )


def steps(epochs: int) -> StepMetrics:
    """The steps of as many epochs: losses that fall and rise, LCAM's momenta."""
    loss = np.tile(np.array([2.0, 1.5, 1.8, 1.7, 1.2, 2.2], np.float32), epochs)
    below = np.tile(np.array([False, True, False, True, True, False]), epochs)
    momentum = np.where(np.roll(below, 1), 0.9, 0.95).astype(np.float32)
    return StepMetrics(loss=loss, momentum=momentum, below=below)
