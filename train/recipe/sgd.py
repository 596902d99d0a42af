"""SGD and its momentum: constant, or picked by the loss as in LCAM."""

import jax
import jax.numpy as jnp
import optax

import lcam_optax
from train.experiments import Experiment
from train.recipe.modes import MODES
from train.recipe.optimizer_entry import OptimizerSettings
from train.recipe.replay import replayed_momentum, scale_by_replayed_momentum


def sgd(settings: OptimizerSettings) -> optax.GradientTransformation:
    """Build SGD with coupled weight decay.

    With `settings.momenta`, it is SGD at the momenta of a control. With `settings.phase`, it is LCAM. Otherwise it is
    Optax's SGD at a constant momentum.
    """
    if settings.momenta is not None:
        return optax.chain(
            settings.coupled_weight_decay(),
            scale_by_replayed_momentum(settings.momenta),
            optax.scale_by_learning_rate(settings.learning_rate),
        )
    if settings.phase is None:
        tx = optax.sgd(settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov)
        return optax.chain(settings.coupled_weight_decay(), tx)
    return lcam_optax.lcam(
        settings.learning_rate,
        settings.phase,
        settings.momentum,
        settings.momentum_above,
        nesterov=settings.nesterov,
        delay=settings.delay,
        weight_decay=settings.weight_decay,
        weight_decay_mask=settings.weight_decay_mask,
    )


def make_phase(experiment: Experiment, steps_per_epoch: int, seed: jax.typing.ArrayLike = 0) -> lcam_optax.Phase | None:
    """Build the rule that picks the momentum of each step.

    Args:
      experiment: The arm.
      steps_per_epoch: Optimizer steps per epoch.
      seed: Seed of the phase `random`.

    Returns:
      The rule; None if the momentum is constant.
    """
    match experiment.phase:
        case "none":
            return None
        case "epoch_mean":
            return lcam_optax.epoch_mean(steps_per_epoch)
        case "ema":
            return lcam_optax.ema(experiment.ema_decay)
        case "window":
            return lcam_optax.window(experiment.window_size)
        case "random":
            probabilities = jnp.asarray(experiment.random_probability, jnp.float32)
            # With a single probability, the remainder is 0 in every epoch.
            return lcam_optax.random_phase(
                lambda step: probabilities[(step // steps_per_epoch) % len(probabilities)], seed
            )


def momentum_used(experiment: Experiment, before: optax.OptState, after: optax.OptState, stage: int = 0) -> jax.Array:
    """Return the momentum of the step that led from one optimizer state to the next; float32 scalar."""
    if experiment.control != "none":
        return replayed_momentum(before)
    if experiment.phase == "none":
        return jnp.float32(experiment.momentum_below)
    # With delay, the state before the step already contains the momentum of the step.
    opt_state = MODES[experiment.training].stage_state(before if experiment.delay else after, stage)
    return lcam_optax.read_phase(opt_state).momentum
