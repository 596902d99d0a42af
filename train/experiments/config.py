"""The settings of an experiment as JSON values, as checkpoints and records keep them."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from train.experiments.experiment import Experiment
from train.records import Record

_NOT_RECORDED = ("seeds", "vmap_seeds")


def config_of(experiment: Experiment) -> dict[str, Any]:
    """Convert the settings that decide a run's numbers to JSON values.

    The seeds, and how they are run, are not included.
    """
    config = {key: value for key, value in dataclasses.asdict(experiment).items() if key not in _NOT_RECORDED}
    return json.loads(json.dumps(config))


def from_config(config: Mapping[str, Any], **not_recorded: Any) -> Experiment:
    """Rebuild an experiment from its `config_of`. Missing settings take their defaults.

    Args:
      config: JSON values by field.
      **not_recorded: `seeds` and `vmap_seeds`, which a config does not contain.

    Raises:
      ConfigError: If a value is out of its range.
      TypeError: If a field is unknown.
    """
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    return Experiment(**fields, **not_recorded)


MAIN_SETTINGS = (
    "dataset",
    "depth",
    "width",
    "epochs",
    "batch_size",
    "learning_rate",
    "schedule",
    "weight_decay",
    "momentum_below",
    "momentum_above",
    "phase",
    "control",
    "follows",
    "delay",
    "nesterov",
    "optimizer",
    "training",
    "activation",
)
"""The fields of `Experiment` that lists and reports always show. Reports show other fields if the arms differ."""

DEFAULTS = config_of(Experiment(name="", dataset=""))
"""The default of each setting, as a JSON value. A run that is older than a setting had its default."""


def differences(there: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings of `now` that differ from those of an older run, by name: (old value, new value)."""
    there = now | DEFAULTS | there
    return {key: (there[key], value) for key, value in now.items() if there[key] != value}


def differences_from_run(record: Record, now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings of `now` that differ from those of a finished run, by name: (old value, new value).

    `nonfinite` makes no difference to a run that skipped no step.
    """
    differ = differences(record.config, now)
    if not record.skipped_steps:
        differ.pop("nonfinite", None)
    return differ
