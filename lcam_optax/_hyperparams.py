"""The phase as an Optax schedule, so that the loss can control any hyper-parameter of any Optax optimizer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lcam_optax._checks import require_scalar, require_scalar_or_schedule
from lcam_optax._decision import as_loss, pick
from lcam_optax._phase import Phase, PhaseState, require_phase
from lcam_optax._scalars import ScalarOrSchedule, counter, incremented, initial


class LossControlledState(NamedTuple):
    """State of `loss_controlled`."""

    controlled_value: jax.Array  # shape=(), float32; value of the next update, or of the last one without delay
    below: jax.Array  # shape=(), bool; whether the last finite loss fell below
    controlled_step: jax.Array  # shape=(), int32; updates made
    phase_state: PhaseState  # the phase's own scalars


class _LossControlled:
    """An `optax.schedules.StatefulSchedule`; built by `loss_controlled`."""

    def __init__(
        self,
        phase: Phase,
        below: ScalarOrSchedule,
        above: ScalarOrSchedule,
        initial: jax.typing.ArrayLike,
        delay: bool,
        axis_name: Any | None,
        dtype: Any | None,
    ):
        self._phase, self._below, self._above = phase, below, above
        self._initial, self._delay, self._axis_name, self._dtype = initial, delay, axis_name, dtype

    def init(self) -> LossControlledState:
        return LossControlledState(
            controlled_value=initial(self._initial),
            below=jnp.zeros((), bool),
            controlled_step=counter(),
            phase_state=self._phase.init(),
        )

    def update(self, state: LossControlledState, **extra_args: Any) -> LossControlledState:
        next_step = incremented(state.controlled_step)
        controlled, below, phase_state = pick(
            self._phase,
            ("below", self._below),
            ("above", self._above),
            loss=as_loss(extra_args.get("value"), self._axis_name, "loss_controlled"),
            step=next_step if self._delay else state.controlled_step,
            current=state.controlled_value,
            below=state.below,
            phase_state=state.phase_state,
        )
        return LossControlledState(controlled, below, next_step, phase_state)

    def __call__(self, state: LossControlledState, **extra_args: Any) -> jax.Array:
        # `inject_hyperparams` also calls this in `init`, where there is no loss yet.
        if not isinstance(state, LossControlledState):
            raise TypeError(
                "loss_controlled keeps a state, so it goes through optax.inject_hyperparams: "
                "optax.inject_hyperparams(optax.adam)(learning_rate=1e-3, b1=loss_controlled(...))."
            )
        at_once = extra_args and not self._delay
        value = (self.update(state, **extra_args) if at_once else state).controlled_value
        # A copy: the caller keeps the value in its own state, and a buffer can be donated only once.
        return jnp.array(value, self._dtype)


def loss_controlled(
    phase: Phase,
    below: ScalarOrSchedule,
    above: ScalarOrSchedule,
    *,
    initial: jax.typing.ArrayLike,
    delay: bool = True,
    axis_name: Any | None = None,
    dtype: Any | None = None,
) -> optax.schedules.StatefulSchedule:
    """Let the loss pick a hyper-parameter of any Optax optimizer, as LCAM picks SGD's momentum.

    Pass the result to `optax.inject_hyperparams` as a schedule, such as of Adam's `b1`, Lion's `b1` or a learning rate.

    Args:
      phase: The rule that puts each loss below or above a mean, such as `epoch_mean(steps_per_epoch)`.
      below: Value after a loss below the mean: a float, a scalar array, or a schedule of the step (from 0) that uses
        the value.
      above: Value after a loss at or above the mean; the same types as `below`.
      initial: Value until the first finite loss. With delay, also the value of the first step.
      delay: True: a loss picks the value of the NEXT step, as in the authors' code. False: of its own step.
      axis_name: Name of the `pmap` or `shard_map` axis to average the loss over; see `scale_by_lcam`.
      dtype: Dtype of the value that the optimizer receives; None is float32, the dtype of the state. If the parameters
        are bfloat16 and the optimizer multiplies its state by the value, as Adam does by `b1`, pass bfloat16. Otherwise
        Optax widens the state.

    Returns:
      An `optax.schedules.StatefulSchedule`. The optimizer's `update` needs `value=loss`, as `scale_by_lcam` does.

    Raises:
      TypeError: If `phase` is not a `Phase`, or a value is neither a number nor a schedule; from `update`, if `value`
        is missing.
      ValueError: If a value is an array with axes; from `update`, if `value` is not a real floating scalar.

    Examples:
      >>> import jax.numpy as jnp, lcam_optax, optax
      >>> b1 = lcam_optax.loss_controlled(lcam_optax.epoch_mean(10), 0.9, 0.95, initial=0.9)
      >>> tx = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3, b1=b1)
      >>> params = jnp.ones(3)
      >>> state = tx.init(params)
      >>> for loss in (2.0, 1.0, 3.0):
      ...     updates, state = tx.update(jnp.ones(3), state, params, value=loss)
      ...     params = optax.apply_updates(params, updates)
      ...     print(f"{state.hyperparams['b1']:.2f}")
      0.90
      0.95
      0.90
    """
    require_phase(phase)
    require_scalar_or_schedule("below", below)
    require_scalar_or_schedule("above", above)
    require_scalar("initial", initial)
    return _LossControlled(phase, below, above, initial, delay, axis_name, dtype)
