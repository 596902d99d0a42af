"""The methods for games. Each adjusts the field of a game or an optimizer."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from lcam_optax import contrib

Field = Callable[..., optax.Updates]
Step = Callable[..., tuple[optax.Params, optax.OptState]]


class Method(NamedTuple):
    """A way to play a game.

    Attributes:
      title: in words.
      cost: evaluations of the field and products with its Jacobian or the transpose, per step.
      adjust: makes the input of the optimizer from the field.
      optimizer: from a direction (`optax.identity()` for SGD, `optax.scale_by_adam()` for Adam) and a learning rate.
    """

    title: str
    cost: int
    adjust: Callable[[Field], Field]
    optimizer: Callable[[optax.GradientTransformation, Any], optax.GradientTransformation]


def _as_it_is(field_fn: Field) -> Field:
    return field_fn


def _descent(direction: optax.GradientTransformation, learning_rate: Any) -> optax.GradientTransformation:
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))


def _optimistic(direction: optax.GradientTransformation, learning_rate: Any) -> optax.GradientTransformation:
    """Optax's optimistic gradient descent or optimistic Adam, as one function of the direction."""
    return optax.chain(
        direction, optax.scale_by_optimistic_gradient(alpha=1.0, beta=1.0), optax.scale_by_learning_rate(learning_rate)
    )


def _extragradient(direction: optax.GradientTransformation, learning_rate: Any) -> optax.GradientTransformation:
    return contrib.extragradient(_descent(direction, learning_rate))


METHODS = {
    "plain": Method("the field itself", 1, _as_it_is, _descent),
    "consensus": Method(
        "consensus optimization", 2, functools.partial(contrib.consensus_gradient, align=False), _descent
    ),
    "consensus-aligned": Method("consensus optimization, aligned", 2, contrib.consensus_gradient, _descent),
    "sga": Method(
        "symplectic gradient adjustment", 3, functools.partial(contrib.symplectic_gradient, align=False), _descent
    ),
    "sga-aligned": Method("symplectic gradient adjustment, aligned", 3, contrib.symplectic_gradient, _descent),
    "optimistic": Method("optimistic mirror descent = extrapolation from the past", 1, _as_it_is, _optimistic),
    "extragradient": Method("extragradient", 2, _as_it_is, _extragradient),
}


def make_step(
    method: Method, field_fn: Field, direction: optax.GradientTransformation, learning_rate: jax.typing.ArrayLike
) -> tuple[Callable[[optax.Params], optax.OptState], Step]:
    """Make the two functions that play a game.

    Args:
      method: One of `METHODS`.
      field_fn: `field_fn(params, *batch)`, from `lcam_optax.contrib.player_field`.
      direction: Of the inner optimizer, without learning rate.
      learning_rate: May be traced.

    Returns:
      `init(params) -> state` and `step(params, state, *batch) -> (params, state)`; a step with two half-steps takes
      both on the same batch.
    """
    adjusted_fn = method.adjust(field_fn)
    tx = optax.with_extra_args_support(method.optimizer(direction, learning_rate))

    def step(params: optax.Params, state: optax.OptState, *batch: Any) -> tuple[optax.Params, optax.OptState]:
        def grad_fn(params: optax.Params) -> optax.Updates:
            return adjusted_fn(params, *batch)

        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    return tx.init, step
