"""Learning rates over the steps of a run, for any number of epochs.

`step` and `smooth` are those of the authors' scripts, which train for 150 epochs of 391 steps. In a schedule of `E`
epochs, every change at their epoch `b` comes at epoch `round(b E / 150)`. The smooth decay ends at the same value. With
`step`, the first epoch always has the initial learning rate.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from train.experiments import Experiment
from train.recipe.modes import MODES
from train.records.stages import STEP_FACTOR, stage_rates

_AUTHORS_EPOCHS = 150
_STEP_DROP_EPOCHS = (31, 61, 91)  # counted from 0; the rate falls to a fifth at the start of each
_SMOOTH_START_EPOCH = 31  # the rate is constant before this epoch
_SMOOTH_DECAY_PER_STEP = 0.99985
_SMOOTH_DECAY_STEPS = 46_529  # (150 - 31) * 391


def learning_rate(experiment: Experiment, steps_per_epoch: int) -> optax.Schedule:
    """Build the learning rate schedule of an experiment.

    `step`: 0.1, 0.02, 0.004, 0.0008 from epochs 0, 31, 61, 91 (times `learning_rate` / 0.1). `smooth`: constant for 31
    epochs, then multiplied by 0.99985 before every step. `cosine`: half a period from `learning_rate` to 0, without
    restarts. `constant`: `learning_rate` in every step. Each stage of a run (see `train.recipe.modes`) restarts the
    schedule.

    Args:
      experiment: Provides `schedule`, `learning_rate`, `epochs` and `training`.
      steps_per_epoch: Optimizer steps per epoch.

    Returns:
      A function from the step, an int32 scalar counted from 0, to the float32 learning rate of that step.
    """
    epochs = epochs_per_stage(experiment)
    schedule = _SCHEDULES[experiment.schedule](experiment.learning_rate, epochs, steps_per_epoch)
    if MODES[experiment.training].num_stages == 1:
        return schedule
    return lambda step: schedule(step % (epochs * steps_per_epoch))


def epochs_per_stage(experiment: Experiment) -> int:
    """Return how many epochs one schedule spans: the whole run, or one stage of it."""
    return experiment.epochs // MODES[experiment.training].num_stages


def lost_rates(experiment: Experiment) -> tuple[float, ...]:
    """Return the learning rates of the schedule `step` that no epoch of an experiment has.

    The rate drops only at the start of an epoch. With fewer than 5 epochs, several drops come at the same epoch, so no
    epoch has the rates between them. Other schedules lose nothing.
    """
    if experiment.schedule != "step":
        return ()
    epochs = epochs_per_stage(experiment)
    ends = [*(min(drop, epochs) for drop in _drop_epochs(epochs)), epochs]
    starts = [0, *ends[:-1]]
    rates = zip(stage_rates(experiment.learning_rate), starts, ends, strict=True)
    return tuple(rate for rate, start, end in rates if start == end)


def _step(initial: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    drops = [epoch * steps_per_epoch for epoch in _drop_epochs(epochs)]
    return lambda step: initial * STEP_FACTOR ** sum((step >= drop).astype(jnp.float32) for drop in drops)


def _drop_epochs(epochs: int) -> list[int]:
    # The first drop never comes at step 0, so even the shortest run begins at the initial rate.
    return [max(_scaled(epoch, epochs), 1) for epoch in _STEP_DROP_EPOCHS]


def _smooth(initial: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    start = _scaled(_SMOOTH_START_EPOCH, epochs) * steps_per_epoch
    # A float32 power of 0.99985 would be off by 0.1 % at the end; the logarithm is exact enough.
    log_factor = math.log(_SMOOTH_DECAY_PER_STEP) * _SMOOTH_DECAY_STEPS / max(epochs * steps_per_epoch - start, 1)

    def schedule(step: jax.Array) -> jax.Array:
        return initial * jnp.exp(log_factor * jnp.maximum(step - start + 1, 0).astype(jnp.float32))

    return schedule


def _cosine(initial: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    schedule = optax.cosine_decay_schedule(initial, epochs * steps_per_epoch)
    return lambda step: schedule(step.astype(jnp.float32))


def _constant(initial: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    del epochs, steps_per_epoch
    return lambda step: jnp.full_like(step, initial, dtype=jnp.float32)


# By `Experiment.schedule`: (initial learning rate, epochs, steps per epoch) -> schedule.
_SCHEDULES: dict[str, Callable[[float, int, int], optax.Schedule]] = {
    "step": _step,
    "smooth": _smooth,
    "cosine": _cosine,
    "constant": _constant,
}


def _scaled(epoch: int, epochs: int) -> int:
    """Move an epoch of the authors' 150 to the same share of `epochs`."""
    return round(epoch * epochs / _AUTHORS_EPOCHS)
