"""One training step: loss and gradient of a batch, the optimizer's update, and what is measured of it."""

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

# The label of a row of padding: past all classes.
_NO_CLASS = np.int32(2**31 - 1)


def train_step(setup: Setup, stage: int, state: TrainState, batch: AugmentedBatch) -> tuple[TrainState, StepMetrics]:
    """Take one step of the optimizer.

    Args:
      setup: The run.
      stage: The stage of the training mode, see `train.recipe.modes`; static.
      state: Before the step.
      batch: Augmented images; they are normalised here.

    Returns:
      The state after the step, and its metrics; shape=().
    """
    experiment = setup.experiment
    loss_fn = functools.partial(batch_loss, setup, stage, state, batch)
    params = OPTIMIZERS[experiment.optimizer].gradient_params(state.params)
    (loss, (batch_stats, logits)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    # An optimizer that looks at the loss must not count one whose step is skipped.
    skips = experiment.nonfinite == "skip"
    value = jnp.where(all_finite((loss, grads)), loss, jnp.nan) if skips else loss
    # The seed entered the optimizer state in `init_state`; `update` reads it there.
    optimizer = make_optimizer(experiment, setup.steps_per_epoch, stage=stage)
    updates, opt_state = optimizer.update(
        grads,
        state.opt_state,
        state.params,
        value=value,
        # For those that look at other parameters too: the same batch, and batch statistics that nobody keeps.
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
        # Of the network and the optimizer; only counters go on, for a step was made.
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
    """The new floats where a condition holds, else the old ones; the new integers in any case."""
    return jax.tree.map(
        lambda new, old: new if jnp.issubdtype(new.dtype, jnp.integer) else jnp.where(condition, new, old), new, old
    )


def batch_loss(
    setup: Setup, stage: int, state: TrainState, batch: AugmentedBatch, params: nnx.State
) -> tuple[jax.Array, tuple[nnx.State, jax.Array | None]]:
    """The loss of the real rows, the new batch statistics, and the logits of all rows."""
    # NNX modules may be changed only at the trace level they were made at: merged inside the gradient.
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
