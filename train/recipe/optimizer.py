"""The optimizer of an experiment, the momentum that it used, and the parameters that it trains and is judged by."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import lcam_optax
from models import is_slope
from train.experiments import Experiment
from train.recipe import modes as objective
from train.recipe import optimizers as alternatives
from train.recipe.schedules import epochs_in_schedule, learning_rate


def make_optimizer(
    experiment: Experiment, steps_per_epoch: int, seed: jax.typing.ArrayLike = 0, stage: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of an experiment.

    Args:
      experiment: The arm.
      steps_per_epoch: Optimizer steps in an epoch, the short last batch included.
      seed: Enters the state that `init` makes, for what is drawn; `update` does not look at it.
      stage: See `train.recipe.modes.stage_of`.

    Returns:
      SGD from Optax itself where there is no phase, else LCAM; or the alternative that the experiment names. Its
      `update` takes the extra arguments `value`, `value_fn`, `grad_fn`, `labels` and `predictions`, whichever it needs.
    """
    settings = alternatives.Settings(
        rate=learning_rate(experiment, steps_per_epoch),
        peak=experiment.learning_rate,
        weight_decay=experiment.weight_decay,
        decayed=_decayed(experiment),
        momentum=experiment.momentum_below,
        steps_per_epoch=steps_per_epoch,
        total_steps=epochs_in_schedule(experiment) * steps_per_epoch,
        seed=seed,
    )
    if experiment.optimizer != "sgd":
        optimizer = alternatives.BUILDERS[experiment.optimizer](settings)
    elif experiment.phase == "none":
        optimizer = alternatives.sgd(settings, nesterov=experiment.nesterov)
    else:
        optimizer = _lcam(experiment, settings)
    return objective.restrict(optax.with_extra_args_support(optimizer), experiment, stage)


def momentum_used(experiment: Experiment, before: optax.OptState, after: optax.OptState, stage: int = 0) -> jax.Array:
    """The float32 momentum of the step that led from one optimizer state to the next."""
    if experiment.phase == "none":
        return jnp.float32(experiment.momentum_below)
    return lcam_optax.read_phase(objective.acting(experiment, before if experiment.delay else after, stage)).momentum


def evaluates_elsewhere(experiment: Experiment) -> bool:
    """Whether a run is judged by other parameters than those that it takes gradients at."""
    return experiment.optimizer in ("lookahead", "schedule-free")


def initial_params(experiment: Experiment, params: Any) -> Any:
    """The parameters of a run before the first step, in the form that its optimizer wants."""
    return optax.LookaheadParams.init_synced(params) if experiment.optimizer == "lookahead" else params


def gradient_params(experiment: Experiment, params: Any) -> Any:
    """The network's parameters that gradients are taken at."""
    return params.fast if experiment.optimizer == "lookahead" else params


def evaluation_params(experiment: Experiment, params: Any, opt_state: optax.OptState) -> Any:
    """The network's parameters that a run is judged by."""
    if experiment.optimizer == "lookahead":
        return params.slow
    if experiment.optimizer == "schedule-free":
        return optax.contrib.schedule_free_eval_params(opt_state, params)
    return params


def _decayed(experiment: Experiment) -> Callable[[optax.Params], Any] | None:
    """What tells which parameters decay; None where all do."""
    if experiment.training == "associated":
        # As its authors do: neither autoencoders nor bridges, which alone are dense, nor batch norms.
        return lambda params: jax.tree.map(lambda x: x.ndim == 4, params)
    if experiment.activation != "relu":
        return lambda params: jax.tree.map(lambda slope: not slope, is_slope(params))
    return None


def _lcam(experiment: Experiment, settings: alternatives.Settings) -> optax.GradientTransformationExtraArgs:
    return lcam_optax.lcam(
        settings.rate,
        _phase(experiment, settings.steps_per_epoch, settings.seed),
        experiment.momentum_below,
        experiment.momentum_above,
        nesterov=experiment.nesterov,
        delay=experiment.delay,
        weight_decay=settings.weight_decay,
        weight_decay_mask=settings.decayed,
    )


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
