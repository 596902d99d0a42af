"""LCAM as a complete optimizer: momentum SGD in which the loss picks the momentum of each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from lcam_optax._checks import require_scalar_or_schedule
from lcam_optax._phase import Phase
from lcam_optax._scalars import ScalarOrSchedule
from lcam_optax._scale_by_lcam import require_own_state, scale_by_lcam


def lcam(
    learning_rate: optax.ScalarOrSchedule,
    phase: Phase,
    momentum_below: ScalarOrSchedule,
    momentum_above: ScalarOrSchedule,
    *,
    nesterov: bool = False,
    delay: bool = True,
    initial_momentum: jax.typing.ArrayLike = 0.9,
    weight_decay: jax.typing.ArrayLike = 0.0,
    weight_decay_mask: Any | Callable[[optax.Params], Any] | None = None,
    accumulator_dtype: Any | None = None,
    axis_name: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""SGD with Loss-Controlled Asymmetric Momentum.

    .. math::

      b_t = \mu_t b_{t-1} + (g_t + \lambda w_t), \qquad w_{t+1} = w_t - \eta_t b_t

    where the loss picks :math:`\mu_t` (see `scale_by_lcam`). Weight decay is coupled: it is added to the gradient
    before the momentum, as in the authors' code. There it applies to every parameter, including biases and batch-norm
    scales.

    Three rules of `optax.inject_hyperparams(lcam)` matter:

    - It treats every callable as a schedule. It calls a `weight_decay_mask` function with the step, so nothing decays.
      It also calls `accumulator_dtype=jnp.float32`, and it reads a momentum schedule one step early. Name such
      arguments in `static_args`: `optax.inject_hyperparams(lcam, static_args=("weight_decay_mask",))`.
    - It rounds Python floats to the dtype of the parameters: with bfloat16 parameters, a momentum of 0.999 becomes 1.0.
      Pass `hyperparam_dtype=jnp.float32`, or pass the number as `jnp.float32(0.999)`.
    - It turns `weight_decay` into an array, even the default of 0, so `update` needs `params`.

    LCAM does not take a state of `optax.sgd`. To continue from one, carry its momentum buffer over. If the learning
    rate is a schedule, carry the step over too, with `count=optax.tree.get(sgd_state, "count")`. If a momentum is a
    schedule, set `lcam_step` to the step::

        state = optax.tree.set(tx.init(params), trace=optax.tree.get(sgd_state, "trace"))

    Before `jax.export` can serialize a program that takes the state, register each class in the state. If all settings
    are numbers, these are the classes. A learning-rate schedule adds `optax.ScaleByScheduleState`::

        for kind in (lcam_optax.ScaleByLcamState, lcam_optax.EpochMeanState, optax.EmptyState):
            jax.export.register_namedtuple_serialization(kind, serialized_name=f"{kind.__module__}.{kind.__name__}")

    Args:
      learning_rate: A float, a scalar array or an Optax schedule of the step.
      phase: The rule that puts each loss below or above a mean, such as `epoch_mean(steps_per_epoch)`.
      momentum_below: Momentum after a loss below the mean, in [0, 1): a float, a scalar array or a schedule.
      momentum_above: Momentum after a loss at or above the mean; the same types.
      nesterov: Whether to use Nesterov momentum. The authors do not.
      delay: True: a loss picks the momentum of the NEXT step, as in the authors' code. False: of its own step.
      initial_momentum: Momentum until the first finite loss; with delay, also of the first step.
      weight_decay: Strength of the coupled L2 term, a scalar or a schedule. Unless it is the Python number 0, `update`
        needs `params`.
      weight_decay_mask: A tree of booleans with the structure of the parameters (or a prefix of it), or a function
        of the parameters that returns one: True where weight decay applies. None applies it everywhere.
      accumulator_dtype: Dtype of the trace; None takes the dtype of each parameter.
      axis_name: Name of the `pmap` or `shard_map` axis (or axes) to average the loss over; None under `jit`.

    Returns:
      An `optax.GradientTransformationExtraArgs`; call its `update` with `value=loss`.

    Raises:
      ValueError: If a momentum is an array with axes, or a Python number outside [0, 1); from `update`, if `value` is
        no real floating scalar.
      TypeError: If an argument has the wrong type; from `update`, if `value` is missing, or the state is not an LCAM
        state. See `scale_by_lcam` for more about each argument and error.

    Examples:
      >>> import jax, jax.numpy as jnp, lcam_optax, optax
      >>> tx = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(10), momentum_below=0.9, momentum_above=0.95)
      >>> loss_fn = lambda p: jnp.sum((p - 3.0) ** 2)
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> @jax.jit
      ... def step(params, state):
      ...     loss, grads = jax.value_and_grad(loss_fn)(params)
      ...     updates, state = tx.update(grads, state, params, value=loss)
      ...     return optax.apply_updates(params, updates), state, loss
      >>> for _ in range(100):
      ...     params, state, loss = step(params, state)
      >>> print(f"{loss:.3f}")
      0.000

    References:
      arXiv 2309.02130.
    """
    require_scalar_or_schedule("learning_rate", learning_rate)
    require_scalar_or_schedule("weight_decay", weight_decay)
    # A constant zero adds no transformation, so it costs nothing and `update` needs no parameters.
    has_decay = not (isinstance(weight_decay, (int, float)) and weight_decay == 0)
    chain = optax.chain(
        optax.add_decayed_weights(weight_decay, weight_decay_mask) if has_decay else optax.identity(),
        scale_by_lcam(
            phase,
            momentum_below,
            momentum_above,
            nesterov=nesterov,
            delay=delay,
            initial_momentum=initial_momentum,
            accumulator_dtype=accumulator_dtype,
            axis_name=axis_name,
        ),
        optax.scale_by_learning_rate(learning_rate),
    )

    def update_fn(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, optax.OptState]:
        # Check here, because the error of `optax.chain` names neither LCAM nor what to do.
        require_own_state(state[1] if isinstance(state, tuple) and len(state) == 3 else state)
        return chain.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(chain.init, update_fn)
