"""What of an experiment is done, what has begun, and which seeds run together."""

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from train import records
from train.data.dataset import Dataset, Source
from train.engine.checkpoints import begun_cohorts, cohort_dir
from train.experiments import ConfigError, Experiment, config_of, controls, differences, tuning
from train.records import RecordError

# The name of a cohort's folder lists its seeds, and a file system takes 255 bytes.
_MOST_TOGETHER = 20


class Plan(NamedTuple):
    """What is left to do; of JSON's types.

    Attributes:
      missing: The seeds without a finished record.
      cohorts: The seeds that run together. A kill may have come between two seeds' records: then a cohort holds seeds
        that are not missing, too.
    """

    missing: list[int]
    cohorts: list[list[int]]


def make_plan(experiment: Experiment, seeds: Sequence[int], root: Path, *, together: bool, fresh: bool) -> Plan:
    """Look what is left to do.

    Args:
      experiment: The arm.
      seeds: Those asked for.
      root: Folder of all runs.
      together: Whether seeds may run as one program.
      fresh: Whether to take nothing for done or begun.

    Raises:
      ConfigError: If what is there was made with other settings.
      RecordError: If a record is damaged.
    """
    if fresh:
        return Plan([*seeds], _split([], [*seeds], together))
    missing = [seed for seed in seeds if not _is_finished(experiment, root, seed)]
    begun = [
        cohort
        for cohort in begun_cohorts(root, experiment.name)
        if set(cohort) & set(missing)
        and all(seed in missing or _is_recorded(experiment, root, seed) for seed in cohort)
    ]
    return Plan(missing, _split(begun, missing, together))


def discard(runs: Iterable[tuple[Experiment, Sequence[int]]], root: Path) -> None:
    """Remove the records of some experiments and their seeds, and the checkpoints that no other seed still needs."""
    for experiment, seeds in runs:
        for cohort in begun_cohorts(root, experiment.name):
            others = set(cohort) - set(seeds)
            if others != set(cohort) and all(_is_recorded(experiment, root, seed) for seed in others):
                shutil.rmtree(cohort_dir(root, experiment.name, cohort))
        records.discard(root, experiment.name, seeds)


def resolved(experiment: Experiment, root: Path, seed: int) -> Experiment:
    """An experiment with what it takes from other runs: its controls' momentum, its tuned learning rate.

    Raises:
      ConfigError: If such a run is missing, or does not fit.
      RecordError: If its record is damaged.
    """
    changes = controls.followed_fields(experiment, root, seed) | tuning.tuned_fields(experiment, root)
    return dataclasses.replace(experiment, **changes) if changes else experiment


def saved_settings(experiment: Experiment, dataset: Dataset | Source) -> dict[str, Any]:
    """What a checkpoint depends on, as JSON values: the settings, and which data they were used on."""
    size = " x ".join(map(str, dataset.image_shape))
    data = f"{dataset.name}: {dataset.train_size} and {dataset.test_size} images of {size}"
    config = config_of(experiment) | {"data": data}
    # What to do next at a loss that is not finite changes nothing about the steps before.
    del config["nonfinite"]
    return config


def refuse_other_settings(path: Path | str, there: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare what something on disk was made with to what is asked for.

    Raises:
      ConfigError: If they differ; the message names the settings.
    """
    differ = differences(there, now)
    if differ:
        told = ", ".join(f"{key} ({old!r} there, {new!r} now)" for key, (old, new) in differ.items())
        raise ConfigError(
            f"{path} was made with other settings: {told}. Choose another --runs folder, or replace it with --fresh."
        )


def _is_finished(experiment: Experiment, root: Path, seed: int) -> bool:
    record = records.find(root, experiment.name, seed)
    if record is None:
        return False
    where = f"{record.folder}: {experiment.name}, seed {seed}"
    refuse_other_settings(where, record.config, config_of(resolved(experiment, root, seed)))
    return record.finished


def _is_recorded(experiment: Experiment, root: Path, seed: int) -> bool:
    """The same of a seed that nobody asked for: whatever is wrong with its record is not told."""
    try:
        return _is_finished(experiment, root, seed)
    except (ConfigError, RecordError):
        return False


def _split(begun: list[list[int]], missing: list[int], together: bool) -> list[list[int]]:
    """Which seeds run together: those that began so, then all others; or each alone."""
    if not together:
        return [[seed] for seed in missing]
    cohorts: list[list[int]] = []
    for seeds in sorted(begun, key=len, reverse=True):
        if not any(set(seeds) & set(cohort) for cohort in cohorts):
            cohorts.append(seeds)
    rest = [seed for seed in missing if not any(seed in cohort for cohort in cohorts)]
    return cohorts + [rest[i : i + _MOST_TOGETHER] for i in range(0, len(rest), _MOST_TOGETHER)]
