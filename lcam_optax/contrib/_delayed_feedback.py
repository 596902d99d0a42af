"""Gradient descent with delayed feedback control, which prevents cycles at large steps."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import require_scalar_or_schedule, require_whole
from lcam_optax._scalars import as_arrays, at_step, counter, incremented, working_dtype
from lcam_optax.contrib._trees import map_with_states


class DelayedFeedbackState(NamedTuple):
    """State of `delayed_feedback`."""

    # terms - 1 trees like the parameters; results of plain steps, newest first
    recent_targets: tuple[optax.Params, ...]
    feedback_step: jax.Array  # shape=(), int32; updates made


def delayed_feedback(learning_rate: optax.ScalarOrSchedule, terms: int = 2) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent stabilised by delayed feedback.

    With the map of plain gradient descent, :math:`f(w) = w - \eta g(w)`, and :math:`N` terms:

    .. math::

      w_{k+1} &= \sum_{j=1}^{N} a_j f(w_{k-j+1}), \qquad \sum_j a_j = 1 \\
      a_j &= 2 \tan\frac{\pi}{2(N+1)} \left( 1 - \frac{j}{N+1} \right) \sin\frac{\pi j}{N+1}

    These coefficients make a fixed point attractive if the multipliers of :math:`f` there are real and in
    :math:`(-\mu^*, 1)`, with :math:`\mu^* = \cot^2 \frac{\pi}{2(N+1)}`: 3 for two terms, 5.83 for three, 9.47 for four,
    and 1 for plain descent. In a minimum with largest curvature :math:`\lambda`, the step may thus be as large as
    :math:`(1 + \mu^*) / \lambda` instead of :math:`2 / \lambda`. Flat directions get slightly slower, and a saddle
    still repels. Until there are :math:`N` values, the first value replaces the missing ones.

    This is the control law of Dmitrishin et al. for fixed points (cycles of length one) applied to gradient descent.
    It is motivated by Smorodin's training of networks with "predictive control", which keeps one more copy of the
    parameters, as two terms do. We could not find Smorodin's formula, and do not claim that the methods are the same.
    We recalled the closed form of the coefficients without a source, and confirmed its stable range numerically for up
    to six terms.

    Args:
      learning_rate: :math:`\eta`, a scalar or an Optax schedule of the step.
      terms: :math:`N`, an int of at least 1; 1 is plain gradient descent. Each further term costs a copy of the
        parameters but no gradient. It is static: name it in the `static_args` of `optax.inject_hyperparams`.

    Returns:
      An `optax.GradientTransformationExtraArgs`; `update` needs `params` and ignores extra arguments. It includes the
      learning rate: put nothing after it that changes the step.

    Raises:
      TypeError: If a setting is not a number (or, for the rate, a schedule).
      ValueError: If `terms` is not a whole number of at least 1, or the rate is an array with axes; from `update`, if
        there are no `params`.

    Examples:
      With a step of 2.5 over the curvature, gradient descent ends in a cycle. Two terms reach the minimum.

      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> for tx in (optax.sgd(2.5), contrib.delayed_feedback(2.5)):
      ...     params = jnp.array(1.0)
      ...     state = tx.init(params)
      ...     for _ in range(400):
      ...         updates, state = tx.update(jnp.sin(params), state, params)  # of the loss 1 - cos
      ...         params = optax.apply_updates(params, updates)
      ...     print(f"{jnp.abs(params):.2f}")
      1.13
      0.00

    References:
      D. Dmitrishin, A. Khamitova, A. Stokolos et al. on delayed feedback control of discrete systems, and Average
      predictive control for nonlinear discrete dynamical systems, arXiv 1906.02925; A. Smorodin, The use of control
      theory methods in training neural networks, Automation of technological and business processes, 2021.
    """
    require_scalar_or_schedule("learning_rate", learning_rate)
    require_whole("terms", terms)
    terms = int(terms)
    first, *delayed = coefficients(terms)

    def init_fn(params: optax.Params) -> DelayedFeedbackState:
        return DelayedFeedbackState(tuple(optax.tree.zeros_like(params) for _ in delayed), counter())

    def update_fn(
        updates: optax.Updates,
        state: DelayedFeedbackState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, DelayedFeedbackState]:
        del extra_args
        if params is None:
            raise ValueError(
                "delayed_feedback computes the new parameters from the old ones and was given none: "
                "call update(grads, state, params)."
            )
        updates, state, params = as_arrays((updates, state, params))
        begins = state.feedback_step == 0
        leaf_step = partial(
            _leaf_step,
            first=first,
            delayed=delayed,
            rate=at_step("learning_rate", learning_rate, state.feedback_step),
            begins=begins,
        )
        # Without a gradient, the parameter itself is its target. So the history is right when a gradient comes later.
        new_updates, _, *targets = map_with_states(
            leaf_step,
            updates,
            params,
            *state.recent_targets,
            idle_fn=lambda param, *recent: (param, *_history(param, recent, begins)),
        )
        return new_updates, DelayedFeedbackState(tuple(targets), incremented(state.feedback_step))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def coefficients(terms: int) -> list[float]:
    """Return the weights of the last `terms` values of the map, newest first. They sum to 1."""
    angle = math.pi / (terms + 1)
    return [2 * math.tan(angle / 2) * (1 - j / (terms + 1)) * math.sin(angle * j) for j in range(1, terms + 1)]


def _leaf_step(
    gradient: jax.Array,
    param: jax.Array,
    *recent: jax.Array,
    first: float,
    delayed: list[float],
    rate: jax.Array,
    begins: jax.Array,
) -> tuple[jax.Array, ...]:
    """Step one tensor in the working dtype of gradient and parameter. Update and state keep their dtypes."""
    dtype = working_dtype(gradient, param)
    move = -rate.astype(dtype) * gradient.astype(dtype)
    target = (param.astype(dtype) + move).astype(param.dtype)
    filled = _filled(target, recent, begins)
    # Weigh distances from the parameters instead of values, because the weights do not sum to 1 in bfloat16.
    update = first * move
    for weight, held in zip(delayed, filled, strict=True):
        update += weight * (held.astype(dtype) - param.astype(dtype))
    return update.astype(gradient.dtype), param, *_history(target, recent, begins)


def _history(target: jax.Array, recent: tuple[jax.Array, ...], begins: jax.Array) -> list[jax.Array]:
    """Put a new target before the recent ones, and drop the oldest."""
    return [target, *_filled(target, recent, begins)][: len(recent)]


def _filled(target: jax.Array, recent: tuple[jax.Array, ...], begins: jax.Array) -> list[jax.Array]:
    """The recent targets. At the first step, the first target replaces the missing ones."""
    return [jnp.where(begins, target, held) for held in recent]
