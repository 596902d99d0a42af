"""The optimizer of an experiment, and the momentum that it used."""

import jax
import jax.numpy as jnp
import optax

import lcam_optax
from train.experiments import Experiment
from train.schedules import learning_rate


def make_optimizer(
    experiment: Experiment, steps_per_epoch: int, seed: jax.typing.ArrayLike = 0
) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of an experiment.

    Args:
      experiment: The arm.
      steps_per_epoch: Optimizer steps in an epoch, the short last batch included.
      seed: Enters the state that `init` makes, for the phase that draws; `update` does not look at it.

    Returns:
      SGD from Optax itself where there is no phase, else LCAM; coupled weight decay in both.
    """
    rate = learning_rate(experiment, steps_per_epoch)
    if experiment.phase == "none":
        sgd = optax.sgd(rate, momentum=experiment.momentum_below, nesterov=experiment.nesterov)
        return optax.chain(optax.add_decayed_weights(experiment.weight_decay), sgd)
    return lcam_optax.lcam(
        rate,
        _phase(experiment, steps_per_epoch, seed),
        experiment.momentum_below,
        experiment.momentum_above,
        nesterov=experiment.nesterov,
        delay=experiment.delay,
        weight_decay=experiment.weight_decay,
    )


def momentum_used(experiment: Experiment, before: optax.OptState, after: optax.OptState) -> jax.Array:
    """The float32 momentum of the step that led from one optimizer state to the next."""
    if experiment.phase == "none":
        return jnp.float32(experiment.momentum_below)
    return lcam_optax.phase(before if experiment.delay else after).momentum


def _phase(experiment: Experiment, steps_per_epoch: int, seed: jax.typing.ArrayLike) -> lcam_optax.Phase:
    match experiment.phase:
        case "ema":
            return lcam_optax.ema(experiment.ema_decay)
        case "window":
            return lcam_optax.window(experiment.window_size)
        case "random":
            chances = jnp.asarray(experiment.random_probability, jnp.float32)
            # One number serves all epochs.
            return lcam_optax.random_phase(lambda step: chances[(step // steps_per_epoch) % len(chances)], seed)
        case _:
            return lcam_optax.epoch_mean(steps_per_epoch)
