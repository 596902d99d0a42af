"""The two programs that train many seeds at once: LCAM, and SGD with a given momentum for each step."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import lcam_optax
from lcam_optax import read_phase
from train.studies.perceptrons.task import Digits, Draws, Task, logits

# (gradients, optimizer state, parameters, loss, input of the step) -> (updates, optimizer state, momentum used)
_Update = Callable[[Any, Any, Any, jax.Array, Any], tuple[Any, Any, jax.Array]]


class Trained(NamedTuple):
    """The results of some runs."""

    wrong: jax.Array  # [seeds], int32: test images that are classified wrongly after the last epoch
    finite: jax.Array  # [seeds], bool: whether all parameters are finite then
    momentum: jax.Array  # [seeds, steps], float32: the momentum that each step used


@functools.partial(jax.jit, static_argnums=0)
def train_lcam(task: Task, digits: Digits, draws: Draws, momenta: tuple[Any, Any]) -> Trained:
    """Train with LCAM.

    Args:
      task: What the runs learn.
      digits: The images.
      draws: Of `draw`, with a leading axis of seeds.
      momenta: The momentum after a loss below the mean, and the momentum after any other loss, float32 scalars. They
        are traced, so both orders share one program.
    """
    momentum_below, momentum_above = momenta
    optimizer = lcam_optax.lcam(
        task.schedule,
        lcam_optax.epoch_mean(task.steps_per_epoch),
        momentum_below=momentum_below,
        momentum_above=momentum_above,
        weight_decay=task.weight_decay,
    )

    def update(grads: Any, state: Any, params: Any, loss: jax.Array, _: None) -> tuple[Any, Any, jax.Array]:
        momentum = read_phase(state).momentum  # before `update`: of this step
        updates, state = optimizer.update(grads, state, params, value=loss)
        return updates, state, momentum

    def run(draws: Draws) -> Trained:
        return _train(digits, draws, optimizer.init(draws.params), update, None)

    return jax.vmap(run)(draws)


@functools.partial(jax.jit, static_argnums=0)
def train_sgd(task: Task, digits: Digits, draws: Draws, momenta: jax.Array) -> Trained:
    """Train with SGD.

    Args:
      task: What the runs learn.
      digits: The images.
      draws: Of `draw`, with a leading axis of seeds.
      momenta: The momentum of each step, float32 [seeds, steps]. It is traced, so all arms but LCAM share one program.
    """

    def optimizer(momentum: jax.typing.ArrayLike) -> optax.GradientTransformationExtraArgs:
        return optax.chain(
            optax.add_decayed_weights(task.weight_decay),
            optax.sgd(task.schedule, momentum=momentum),
        )

    def update(grads: Any, state: Any, params: Any, loss: jax.Array, momentum: jax.Array) -> tuple[Any, Any, jax.Array]:
        del loss
        # A transformation is a pair of pure functions, and the form of its state does not depend on the momentum.
        return *optimizer(momentum).update(grads, state, params), momentum

    def run(draws: Draws, momenta: jax.Array) -> Trained:
        return _train(digits, draws, optimizer(0.0).init(draws.params), update, momenta)

    return jax.vmap(run)(draws, momenta)


def _train(digits: Digits, draws: Draws, opt_state: Any, update: _Update, inputs: Any) -> Trained:
    """Train one network and test it. Each step passes one row of `inputs` to `update`."""
    images, labels = jnp.asarray(digits.images), jnp.asarray(digits.labels)

    def loss_fn(params: Any, rows: jax.Array) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits(params, images[rows]), labels[rows])
        return losses.mean()

    def step(carry: tuple[Any, Any], xs: tuple[jax.Array, Any]) -> tuple[tuple[Any, Any], jax.Array]:
        (params, opt_state), (rows, given) = carry, xs
        loss, grads = jax.value_and_grad(loss_fn)(params, rows)
        updates, opt_state, momentum = update(grads, opt_state, params, loss, given)
        return (optax.apply_updates(params, updates), opt_state), momentum

    (params, _), momentum = jax.lax.scan(step, (draws.params, opt_state), (draws.train_rows, inputs))
    found = logits(params, images[draws.test_rows]).argmax(axis=-1)
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
    return Trained(jnp.sum(found != labels[draws.test_rows], dtype=jnp.int32), finite, momentum)
