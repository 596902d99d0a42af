"""The programs of a run: a slice of an epoch as one scan, and the evaluation. `jit_over_seeds` jits them.

A slice takes the state, which is donated, and the data. Both are already on the device. The slice returns the new state
and the metrics of each step. Nothing is transferred to the host in between.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from models import BATCH_NORM_MOMENTUM
from train.data.augment import CropsAndFlips, normalize
from train.engine.batches import (
    AugmentedBatch,
    Images,
    augment,
    draw_step_crops_and_flips,
    epoch_order,
    next_rows,
    take,
)
from train.engine.devices import SEED, Mesh, by_seed, on_each_row, padded_size
from train.engine.state import Setup, TrainState
from train.engine.step import batch_loss, train_step
from train.recipe.modes import MODES
from train.recipe.optimizers import OPTIMIZERS


class Evaluation(NamedTuple):
    """Sums over a whole split; shape=() or [seeds]."""

    wrong: jax.Array | np.ndarray  # int32, number of misclassified images
    loss: jax.Array | np.ndarray  # float32, sum of the cross-entropies in nats


def slice_program(
    setup: Setup, mesh: Mesh, steps: int, batch: int, *, stage: int = 0, streamed: bool = False
) -> Callable:
    """Make the function (state, data, order) -> (state, StepMetrics) that takes the next steps on `batch` images each.

    `data` is the whole training set. `order` is the permutation of the epoch from `epoch_order`. Without it, the
    program computes the permutation. If `streamed`, `data` contains the images of each step, [steps, padded, ...],
    where `padded` comes from `train.engine.devices.padded_size`. `stage` is a number from 0, see
    `train.recipe.modes`.
    """
    return _over_batches(setup, mesh, steps, batch, streamed, functools.partial(train_step, setup, stage))


def calibration_program(setup: Setup, mesh: Mesh, steps: int, batch: int, *, streamed: bool = False) -> Callable:
    """Make the function (state, data, order) -> batch statistics of the parameters to evaluate.

    Optimizers that take gradients at other parameters than the evaluated ones need these statistics, see
    `OptimizerEntry.recomputes_batch_stats`. The function computes running statistics over `steps` batches from the
    state's step on. It does not use the statistics in the state.
    """

    def step(state: TrainState, own: AugmentedBatch) -> tuple[TrainState, None]:
        params = OPTIMIZERS[setup.experiment.optimizer].evaluation_params(state.params, state.opt_state)
        batch_stats = batch_loss(setup, 0, state, own, params)[1][0]
        return state._replace(batch_stats=batch_stats, step=state.step + 1), None

    def run(state: TrainState, data: Images, order: jax.Array | None = None) -> nnx.State:
        blank = state._replace(batch_stats=jax.tree.map(jnp.zeros_like, state.batch_stats))
        ended, _ = _over_batches(setup, mesh, steps, batch, streamed, step)(blank, data, order)
        # Correct for the zeros that the running mean started with.
        return jax.tree.map(lambda x: x / (1 - BATCH_NORM_MOMENTUM**steps), ended.batch_stats)

    return run


def _over_batches(setup: Setup, mesh: Mesh, steps: int, batch: int, streamed: bool, step: Callable) -> Callable:
    """Make the scan of a step (state, AugmentedBatch) -> (state, output) over the state's next batches."""
    padded = padded_size(batch, mesh)

    def run(state: TrainState, data: Images, order: jax.Array | None = None) -> tuple[TrainState, Any]:
        if order is None:
            order = epoch_order(setup, state.seed, state.step // setup.steps_per_epoch)
        rows = data if streamed else next_rows(setup, state, order, steps, batch, padded)
        # Drawn for all steps at once. In the loop these would be a hundred kernels of a few numbers each.
        drawn = jax.vmap(lambda at: draw_step_crops_and_flips(setup, state.seed, at, padded))(
            state.step + jnp.arange(steps)
        )

        def on_batch(state: TrainState, own: tuple[Any, CropsAndFlips]) -> tuple[TrainState, Any]:
            images = own[0] if streamed else take(mesh, data, own[0])
            return step(state, augment(setup, images, own[1], batch))

        return jax.lax.scan(on_batch, state, (rows, drawn), length=steps)

    return run


def evaluation_program(setup: Setup, mesh: Mesh, batch: int, *, stage: int = 0) -> Callable:
    """Make the function (state, data) -> Evaluation over a whole split. Every image counts once."""

    def run(state: TrainState, data: Images) -> Evaluation:
        params = OPTIMIZERS[setup.experiment.optimizer].evaluation_params(state.params, state.opt_state)
        model: Any = nnx.merge(setup.graphdef, params, state.batch_stats, copy=True)
        model.eval()
        size = len(data.labels)

        def step(total: Evaluation, start: jax.Array) -> tuple[Evaluation, None]:
            index = start + jnp.arange(batch)
            counted = index < size
            # Rows after the end repeat the last image and do not count.
            images, labels = take(mesh, data, jnp.minimum(index, size - 1))
            inputs = jnp.asarray(images).reshape(batch, *setup.image_shape)
            inputs = normalize(inputs, setup.experiment.mean, setup.experiment.std)
            logits = MODES[setup.experiment.training].predict(model, inputs, stage)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return Evaluation(
                total.wrong + jnp.sum(counted & (logits.argmax(-1) != labels), dtype=jnp.int32),
                total.loss + jnp.sum(jnp.where(counted, losses, 0)),
            ), None

        zero = Evaluation(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))
        return jax.lax.scan(step, zero, jnp.arange(0, size, batch))[0]

    return run


def jit_over_seeds(program: Callable, mesh: Mesh, seeds: int, *, donate: bool) -> Callable:
    """Jit a program over (state, data, ...) for several seeds.

    Args:
      program: For one seed.
      mesh: The seeds are spread over its rows. Several seeds on a row are vmapped.
      seeds: Number of seeds, a multiple of the rows.
      donate: Whether the state is donated.

    Returns:
      The jitted program. All its arguments and results except the data have a leading axis of seeds.
    """
    here = seeds // mesh.shape[SEED]

    def over_seeds(state: TrainState, data: Images, *others: Any) -> Any:
        if here == 1:
            # A single network needs no vmap, which would batch the kernels of its convolutions too.
            state, others = jax.tree.map(lambda x: x[0], (state, others))
            return jax.tree.map(lambda x: x[None], program(state, data, *others))
        return jax.vmap(program, in_axes=(0, None, *(0 for _ in others)))(state, data, *others)

    def on_mesh(state: TrainState, data: Images, *others: Any) -> Any:
        shared = (False, True, *(False for _ in others))
        return on_each_row(over_seeds, mesh, shared)(state, data, *others)

    return jax.jit(on_mesh, donate_argnums=(0,) if donate else (), out_shardings=by_seed(mesh))
