"""Gradient accumulation that passes the optimizer the mean loss of the micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import is_number, require_optimizer, require_whole
from lcam_optax._decision import as_loss
from lcam_optax._scalars import as_arrays, copied, moved_mean, scalar


class AccumulateState(NamedTuple):
    """State of `accumulate`."""

    multi_steps_state: optax.MultiStepsState
    micro_loss_mean: jax.Array  # shape=(), float32; mean loss of the micro-batches gathered so far
    made_step: jax.Array  # shape=(), bool; whether the last update made a step


class Accumulation(optax.GradientTransformationExtraArgs):
    """What `accumulate` returns."""

    @staticmethod
    def has_updated(state: AccumulateState) -> jax.Array:
        """Whether the last `update` made a step, a boolean scalar.

        False after a micro-batch that `should_skip_update_fn` skipped. `optax.apply_if_finite` around `accumulate`
        keeps the whole old state instead: read its `last_finite` too.
        """
        return copied(state.made_step)


def accumulate(
    optimizer: optax.GradientTransformation,
    every_k_schedule: int | Callable[[jax.Array], jax.Array],
    *,
    axis_name: Any | None = None,
    **multi_steps_kwargs: Any,
) -> Accumulation:
    """Accumulate gradients AND losses over micro-batches.

    `optax.MultiSteps` averages the gradients, but its inner optimizer sees only the loss of the last micro-batch. That
    loss is noisier than the loss of the whole batch, so LCAM would decide differently. This function is an
    `optax.MultiSteps` whose inner optimizer gets the mean of the `k` losses as `value`. Use it as the outermost
    wrapper.

    Args:
      optimizer: The optimizer that makes one step per `k` micro-batches. Its `epoch_mean` counts steps, not
        micro-batches, so an epoch should have a whole number of steps.
      every_k_schedule: `k`, or a function from the number of steps made to `k`.
      axis_name: Name of the `pmap` or `shard_map` axis to average each loss over first, as in `lcam`.
      **multi_steps_kwargs: Other arguments of `optax.MultiSteps`.

    Returns:
      An `optax.GradientTransformationExtraArgs` that also has the `has_updated(state)` of `optax.MultiSteps`. Its
      updates are zero except at every `k`-th call. `update` needs `value`, the mean loss of the micro-batch. All
      micro-batches weigh the same. If one loss is not finite, neither is the mean, and the momentum stays unchanged.
      Other extra arguments are passed on unchanged: a step sees those of its last micro-batch.

      `optax.MultiSteps` calls `optimizer` at every micro-batch, and uses the result of every `k`-th call. It never
      recovers from a gradient that is not finite (Optax 0.2.8). To skip such a micro-batch, pass
      `should_skip_update_fn=optax.skip_not_finite`, or put `optax.apply_if_finite` around `accumulate`. Inside, it
      does not help.

    Raises:
      TypeError: If `optimizer` is not an optimizer, or `k` is neither a number nor a function; from `update`, if there
        is no `value`.
      ValueError: If `k` is an array with axes, or not a whole number of at least 1; from `update`, if `value` is not a
        real floating scalar.

    Examples:
      >>> import jax.numpy as jnp, lcam_optax, optax
      >>> inner = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(5), 0.9, 0.95)
      >>> tx = lcam_optax.accumulate(inner, 2)
      >>> params = jnp.ones(3)
      >>> state = tx.init(params)
      >>> for loss in (1.0, 3.0):
      ...     updates, state = tx.update(jnp.ones(3), state, params, value=loss)
      ...     params = optax.apply_updates(params, updates)
      ...     print(tx.has_updated(state), lcam_optax.read_phase(state).loss_mean, params)
      False 0.0 [1. 1. 1.]
      True 2.0 [0.9 0.9 0.9]
    """
    require_optimizer(optimizer)
    multi_steps = optax.MultiSteps(optimizer, _as_schedule(every_k_schedule), **multi_steps_kwargs)

    def init_fn(params: optax.Params) -> AccumulateState:
        return AccumulateState(multi_steps.init(params), scalar(0.0), jnp.zeros((), bool))

    def update_fn(
        updates: optax.Updates,
        state: AccumulateState,
        params: optax.Params | None = None,
        *,
        value: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, AccumulateState]:
        updates, state, params = as_arrays((updates, state, params))
        loss = as_loss(value, axis_name, "lcam_optax.accumulate")
        gathered = state.multi_steps_state.mini_step
        moved = moved_mean(state.micro_loss_mean, loss, (gathered + 1).astype(loss.dtype))
        mean = jnp.where(jnp.isfinite(loss), moved, loss)
        new_updates, multi_steps_state = multi_steps.update(
            updates, state.multi_steps_state, params, value=mean, **extra_args
        )
        # If the counters did not change, MultiSteps skipped this micro-batch. After a step, a new mean begins.
        skipped = (multi_steps_state.mini_step == gathered) & (
            multi_steps_state.gradient_step == state.multi_steps_state.gradient_step
        )
        kept = jnp.where(skipped, state.micro_loss_mean, mean)
        begins = multi_steps_state.mini_step == 0
        return new_updates, AccumulateState(multi_steps_state, jnp.where(begins, 0, kept), begins & ~skipped)

    return Accumulation(init_fn, update_fn)


def _as_schedule(every_k: Any) -> Callable[[jax.Array], Any]:
    """`k` as a function of the steps made, which is what `optax.MultiSteps` calls."""
    if callable(every_k):
        return every_k
    require_whole("every_k_schedule", every_k)
    k = int(every_k) if is_number(every_k) else every_k
    return lambda step: k
