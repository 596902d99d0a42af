"""The programs of a run: a slice of an epoch as one jitted, donated scan, and the evaluation.

A program takes the state and the data, both on the device already, and hands back the state and what each step saw.
Nothing goes to the host in between.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

import lcam_optax
from models import BATCH_NORM_MOMENTUM
from train.data.augment import crop_and_flip, normalize
from train.engine import devices as meshes
from train.engine.state import Setup, TrainState, stream
from train.recipe import modes as objective
from train.recipe.optimizer import evaluation_params, gradient_params, make_optimizer, momentum_used

# The label of a row of padding: past all classes.
_NO_CLASS = np.int32(2**31 - 1)

Array = jax.Array | np.ndarray  # on the device, or read from it


class Images(NamedTuple):
    """One split of a data set on the device."""

    images: Array  # [N, H, W, C], uint8
    labels: Array  # [N], int32


class StepMetrics(NamedTuple):
    """What each step saw; [steps], or [seeds, steps]."""

    # float32, of the batch: the mean cross-entropy in nats, or what else the run minimises; nan where it was skipped
    loss: Array
    momentum: Array  # float32, the momentum that the step used
    below: Array  # bool, whether the loss fell below the mean of its epoch so far


class Evaluation(NamedTuple):
    """Sums over a whole split; shape=() or [seeds]."""

    wrong: Array  # int32, images whose class was not found
    loss: Array  # float32, sum of the cross-entropies in nats


def slice_program(
    setup: Setup, mesh: Mesh, steps: int, batch: int, *, stage: int = 0, streamed: bool = False
) -> Callable:
    """Make the function (state, data) -> (state, StepMetrics) that takes the next `steps` steps of `batch` images.

    `data` is the whole training set; or, streamed, the images of each step, [steps, padded, ...] with `padded` from
    `train.engine.devices.padded_size`. `stage` is that of `train.recipe.modes`.
    """

    def step(state: TrainState, images: jax.Array, labels: jax.Array, mask: jax.Array | None) -> Any:
        return _train_step(setup, stage, state, images, labels, mask)

    return _over_batches(setup, mesh, steps, batch, streamed, step)


def calibration_program(setup: Setup, mesh: Mesh, steps: int, batch: int, *, streamed: bool = False) -> Callable:
    """Make the function (state, data) -> batch statistics of the parameters that a run is judged by.

    For optimizers that take gradients at other parameters (`train.recipe.optimizer.evaluates_elsewhere`). These are
    running statistics over the `steps` batches from the state's step on, with no trace of those in the state.
    """

    def step(state: TrainState, images: jax.Array, labels: jax.Array, mask: jax.Array | None) -> Any:
        params = evaluation_params(setup.experiment, state.params, state.opt_state)
        batch_stats = _loss(setup, 0, state, images, labels, mask, params)[1][0]
        return state._replace(batch_stats=batch_stats, step=state.step + 1), None

    def run(state: TrainState, data: Images) -> nnx.State:
        blank = state._replace(batch_stats=jax.tree.map(jnp.zeros_like, state.batch_stats))
        ended, _ = _over_batches(setup, mesh, steps, batch, streamed, step)(blank, data)
        # A running mean that began at zero lacks the weight of what came before.
        return jax.tree.map(lambda x: x / (1 - BATCH_NORM_MOMENTUM**steps), ended.batch_stats)

    return run


def _over_batches(setup: Setup, mesh: Mesh, steps: int, batch: int, streamed: bool, step: Callable) -> Callable:
    """Make the scan of a step (state, images, labels, mask) -> (state, seen) over the state's next batches."""

    def run(state: TrainState, data: Images) -> tuple[TrainState, Any]:
        order = epoch_order(setup, state.seed, state.step // setup.steps_per_epoch)

        def on_batch(state: TrainState, own: Images) -> tuple[TrainState, Any]:
            images, labels = own if streamed else _gather(setup, mesh, state, data, order, batch)
            images, mask = _augment(setup, mesh, state, jnp.asarray(images), batch)
            return step(state, images, jnp.asarray(labels), mask)

        return jax.lax.scan(on_batch, state, data if streamed else None, length=steps)

    return run


def evaluation_program(setup: Setup, mesh: Mesh, batch: int, *, stage: int = 0) -> Callable:
    """Make the function (state, data) -> Evaluation over a whole split, every image counted once."""

    def run(state: TrainState, data: Images) -> Evaluation:
        params = evaluation_params(setup.experiment, state.params, state.opt_state)
        model: Any = nnx.merge(setup.graphdef, params, state.batch_stats, copy=True)
        model.eval()
        size = len(data.labels)

        def step(total: Evaluation, start: jax.Array) -> tuple[Evaluation, None]:
            index = start + jnp.arange(batch)
            counted = index < size
            # The rows after the end repeat the last image and are not counted.
            images, labels = _take(mesh, data, jnp.minimum(index, size - 1))
            inputs = normalize(images, setup.experiment.mean, setup.experiment.std)
            logits = objective.predict(setup.experiment, model, inputs, stage)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return Evaluation(
                total.wrong + jnp.sum(counted & (logits.argmax(-1) != labels), dtype=jnp.int32),
                total.loss + jnp.sum(jnp.where(counted, losses, 0)),
            ), None

        zero = Evaluation(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))
        return jax.lax.scan(step, zero, jnp.arange(0, size, batch))[0]

    return run


def compiled(program: Callable, mesh: Mesh, seeds: int, *, donate: bool) -> Callable:
    """Jit a program over (state, data) for a state with a leading axis of seeds, replicated over the mesh."""
    if seeds == 1:
        # A single network is spared the vmap, whose convolutions take both sides batched.
        def over_seeds(state: TrainState, data: Images) -> object:
            return jax.tree.map(lambda x: x[None], program(jax.tree.map(lambda x: x[0], state), data))
    else:
        over_seeds = jax.vmap(program, in_axes=(0, None))

    def on_mesh(state: TrainState, data: Images) -> object:
        # The convolutions have to know whether the batch is split.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return over_seeds(state, data)

    return jax.jit(on_mesh, donate_argnums=(0,) if donate else (), out_shardings=meshes.replicated(mesh))


def all_finite(tree: Any) -> jax.Array:
    """Whether all floats of a tree are finite; shape=(), bool."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.isfinite(leaf).all() for leaf in floats])


def epoch_order(setup: Setup, seed: jax.Array, epoch: jax.Array) -> jax.Array:
    """The permutation of the training set in one epoch; [N], int32."""
    return jax.random.permutation(jax.random.fold_in(stream(seed, "order"), epoch), setup.train_size)


def _gather(setup: Setup, mesh: Mesh, state: TrainState, data: Images, order: jax.Array, batch: int) -> Images:
    """The batch of the next step, padded to divide evenly over the devices."""
    first = state.step % setup.steps_per_epoch * setup.experiment.batch_size
    index = jax.lax.dynamic_slice(order, (first,), (batch,))
    return Images(*_take(mesh, data, jnp.pad(index, (0, meshes.padded_size(batch, mesh) - batch))))


def _take(mesh: Mesh, data: Images, index: jax.Array) -> tuple[jax.Array, jax.Array]:
    index = jax.lax.with_sharding_constraint(index, meshes.split_batch(mesh))
    return data.images[index], data.labels[index]


def _augment(
    setup: Setup, mesh: Mesh, state: TrainState, images: jax.Array, batch: int
) -> tuple[jax.Array, jax.Array | None]:
    """Augment the padded batch of the next step, uint8 [padded, H, W, C].

    Returns:
      As many images, and the mask of the real rows, None if all are.
    """
    padded = meshes.padded_size(batch, mesh)
    key = jax.random.fold_in(stream(state.seed, "augment"), state.step)
    images = crop_and_flip(key, images, setup.experiment.crop_padding, setup.experiment.flip)
    return images, None if padded == batch else jnp.arange(padded) < batch


def _train_step(
    setup: Setup, stage: int, state: TrainState, images: jax.Array, labels: jax.Array, mask: jax.Array | None
) -> tuple[TrainState, StepMetrics]:
    """One step of the optimizer, from augmented uint8 images."""
    experiment = setup.experiment
    loss_fn = functools.partial(_loss, setup, stage, state, images, labels, mask)
    params = gradient_params(experiment, state.params)
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
        labels=labels if mask is None else jnp.where(mask, labels, _NO_CLASS),
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


def _loss(
    setup: Setup,
    stage: int,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None,
    params: nnx.State,
) -> tuple[jax.Array, tuple[nnx.State, jax.Array | None]]:
    """The loss of the real rows, the new batch statistics, and the logits of all rows."""
    # NNX modules may be changed only at the trace level they were made at: merged inside the gradient.
    model: Any = nnx.merge(setup.graphdef, params, state.batch_stats, copy=True)
    model.train()
    key = jax.random.fold_in(stream(state.seed, "dropout"), state.step) if setup.experiment.dropout else None
    inputs = normalize(images, setup.experiment.mean, setup.experiment.std)
    loss, logits = objective.loss(setup.experiment, model, inputs, labels, mask, key, stage)
    return loss, (nnx.state(model, nnx.BatchStat), logits)
