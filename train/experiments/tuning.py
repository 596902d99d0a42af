"""Trials that find the learning rate and weight decay of an arm, before its runs, on held-out training images.

Each pair of the arm's `learning_rates` and `weight_decays` is trained with the `tuning_seeds` on four fifths of the
training images. Pairs are compared by the error on the last fifth after the last epoch. The test set is not used.
Trials are in `<group>-tuning/`, next to the arm's group. They are ordinary runs: they resume, and are not repeated.
`trials.json` next to the arm's runs contains their results.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from train import records
from train.data import Dataset, Source
from train.data.dataset import stratified_split
from train.errors import ConfigError
from train.experiments import Experiment

_ALL_WRONG = 100.0


def trials(arm: Experiment) -> list[Experiment]:
    """The trials of an arm; empty if it has nothing to tune."""
    return [_trial(arm, rate, decay) for rate in arm.learning_rates for decay in arm.weight_decays]


def tuned_fields(arm: Experiment, root: Path) -> dict[str, Any]:
    """The settings of an arm that its trials decide.

    Args:
      arm: The arm.
      root: Folder of all runs.

    Returns:
      `learning_rate` and `weight_decay` of the trial with the lowest mean error over its seeds on the held-out images.
      Ties are broken by the lowest loss. Empty if the arm has nothing to tune.

    Raises:
      ConfigError: If a trial is missing or not finished, or none of them stayed finite.
      RecordError: If a record is damaged.
    """
    if not arm.learning_rates:
        return {}
    found = {trial: _score(_ends(trial, arm, root)) for trial in trials(arm)}
    best = min(found, key=lambda trial: found[trial])
    if not math.isfinite(found[best][1]):
        raise ConfigError(f"{arm.name}: no trial stayed finite; pass smaller --learning-rates.")
    return {"learning_rate": best.learning_rate, "weight_decay": best.weight_decay}


def resolved(arm: Experiment, root: Path) -> Experiment:
    """Fill in the learning rate and weight decay that the trials of an arm decide.

    Raises:
      ConfigError: If a trial is missing or not finished, or no trial stayed finite.
      RecordError: If the record of a trial is damaged.
    """
    changes = tuned_fields(arm, root)
    return dataclasses.replace(arm, **changes) if changes else arm


def write_trials(arm: Experiment, root: Path, command: str) -> None:
    """Write the results of an arm's trials to `trials.json` next to its runs, if it has trials.

    Args:
      arm: The arm.
      root: Folder of all runs.
      command: The command line, for the record.

    Raises:
      ConfigError: If a trial is missing or not finished.
      RecordError: If a record is damaged.
    """
    if arm.learning_rates:
        rows = [
            {"learning_rate": trial.learning_rate, "weight_decay": trial.weight_decay} | _ends(trial, arm, root)
            for trial in trials(arm)
        ]
        document = {"command": command, "seeds": list(arm.tuning_seeds), "trials": rows}
        records.write_trials(root, arm.name, document)


def hold_out(dataset: Dataset | Source) -> Dataset:
    """The training images of a data set, with every fifth of a class as the test set.

    Raises:
      ConfigError: If the data set is streamed.
    """
    if isinstance(dataset, Source):
        raise ConfigError("Images are held out in memory only: leave out --stream.")
    train, test = stratified_split(dataset.train_labels)
    return dataclasses.replace(
        dataset,
        train_images=dataset.train_images[train],
        train_labels=dataset.train_labels[train],
        test_images=dataset.train_images[test],
        test_labels=dataset.train_labels[test],
    )


def _trial(arm: Experiment, rate: float, decay: float) -> Experiment:
    group, _, name = arm.name.partition("/")
    return dataclasses.replace(
        arm,
        name=f"{group}-tuning/{name}-lr{rate:.9g}-wd{decay:.9g}",
        learning_rate=rate,
        weight_decay=decay,
        learning_rates=(),
        weight_decays=(),
        seeds=arm.tuning_seeds,
        holdout=True,
    )


def _ends(trial: Experiment, arm: Experiment, root: Path) -> dict[str, list[float]]:
    """The error and the loss on the held-out images, after the last epoch, for each seed.

    A trial that skipped steps counts as wholly wrong.
    """
    errors, losses = [], []
    for seed in trial.seeds:
        record = records.find(root, trial.name, seed)
        if record is None or not record.finished:
            raise ConfigError(f"{arm.name} takes its learning rate from {trial.name}, seed {seed}: run that first.")
        errors.append(_ALL_WRONG if record.skipped_steps else record.history[-1].test_error)
        losses.append(record.history[-1].test_loss)
    return {"error": errors, "loss": losses}


def _score(ends: dict[str, list[float]]) -> tuple[float, float]:
    """The sort key of trials, lower is better; infinite if a seed has a number that is not finite."""
    error, loss = float(np.mean(ends["error"])), float(np.mean(ends["loss"]))
    return (error, loss) if math.isfinite(loss) else (math.inf, math.inf)
