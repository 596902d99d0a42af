"""One training step: loss and gradient of a batch, the optimizer's update, and the metrics of both."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import lcam_optax
from train.data.augment import normalize
from train.engine.batches import AugmentedBatch
from train.engine.state import Setup, TrainState, key_for
from train.recipe.modes import MODES, Batch
from train.recipe.optimizers import OPTIMIZERS, make_optimizer
from train.recipe.sgd import momentum_used
from train.records import StepMetrics

# The label of padding, which is no class.
_NO_CLASS = np.int32(2**31 - 1)


def train_step(setup: Setup, stage: int, state: TrainState, batch: AugmentedBatch) -> tuple[TrainState, StepMetrics]:
    """Take one step of the optimizer.

    Args:
      setup: The setup of the run.
      stage: The stage of the training mode, see `train.recipe.modes`. It is static.
      state: The state before the step.
      batch: Augmented images, not yet normalised.

    Returns:
      The state after the step, and the metrics of the step, each with shape=().
    """
    experiment = setup.experiment
    loss_fn = functools.partial(batch_loss, setup, stage, state, batch)
    params = OPTIMIZERS[experiment.optimizer].gradient_params(state.params)
    (loss, (batch_stats, logits)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    # An optimizer that uses the loss must not count the loss of a skipped step.
    skips = experiment.nonfinite == "skip"
    value = jnp.where(all_finite((loss, grads)), loss, jnp.nan) if skips else loss
    # `init_state` put the seed into the optimizer state, where `update` reads it.
    optimizer = make_optimizer(experiment, setup.steps_per_epoch, stage=stage)
    updates, opt_state = optimizer.update(
        grads,
        state.opt_state,
        state.params,
        value=value,
        # For optimizers that also evaluate other parameters: the same batch; the new batch statistics are dropped.
        value_fn=lambda params: loss_fn(params)[0],
        grad_fn=lambda params: jax.grad(loss_fn, has_aux=True)(params)[0],
        labels=batch.labels if batch.mask is None else jnp.where(batch.mask, batch.labels, _NO_CLASS),
        predictions=None if logits is None else logits.argmax(-1),
    )
    below, observed = lcam_optax.epoch_mean(setup.steps_per_epoch).update(value, state.observed)
    momentum = momentum_used(experiment, state.opt_state, opt_state, stage)
    new_params = optax.apply_updates(state.params, updates)
    if skips:
        new = (new_params, batch_stats, opt_state)
        taken = all_finite((value, new))
        # Keep the old floats of network and optimizer. Counters advance, because a step was made. If only the new
        # state is not finite, this also counts a loss that the mean does not contain.
        old = (state.params, state.batch_stats, state.opt_state)
        new_params, batch_stats, opt_state = _floats_where(taken, new, old)
        loss = jnp.where(taken, loss, jnp.nan)
    new_state = TrainState(
        params=new_params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        observed=observed,
        step=state.step + 1,
        seed=state.seed,
    )
    return new_state, StepMetrics(loss, momentum, below)


def _floats_where(condition: jax.Array, new: Any, old: Any) -> Any:
    """Select the new floats if a condition holds, otherwise the old ones. Integers are always the new ones."""
    return jax.tree.map(
        lambda new, old: new if jnp.issubdtype(new.dtype, jnp.integer) else jnp.where(condition, new, old), new, old
    )


def batch_loss(
    setup: Setup, stage: int, state: TrainState, batch: AugmentedBatch, params: nnx.State
) -> tuple[jax.Array, tuple[nnx.State, jax.Array | None]]:
    """Compute the loss of the real rows, the new batch statistics, and the logits of all rows."""
    # An NNX module can change only at the trace level where it was made, so merge it inside the gradient.
    model: Any = nnx.merge(setup.graphdef, params, state.batch_stats, copy=True)
    model.train()
    key = jax.random.fold_in(key_for(state.seed, "dropout"), state.step) if setup.experiment.dropout else None
    inputs = normalize(batch.images, setup.experiment.mean, setup.experiment.std)
    loss, logits = MODES[setup.experiment.training].loss(
        setup.experiment, model, Batch(inputs, batch.labels, batch.mask, key), stage
    )
    return loss, (nnx.state(model, nnx.BatchStat), logits)


def all_finite(tree: Any) -> jax.Array:
    """Whether all floats of a tree are finite; shape=(), bool."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.isfinite(leaf).all() for leaf in floats])
