"""Schedules of momentum and learning rate, tied by the effective step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import is_number, require_scalar_or_schedule, require_unit_interval
from lcam_optax._scalars import ScalarOrSchedule, at_step


def learning_rate_from_momentum(effective_step: ScalarOrSchedule, momentum: ScalarOrSchedule) -> optax.Schedule:
    r"""The learning rate that gives a momentum schedule the desired effective step.

    .. math::

      \eta_t = s_t (1 - \mu_t)

    Near a minimum, momentum SGD fluctuates about as widely as plain SGD with the effective step
    :math:`s = \eta / (1 - \mu)`. Momentum helps to leave saddle points but hurts inside the neighbourhood of an optimum
    "if without the step size annealing or momentum annealing" (the abstract of Liu et al.). We could not find the
    formula of that paper. Tying the two through the effective step is our interpretation:

    - if the momentum falls at a constant :math:`s`, learning rate replaces momentum and the fluctuation stays the same;
    - if :math:`s` is annealed at a constant momentum, this is step-size annealing on the scale of plain SGD's learning
      rate;
    - for momentum annealing at a constant learning rate, pass only the momentum: :math:`s` then falls to :math:`\eta`.

    Pass both schedules to `optax.inject_hyperparams(optax.sgd)`. It multiplies by the rate after the momentum, so a
    falling rate shrinks the old velocity at once. In the paper's recursion
    :math:`\theta_{t+1} = \theta_t - \eta_t g_t + \mu_t (\theta_t - \theta_{t-1})` the old velocity does not shrink. For
    this recursion, use `optax.chain(optax.scale_by_learning_rate(rate),
    optax.inject_hyperparams(optax.trace)(decay=momentum))`. At a constant rate the two are equal.

    Args:
      effective_step: :math:`s`, a positive float or an Optax schedule of the step (an int32 scalar from 0).
      momentum: :math:`\mu`, in [0, 1): a float or a schedule.

    Returns:
      An `optax.Schedule`: from the step to the learning rate, a float32 scalar of shape ().

    Raises:
      TypeError: If a setting is neither a number nor a schedule.
      ValueError: If a setting is an array with axes, `effective_step` is a Python number that is not positive, or
        `momentum` is a Python number outside [0, 1).

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> momentum = optax.linear_schedule(0.9, 0.0, transition_steps=100)
      >>> rate = contrib.learning_rate_from_momentum(effective_step=1.0, momentum=momentum)
      >>> print(f"{rate(0):.2f} {rate(50):.2f} {rate(100):.2f}")
      0.10 0.55 1.00
      >>> tx = optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=momentum)
      >>> params = jnp.ones(2)
      >>> updates, state = tx.update(jnp.ones(2), tx.init(params), params)
      >>> print(optax.apply_updates(params, updates))
      [0.9 0.9]

    References:
      Liu, Chen, Zhou, Zhao, A Diffusion Approximation Theory of Momentum SGD in Nonconvex Optimization, Stochastic
      Systems 2021, doi 10.1287/stsy.2021.0083, arXiv 1802.05155.
    """
    _require_positive("effective_step", effective_step)
    if not callable(momentum):
        require_unit_interval("momentum", momentum)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        return at_step("effective_step", effective_step, step) * (1 - at_step("momentum", momentum, step))

    return schedule


def momentum_from_learning_rate(effective_step: ScalarOrSchedule, learning_rate: ScalarOrSchedule) -> optax.Schedule:
    r"""The momentum that gives a learning-rate schedule the desired effective step.

    .. math::

      \mu_t = \max(0, 1 - \eta_t / s_t)

    At a constant :math:`s`, a falling learning rate raises the momentum, and a rising one lowers it. If :math:`s` is
    annealed towards the learning rate, the momentum is annealed to zero. If the learning rate exceeds :math:`s`, no
    momentum gives :math:`s`: the momentum is then zero, and the effective step is the learning rate.
    `learning_rate_from_momentum` explains the effective step, and which part is our interpretation.

    Args:
      effective_step: :math:`s`, a positive float or an Optax schedule of the step (an int32 scalar from 0).
      learning_rate: :math:`\eta`, a float or a schedule. Keep it positive: at zero the momentum is one and never
        decays.

    Returns:
      An `optax.Schedule`: from the step to the momentum, a float32 scalar of shape ().

    Raises:
      TypeError: If a setting is neither a number nor a schedule.
      ValueError: If a setting is an array with axes, or a Python number that is not positive.

    Examples:
      >>> import jax.numpy as jnp, optax
      >>> from lcam_optax import contrib
      >>> effective_step = optax.linear_schedule(1.0, 0.1, transition_steps=100)
      >>> momentum = contrib.momentum_from_learning_rate(effective_step, learning_rate=0.1)
      >>> print(f"{momentum(0):.2f} {momentum(50):.2f} {momentum(100):.2f}")
      0.90 0.82 0.00
      >>> tx = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=momentum)
      >>> params = jnp.ones(2)
      >>> updates, state = tx.update(jnp.ones(2), tx.init(params), params)
      >>> print(optax.apply_updates(params, updates))
      [0.9 0.9]

    References:
      See `learning_rate_from_momentum`.
    """
    _require_positive("effective_step", effective_step)
    _require_positive("learning_rate", learning_rate)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        share = at_step("learning_rate", learning_rate, step) / at_step("effective_step", effective_step, step)
        return jnp.maximum(0, 1 - share)

    return schedule


def _require_positive(name: str, value: ScalarOrSchedule) -> None:
    require_scalar_or_schedule(name, value)
    if is_number(value) and not value > 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be positive, got {value}.")
