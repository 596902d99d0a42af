"""The optimizers by name, and the optimizer of an experiment.

An optimizer is a builder function and one entry, in `optax_optimizers.py` or `contrib_optimizers.py`. Its name goes
into the choices of `Experiment.optimizer`.
"""

import jax
import numpy as np
import optax

from train.experiments import Experiment
from train.recipe.contrib_optimizers import CONTRIB_OPTIMIZERS
from train.recipe.modes import MODES
from train.recipe.optax_optimizers import OPTAX_OPTIMIZERS
from train.recipe.optimizer_entry import OptimizerEntry, OptimizerSettings
from train.recipe.schedules import epochs_per_stage, learning_rate
from train.recipe.sgd import make_phase

# By `Experiment.optimizer`.
OPTIMIZERS: dict[str, OptimizerEntry] = OPTAX_OPTIMIZERS | CONTRIB_OPTIMIZERS


def make_optimizer(
    experiment: Experiment,
    steps_per_epoch: int,
    seed: jax.typing.ArrayLike = 0,
    stage: int = 0,
    momenta: jax.typing.ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Build the optimizer of an experiment.

    Args:
      experiment: The arm.
      steps_per_epoch: Optimizer steps per epoch, including the short last batch.
      seed: Seed of random draws. It enters the state that `init` makes; `update` does not use it.
      stage: Number of the stage, from 0; see `train.recipe.modes`.
      momenta: The momentum of every step, float32 [steps], for a control. It enters the state that `init` makes.

    Returns:
      The optimizer, limited to what the stage trains. Its `update` accepts the extra arguments `value`, `value_fn`,
      `grad_fn`, `labels` and `predictions`, and requires those that it uses.
    """
    mode = MODES[experiment.training]
    settings = OptimizerSettings(
        learning_rate=learning_rate(experiment, steps_per_epoch),
        initial_learning_rate=experiment.learning_rate,
        weight_decay=experiment.weight_decay,
        weight_decay_mask=mode.weight_decay_mask(experiment),
        momentum=experiment.momentum_below,
        momentum_above=experiment.momentum_above,
        phase=make_phase(experiment, steps_per_epoch, seed),
        momenta=_momenta(experiment, momenta),
        delay=experiment.delay,
        nesterov=experiment.nesterov,
        steps_per_epoch=steps_per_epoch,
        total_steps=epochs_per_stage(experiment) * steps_per_epoch,
        seed=seed,
    )
    optimizer = OPTIMIZERS[experiment.optimizer].build(settings)
    return mode.restrict(optax.with_extra_args_support(optimizer), stage)


def _momenta(experiment: Experiment, momenta: jax.typing.ArrayLike | None) -> jax.typing.ArrayLike | None:
    """Return the momenta for `OptimizerSettings`; None if the arm is not a control.

    A control without momenta gets an empty array. Only the optimizer's `update` may be called then.
    """
    if experiment.control == "none":
        return None
    return np.zeros(0, np.float32) if momenta is None else momenta
