"""Extragradient: step with the gradient at the result of a first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from lcam_optax._checks import require_optimizer, require_scalar_or_schedule
from lcam_optax.contrib._trees import require_like


def extragradient(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    r"""Extragradient, with two gradients per step.

    .. math::

      w'_t &= w_t - \eta g(w_t) \\
      w_{t+1} &= w_t - \eta g(w'_t)

    for `optax.sgd`. Any other optimizer makes both half-steps in the same way. BOTH half-steps advance its state
    (momentum, step counts), as in the extragradient code of Gidel et al., so its schedules count two steps per update.
    Each half-step gets the parameters at which its gradient was taken, so coupled weight decay is a part of :math:`g`.

    "SGD with extrapolation" (Xu et al., 2019) also names this step. We could not find its exact recursion, step sizes
    and stages, and assume that it is this one. For one gradient per step see `extrapolation_from_the_past`.

    Args:
      optimizer: The optimizer of both half-steps, learning rate included.

    Returns:
      An `optax.GradientTransformationExtraArgs`, the outermost of its chain. Its state is the state of `optimizer`.
      `update(grads, state, params, grad_fn=grad_fn)` takes the gradients at `params`, and a function `grad_fn(params)`
      that returns the gradients at other parameters, of the same batch or a fresh one. Other extra arguments, such as
      `value`, are passed to both half-steps. With `flax.nnx.Optimizer`, `grad_fn` has to return `nnx.as_pure(grads)`.
      Do not put it inside `optax.masked` or `optax.partition`, because `grad_fn` would get parameters that contain
      `MaskedNode`. To freeze parameters, mask the updates of the inner optimizer.

    Raises:
      TypeError: If `optimizer` is not an optimizer; from `update`, if there is no `grad_fn`.
      ValueError: From `update`, if there are no `params`, or `grad_fn` does not return a tree with the structure and
        the shapes of `grads`.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> grad_fn = lambda w: jnp.array([w[1], -w[0]])  # a bilinear game: gradient descent spirals out
      >>> tx = contrib.extragradient(optax.sgd(0.5))
      >>> params = jnp.array([1.0, 1.0])
      >>> state = tx.init(params)
      >>> for _ in range(50):
      ...     updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{optax.tree.norm(params):.3f}")
      0.008

    References:
      Korpelevich, The extragradient method for finding saddle points and other problems, 1976; Gidel et al., A
      Variational Inequality Perspective on GANs, 2019, arXiv 1802.10551; Xu et al., Stochastic gradient descent with
      extrapolation, IJCAI 2019, arXiv 1901.10682.
    """
    require_optimizer(optimizer)
    optimizer = optax.with_extra_args_support(optimizer)

    def update_fn(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        grad_fn: Callable[[optax.Params], optax.Updates] | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        if grad_fn is None:
            raise TypeError(
                "extragradient takes a second gradient in each step and was given no grad_fn: call "
                "update(grads, state, params, grad_fn=grad_fn), where grad_fn(params) gives the gradients there. "
                "A wrapper that drops extra arguments has to go inside extragradient, not around it."
            )
        if params is None:
            raise ValueError("extragradient moves the parameters and was given none: call update(grads, state, params)")
        extrapolation, state = optimizer.update(updates, state, params, **extra_args)
        ahead = optax.apply_updates(params, extrapolation)
        gradients_ahead = grad_fn(ahead)
        require_like("grad_fn", gradients_ahead, updates, dtypes=False)
        return optimizer.update(gradients_ahead, state, ahead, **extra_args)

    return optax.GradientTransformationExtraArgs(optimizer.init, update_fn)


def extrapolation_from_the_past(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformationExtraArgs:
    r"""Extragradient with one gradient per step: the last gradient replaces the first of the two.

    .. math::

      w'_t &= w_t - \eta g(w'_{t-1}), \qquad w'_{-1} = w_0 \\
      w_{t+1} &= w_t - \eta g(w'_t)

    Written on :math:`w'` alone this is
    :math:`w'_{t+1} = w'_t - 2 \eta g(w'_t) + \eta g(w'_{t-1})`, which is `optax.optimistic_gradient_descent` with
    `alpha = beta = 1`. This function only gives it a name. Your parameters are :math:`w'`, one short step
    :math:`\eta g(w'_{t-1})` from :math:`w`. With a schedule, both gradients of a step use the rate of that step.

    Args:
      learning_rate: A scalar or an Optax schedule of the step.

    Returns:
      An `optax.GradientTransformationExtraArgs`, which ignores extra arguments and needs no `grad_fn`. Its state
      contains the last gradient.

    Raises:
      TypeError: If `learning_rate` is neither a number nor a schedule.
      ValueError: If it is an array with axes.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> tx = contrib.extrapolation_from_the_past(0.5)
      >>> params = jnp.array([1.0, 1.0])
      >>> state = tx.init(params)
      >>> for _ in range(50):
      ...     updates, state = tx.update(jnp.array([params[1], -params[0]]), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f"{optax.tree.norm(params):.3f}")
      0.000

    References:
      Popov, A modification of the Arrow-Hurwicz method for search of saddle points, 1980; Gidel et al., A Variational
      Inequality Perspective on GANs, 2019, arXiv 1802.10551.
    """
    require_scalar_or_schedule("learning_rate", learning_rate)
    return optax.with_extra_args_support(optax.optimistic_gradient_descent(learning_rate, alpha=1.0, beta=1.0))
