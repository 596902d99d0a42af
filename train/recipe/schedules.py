"""Learning rates over the steps of a run, as in the authors' scripts, stretched to any number of epochs.

The authors train for 150 epochs of 391 steps. With `E` epochs every boundary `b` lies at `round(b E / 150)`, and the
smooth decay has the same value at the end. The first epoch, though, always has the rate that was asked for.
"""

import math

import jax
import jax.numpy as jnp
import optax

from train.experiments import Experiment
from train.recipe.modes import num_stages

_AUTHORS_EPOCHS = 150
_DROPS = (31, 61, 91)  # epochs, counted from 0, at whose start the rate falls to a fifth
_HELD = 31  # epochs before the smooth decay
_SMOOTH_FACTOR = 0.99985
_SMOOTH_STEPS = 46_529  # (150 - 31) * 391


def learning_rate(experiment: Experiment, steps_per_epoch: int) -> optax.Schedule:
    """Build the schedule of an experiment.

    `step`: 0.1, 0.02, 0.004, 0.0008 from epochs 0, 31, 61, 91 (times `learning_rate` / 0.1). `smooth`: held for 31
    epochs, then multiplied by 0.99985 before every step. `cosine`: half a period from `learning_rate` to 0, without
    restarts. `constant`: as it says. Each stage of a run (see `train.recipe.modes`) has the schedule anew.

    Args:
      experiment: Its `schedule`, `learning_rate` and `epochs` count.
      steps_per_epoch: Optimizer steps in an epoch.

    Returns:
      A function from the step, an int32 scalar counted from 0, to the float32 learning rate of that step.
    """
    schedule, steps = _schedule(experiment, steps_per_epoch), epochs_in_schedule(experiment) * steps_per_epoch
    return schedule if num_stages(experiment) == 1 else lambda step: schedule(step % steps)


def epochs_in_schedule(experiment: Experiment) -> int:
    """Epochs of a run that one schedule spans: all, or those of a stage."""
    return experiment.epochs // num_stages(experiment)


def _schedule(experiment: Experiment, steps_per_epoch: int) -> optax.Schedule:
    rate, epochs = experiment.learning_rate, epochs_in_schedule(experiment)
    if experiment.schedule == "step":
        # Short as a run may be, it begins at the rate that was asked for.
        drops = [max(_stretched(epoch, epochs), 1) * steps_per_epoch for epoch in _DROPS]
        return lambda step: rate * 0.2 ** sum((step >= drop).astype(jnp.float32) for drop in drops)
    if experiment.schedule == "smooth":
        held = _stretched(_HELD, epochs) * steps_per_epoch
        # A float32 power of 0.99985 would be off by 0.1 % at the end; the logarithm is exact enough.
        log_factor = math.log(_SMOOTH_FACTOR) * _SMOOTH_STEPS / max(epochs * steps_per_epoch - held, 1)

        def smooth(step: jax.Array) -> jax.Array:
            return rate * jnp.exp(log_factor * jnp.maximum(step - held + 1, 0).astype(jnp.float32))

        return smooth
    if experiment.schedule == "cosine":
        cosine = optax.cosine_decay_schedule(rate, epochs * steps_per_epoch)
        return lambda step: cosine(step.astype(jnp.float32))
    return lambda step: jnp.full_like(step, rate, dtype=jnp.float32)


def _stretched(epoch: int, epochs: int) -> int:
    return round(epoch * epochs / _AUTHORS_EPOCHS)
