"""The registry entry of an optimizer, and the settings from which it is built."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

import lcam_optax
from train.recipe.modes import WeightDecayMask


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The settings of an experiment, as an optimizer needs them.

    Attributes:
      learning_rate: Learning rate of each step.
      initial_learning_rate: Learning rate at the start of the schedule.
      weight_decay: Coefficient.
      weight_decay_mask: Marks the parameters to decay. None if all decay.
      momentum: In [0, 1). With a phase, the momentum after a loss below the mean.
      momentum_above: In [0, 1). With a phase, the momentum after a loss at or above the mean.
      phase: The rule that picks one of the two momenta. None if every step takes `momentum`.
      momenta: The momentum of every step, float32 [steps], for a control. None for other arms. Only the optimizer's
        `init` may read it.
      delay: Whether a loss picks the momentum of the next step.
      nesterov: Whether to use Nesterov momentum.
      steps_per_epoch: Optimizer steps per epoch.
      total_steps: Optimizer steps of the run, or of one stage of it.
      seed: Seed of random draws. Only the optimizer's `init` may read it.
    """

    learning_rate: optax.Schedule
    initial_learning_rate: float
    weight_decay: float
    weight_decay_mask: WeightDecayMask | None
    momentum: float
    momentum_above: float
    phase: lcam_optax.Phase | None
    momenta: jax.typing.ArrayLike | None = None
    delay: bool
    nesterov: bool
    steps_per_epoch: int
    total_steps: int
    seed: jax.typing.ArrayLike

    def coupled_weight_decay(self) -> optax.GradientTransformation:
        """Make the transformation that adds the weight decay to the gradient.

        At the start of a chain, it acts as an L2 term of the loss.
        """
        return optax.add_decayed_weights(self.weight_decay, self.weight_decay_mask)


def _network_params(params: Any) -> Any:
    return params


def _training_params(params: Any, opt_state: optax.OptState) -> Any:
    del opt_state
    return params


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerEntry:
    """An optimizer, and which parameters it trains and evaluates.

    Most optimizers take gradients at the network's parameters and are evaluated there. Those need `build` only.

    Attributes:
      build: Makes the optimizer. Its `update` turns gradients of the network's parameters into updates of the trained
        parameters. It receives the extra arguments `value`, `value_fn`, `grad_fn`, `labels` and `predictions`, and may
        ignore any of them.
      initial_params: Makes the trained parameters from the network's initial ones.
      gradient_params: Returns the network's parameters to take gradients at, from the trained parameters.
      evaluation_params: Returns the network's parameters to evaluate, from the trained parameters and the optimizer
        state.
      recomputes_batch_stats: Whether to recompute the batch statistics before an evaluation. Needed if
        `evaluation_params` and `gradient_params` differ, because training only sees the statistics at
        `gradient_params`.
    """

    build: Callable[[OptimizerSettings], optax.GradientTransformation]
    initial_params: Callable[[Any], Any] = _network_params
    gradient_params: Callable[[Any], Any] = _network_params
    evaluation_params: Callable[[Any, optax.OptState], Any] = _training_params
    recomputes_batch_stats: bool = False
