"""Controls that repeat what an LCAM run did to the momentum, but not when.

A control with `follows` takes from the finished run of that arm, with the same seed and beside it in the same folder,
how often each epoch used the momentum for losses below the mean (phase `random`: as often, at random), or the mean of
its momentum over all steps (phase `none`: that momentum, always). If LCAM is better than these, it is the loss that
picks the right steps.
"""

from pathlib import Path
from typing import Any

import numpy as np

from train import records
from train.experiments import ConfigError, Experiment, config_of, differences


def followed_fields(experiment: Experiment, root: Path, seed: int) -> dict[str, Any]:
    """The fields of a control that the run which it follows decides; none for other experiments.

    Raises:
      ConfigError: If that run is not there, not finished, or differs in more than the momentum.
      RecordError: If its record is damaged.
    """
    if not experiment.follows:
        return {}
    name = f"{experiment.group}/{experiment.follows}"
    followed = records.find(root, name, seed)
    if followed is None:
        raise ConfigError(
            f"{experiment.name} follows {name}, which has no run with seed {seed} in {root}; run it first."
        )
    if not followed.finished or followed.config["epochs"] != experiment.epochs:
        raise ConfigError(
            f"{experiment.name} follows {name}, whose run with seed {seed} has {len(followed.history)} of "
            f"{followed.config['epochs']} epochs, not {experiment.epochs}; run it with as many, in the same folder."
        )
    _refuse_others(experiment, followed, name)
    momentum = np.reshape(followed.steps.momentum, (experiment.epochs, -1))
    if experiment.phase == "none":
        mean = round(float(momentum.mean(dtype=np.float64)), 6)
        return {"momentum_below": mean, "momentum_above": mean}
    share = np.mean(momentum == np.float32(experiment.momentum_below), axis=1)
    return {"random_probability": tuple(round(float(p), 6) for p in share)}


def _refuse_others(experiment: Experiment, followed: records.Record, name: str) -> None:
    """Refuse a run of another network, data or schedule; a control by its mean alone has momenta of its own."""
    own = {"name", "phase", "follows", "random_probability", "delay", "nonfinite"}
    if experiment.phase == "none":
        own |= {"momentum_below", "momentum_above"}
    shared = {key: value for key, value in config_of(experiment).items() if key not in own}
    differ = differences(followed.config, shared)
    if differ:
        told = ", ".join(f"{key} ({old!r} there, {new!r} here)" for key, (old, new) in differ.items())
        raise ConfigError(
            f"{experiment.name} follows {name}, whose run with seed {followed.seed} had other settings: {told}. "
            "Run both with the same."
        )
