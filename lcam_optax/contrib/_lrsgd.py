"""LRSGD: momentum SGD with a pull towards an anchor that moves every few steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import (
    is_number,
    require_scalar,
    require_scalar_or_schedule,
    require_seed,
    require_unit_interval,
    require_whole,
)
from lcam_optax._scalars import as_arrays, as_float, at_step, counter, incremented, initial_seed, working_dtype
from lcam_optax.contrib._trees import map_with_states


class LrsgdState(NamedTuple):
    """State of `lrsgd`: two copies of the parameters and a few scalars."""

    trace: optax.Updates  # as the parameters; heavy-ball momentum, never reset
    anchor: optax.Params  # as the parameters; where this inner loop began
    inner_step: jax.Array  # shape=(), int32; steps of this inner loop made, 0 when a new one begins
    inner_length: jax.Array  # shape=(), int32; steps of this inner loop in all
    lrsgd_step: jax.Array  # shape=(), int32; updates made
    lrsgd_seed: jax.Array  # shape=(), uint32; of the drawn lengths


def lrsgd(
    learning_rate: optax.ScalarOrSchedule,
    lambda_w: jax.typing.ArrayLike = 0.01,
    *,
    variant: Literal["C", "R"] = "C",
    inner_steps: jax.typing.ArrayLike = 10,
    momentum: jax.typing.ArrayLike = 0.9,
    weight_decay: jax.typing.ArrayLike = 1e-4,
    weight_decay_mask: Any | Callable[[optax.Params], Any] | None = None,
    seed: jax.typing.ArrayLike = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Locally regularised SGD, the constant (C) and the random (R) variant.

    Training consists of inner loops of :math:`I` steps. The first step of a loop, :math:`i = 0`, sets the anchor
    :math:`a` to the parameters. Each step, on a fresh batch, computes

    .. math::

      d &= g + 2 \lambda (w - a) + \omega w, \qquad \lambda = \lambda_w / \eta \\
      b &\leftarrow \mu b + d \\
      w &\leftarrow w - \eta_i b

    with weight decay :math:`\omega`. In C, :math:`I` is constant and :math:`\eta_i = \eta / (i + 1)`. R draws :math:`I`
    for each loop from the geometric distribution on 1, 2, ... and uses :math:`\eta_i = \eta`. Since :math:`\lambda`
    contains the CURRENT rate, the pull :math:`2 \eta \lambda = 2 \lambda_w` does not shrink when the learning rate
    drops. The momentum :math:`b` is not reset at a new anchor.

    The authors' program computes one more batch before each inner loop, only for its loss. No weight learns from it, so
    this code omits it. At a learning rate of zero, their program divides by zero; this code omits the pull.

    Args:
      learning_rate: :math:`\eta`, a scalar or an Optax schedule of the step (inner steps, from 0). The authors: 0.1, a
        tenth of that after 150 and again after 250 of 350 epochs.
      lambda_w: :math:`\lambda_w`, a scalar or a schedule; the authors take a tenth of the first learning rate.
      variant: "C" or "R".
      inner_steps: :math:`I` of variant C, and the mean of the drawn lengths of variant R; at least 1.
      momentum: :math:`\mu`, in [0, 1).
      weight_decay: :math:`\omega`, a scalar or a schedule; coupled, added to the gradient first.
      weight_decay_mask: A tree of booleans with the structure of the parameters (or a prefix of it), or a function
        of the parameters that returns one: True where weight decay applies. None applies it everywhere. A function is
        static: name it in the `static_args` of `optax.inject_hyperparams`, or nothing decays.
      seed: An int, or a key such as `jax.random.key(0)`, which may be traced. Variant R draws from it and the step.

    Returns:
      An `optax.GradientTransformationExtraArgs`; `update` needs `params` and ignores extra arguments.

    Raises:
      TypeError: If a setting is not a number (or, for the rate, `lambda_w` and `weight_decay`, a schedule).
      ValueError: If `variant` is neither "C" nor "R", or a setting is an array with axes, or a Python number out of its
        range; if `seed` is neither an integer nor a typed key; from `update`, if there are no `params`.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> tx = contrib.lrsgd(0.1, weight_decay=0.0)
      >>> params = jnp.array([1.0, -2.0])
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     grads = jax.grad(lambda p: jnp.sum(p**2) / 2)(params)
      ...     updates, state = tx.update(grads, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{params[0]:.4f} {params[1]:.4f}")
      0.7318 -1.4637

    References:
      Zhang, Qu, Metaxas, Chen, Local Regularizer Improves Generalization, AAAI 2020; the authors' code at github
      huiqu18/LRSGD, which these equations follow.
    """
    if variant not in ("C", "R"):
        raise ValueError(f'variant must be "C" (constant inner loops) or "R" (drawn ones), got {variant!r}.')
    for name, setting in (("learning_rate", learning_rate), ("weight_decay", weight_decay), ("lambda_w", lambda_w)):
        require_scalar_or_schedule(name, setting)
    require_scalar("inner_steps", inner_steps)
    require_seed(seed)
    if is_number(inner_steps) and not inner_steps >= 1:  # type: ignore[operator]
        raise ValueError(f"inner_steps must be at least 1, got {inner_steps}.")
    if variant == "C" and is_number(inner_steps):
        require_whole("inner_steps", inner_steps)
    require_unit_interval("momentum", momentum)

    def init_fn(params: optax.Params) -> LrsgdState:
        zeros = optax.tree.zeros_like(params)
        # The first step sets the anchor. The parameters themselves would be donated twice.
        anchor = optax.tree.zeros_like(params)
        return LrsgdState(zeros, anchor, counter(), counter(), counter(), initial_seed(seed))

    def update_fn(
        updates: optax.Updates, state: LrsgdState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, LrsgdState]:
        del extra_args
        updates, state, params = as_arrays((updates, state, params))
        begins = state.inner_step == 0
        length = jnp.where(begins, _loop_length(variant, inner_steps, state), state.inner_length)
        rate = at_step("learning_rate", learning_rate, state.lrsgd_step)
        strength = jnp.where(
            rate == 0, 0, at_step("lambda_w", lambda_w, state.lrsgd_step) / jnp.where(rate == 0, 1, rate)
        )
        inner_rate = rate / (state.inner_step + 1).astype(rate.dtype) if variant == "C" else rate

        leaf_step = partial(_leaf_step, begins=begins, pull=2 * strength, momentum=as_float(momentum), rate=inner_rate)
        # A parameter without a gradient gets its anchor too, because a gradient may come later.
        new_updates, trace, anchor, _ = map_with_states(
            leaf_step,
            updates,
            state.trace,
            state.anchor,
            params,
            idle_fn=lambda trace, anchor, param: (trace, jnp.where(begins, param, anchor), param),
        )
        inner_step = jnp.where(state.inner_step + 1 >= length, 0, state.inner_step + 1)
        new_state = LrsgdState(trace, anchor, inner_step, length, incremented(state.lrsgd_step), state.lrsgd_seed)
        return new_updates, new_state

    return optax.chain(
        optax.add_decayed_weights(weight_decay, weight_decay_mask),
        optax.GradientTransformationExtraArgs(init_fn, update_fn),
    )


def _loop_length(variant: str, inner_steps: jax.typing.ArrayLike, state: LrsgdState) -> jax.Array:
    """Return the steps of a new inner loop: the constant, or a draw with this mean; shape (), int32."""
    if variant == "C":
        return jnp.asarray(inner_steps).astype(jnp.int32)
    key = jax.random.fold_in(jax.random.key(state.lrsgd_seed), state.lrsgd_step)
    return jax.random.geometric(key, 1 / as_float(inner_steps), shape=(), dtype=jnp.int32)


def _leaf_step(
    gradient: jax.Array,
    trace: jax.Array,
    anchor: jax.Array,
    param: jax.Array,
    *,
    begins: jax.Array,
    pull: jax.Array,
    momentum: jax.Array,
    rate: jax.Array,
) -> tuple[jax.Array, ...]:
    """Step one tensor in the working dtype of gradient and parameter. Update and state keep their dtypes."""
    dtype = working_dtype(gradient, param)
    new_anchor = jnp.where(begins, param, anchor)
    regularised = gradient.astype(dtype) + pull.astype(dtype) * (param.astype(dtype) - new_anchor.astype(dtype))
    new_trace = momentum.astype(dtype) * trace.astype(dtype) + regularised
    return (-rate.astype(dtype) * new_trace).astype(gradient.dtype), new_trace.astype(trace.dtype), new_anchor, param
