"""Gradient accumulation that hands the optimizer the mean loss of the micro-batches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._decision import as_loss
from lcam_optax._scalars import is_number, require_whole


class AccumulateState(NamedTuple):
    """State of `accumulate`."""

    multi_steps_state: optax.MultiStepsState
    micro_loss_mean: jax.Array  # shape=(), float32; mean loss of the micro-batches gathered so far


def accumulate(
    optimizer: optax.GradientTransformation,
    every_k_schedule: int | Callable[[jax.Array], jax.Array],
    *,
    axis_name: Any | None = None,
    **multi_steps_kwargs: Any,
) -> optax.GradientTransformationExtraArgs:
    """Accumulate gradients AND losses over micro-batches; the outermost wrapper.

    `optax.MultiSteps` averages the gradients, but its inner optimizer sees the loss of the last micro-batch alone,
    which is noisier than that of the whole batch, so that LCAM would decide otherwise. This is `optax.MultiSteps`
    with the mean of the `k` losses in the place of `value`.

    Args:
      optimizer: The optimizer that makes a step of every `k` micro-batches. An `epoch_mean` in it counts these steps,
        not the micro-batches: let an epoch have a whole number of them.
      every_k_schedule: `k`, or a function from the number of steps made to `k`.
      axis_name: Name of the axis of `pmap` or `shard_map` over which each loss is averaged first, as in `lcam`.
      **multi_steps_kwargs: Other arguments of `optax.MultiSteps`.

    Returns:
      An `optax.GradientTransformationExtraArgs`. Its updates are zero but at every `k`-th call. `update` needs
      `value`, the mean loss of the micro-batch. Micro-batches weigh the same; if one loss is not finite, so is the
      mean, which decides nothing.

    Raises:
      TypeError: From `update`, if there is no `value`.
      ValueError: If `k` is a number other than a whole one of at least 1; from `update`, if `value` is no real
        floating scalar.

    Examples:
      >>> import jax.numpy as jnp, lcam_optax, optax
      >>> inner = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(5), 0.9, 0.95)
      >>> tx = lcam_optax.accumulate(inner, 2)
      >>> params = jnp.ones(3)
      >>> state = tx.init(params)
      >>> for loss in (1.0, 3.0):
      ...     updates, state = tx.update(jnp.ones(3), state, params, value=loss)
      ...     params = optax.apply_updates(params, updates)
      >>> print(lcam_optax.phase(state).loss_mean, params)
      2.0 [0.9 0.9 0.9]
    """
    require_whole("every_k_schedule", every_k_schedule)
    if is_number(every_k_schedule):
        every_k_schedule = int(every_k_schedule)  # type: ignore[arg-type]  # Optax calls what is no int
    multi_steps = optax.MultiSteps(optimizer, every_k_schedule, **multi_steps_kwargs)

    def init_fn(params: optax.Params) -> AccumulateState:
        return AccumulateState(multi_steps.init(params), jnp.zeros((), float))

    def update_fn(
        updates: optax.Updates,
        state: AccumulateState,
        params: optax.Params | None = None,
        *,
        value: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, AccumulateState]:
        loss = as_loss(value, axis_name, "lcam_optax.accumulate")
        gathered = state.multi_steps_state.mini_step
        mean = state.micro_loss_mean + (loss - state.micro_loss_mean) / (gathered + 1).astype(loss.dtype)
        new_updates, multi_steps_state = multi_steps.update(
            updates, state.multi_steps_state, params, value=mean, **extra_args
        )
        # Unchanged: MultiSteps was told to skip this micro-batch. Zero: a step was made, a new mean begins.
        skipped = (multi_steps_state.mini_step == gathered) & (
            multi_steps_state.gradient_step == state.multi_steps_state.gradient_step
        )
        kept = jnp.where(skipped, state.micro_loss_mean, mean)
        begins = multi_steps_state.mini_step == 0
        return new_updates, AccumulateState(multi_steps_state, jnp.where(begins, 0, kept))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
