"""Every complete optimizer of the package: those that are used alone, as `optax.sgd` is."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import lcam_optax
from lcam_optax import contrib

PHASE = lcam_optax.epoch_mean(10)
RATE = {"learning_rate": 2e-4}


class Complete(NamedTuple):
    factory: Callable[..., optax.GradientTransformationExtraArgs]
    settings: dict[str, Any]
    static: tuple[str, ...] = ()  # what `optax.inject_hyperparams` has to leave alone
    real: bool = False  # whether complex parameters are refused
    rosenbrock: dict[str, Any] = RATE  # settings for a target that is steep

    def make(self, **settings: Any) -> optax.GradientTransformationExtraArgs:
        return self.factory(**self.settings | settings)


def extragradient_sgd(learning_rate):
    return contrib.extragradient(optax.sgd(learning_rate, momentum=0.9))


def told_sgd(max_learning_rate):
    decay = contrib.mutual_information_decay(1e-4, max_learning_rate, steps_per_epoch=3, threshold=0.1)
    return optax.chain(optax.trace(0.9), decay)


LCAM = {"learning_rate": 0.01, "phase": PHASE, "momentum_below": 0.8, "momentum_above": 0.9}
LRSGD = {"learning_rate": 0.01, "weight_decay": 0.0}
OPTIMIZERS = {
    "lcam": Complete(lcam_optax.lcam, LCAM),
    "lcam at once": Complete(lcam_optax.lcam, LCAM | {"delay": False, "nesterov": True, "weight_decay": 1e-6}),
    "random lcam": Complete(lcam_optax.lcam, LCAM | {"phase": lcam_optax.random_phase(0.5, 0)}),
    "delayed_feedback": Complete(
        contrib.delayed_feedback, {"learning_rate": 0.1}, ("terms",), rosenbrock={"learning_rate": 2e-3}
    ),
    "extragradient": Complete(extragradient_sgd, {"learning_rate": 0.01}),
    "extrapolation_from_the_past": Complete(
        contrib.extrapolation_from_the_past, {"learning_rate": 0.1}, rosenbrock={"learning_rate": 6e-4}
    ),
    "lrsgd C": Complete(contrib.lrsgd, LRSGD, rosenbrock={"learning_rate": 1e-3}),
    "lrsgd R": Complete(contrib.lrsgd, LRSGD | {"variant": "R"}),
    "mutual_information_decay": Complete(told_sgd, {"max_learning_rate": 0.01}, rosenbrock={"max_learning_rate": 2e-4}),
    "salp_swarm_sgd": Complete(
        contrib.salp_swarm_sgd,
        {"learning_rate": 1e-3, "iterations": 100, "radius": 0.1, "population": 4},
        ("population",),
        real=True,
    ),
    "yamadam": Complete(contrib.yamadam, {}, real=True, rosenbrock={}),
}


def extra_args(objective: Callable, value: jax.Array) -> dict[str, Any]:
    """All that any of them asks for, and something that none does."""
    return {
        "value": value,
        "value_fn": objective,
        "grad_fn": lambda params: gradients(objective, params)[1],
        "information": 0.5,
        "unexpected_extra_args_your_optimizer_doesnt_expect": 1,
    }


def gradients(objective: Callable, params: Any) -> tuple[jax.Array, Any]:
    """JAX's gradient of a real function of complex numbers is the conjugate of the descent direction."""
    value, grads = jax.value_and_grad(objective)(params)
    return value, optax.tree.conj(grads)


def step(tx: optax.GradientTransformation, objective: Callable, params: Any, state: Any) -> tuple[Any, Any]:
    """One whole step of training."""
    value, grads = gradients(objective, params)
    updates, state = tx.update(grads, state, params, **extra_args(objective, value))
    return optax.apply_updates(params, updates), state


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def train(tx: optax.GradientTransformation, objective: Callable, params: Any, steps: int) -> Any:
    """The parameters after some steps."""

    def body(carry: Any, _: None) -> tuple[Any, None]:
        return step(tx, objective, *carry), None

    return jax.lax.scan(body, (params, tx.init(params)), length=steps)[0][0]


def squares(params: Any) -> jax.Array:
    """A loss over any tree."""
    return sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(params))
