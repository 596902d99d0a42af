"""The decision by one loss: which of two values applies from now on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lcam_optax._checks import real_number
from lcam_optax._phase import Phase, PhaseState
from lcam_optax._scalars import at_step


def as_loss(value: Any, axis_name: Any, caller: str) -> jax.Array:
    """Check what the user passed as `value=` and convert it to the scalar dtype of the state."""
    if value is None:
        raise TypeError(
            f"{caller} needs the loss of this step: call update(grads, state, params, value=loss). If you do pass it, "
            "something around this transformation drops it. Inside optax.chain these do: optax.MultiSteps (use "
            "lcam_optax.accumulate as the outermost wrapper), optax.lookahead, optax.contrib.split_real_and_imaginary "
            "and any plain optax.GradientTransformation. Linen's "
            "TrainState.apply_gradients does not pass it on either (call state.tx.update yourself)."
        )
    loss = real_number(value, f"{caller} needs value=loss, one real floating-point number, the mean over the batch")
    return loss if axis_name is None else jax.lax.pmean(loss, axis_name)


def pick(
    phase: Phase,
    when_below: tuple[str, Any],
    when_above: tuple[str, Any],
    *,
    loss: jax.Array,
    step: jax.Array,
    current: jax.Array,
    below: jax.Array,
    phase_state: PhaseState,
) -> tuple[jax.Array, jax.Array, PhaseState]:
    """Let one loss pick one of two settings.

    A setting is a pair of a name and a value. The value is a number, or a schedule that is read at `step`.

    Returns:
      The value that applies from now on, the side on which the loss fell, and the new state of the phase. After a loss
      that is not finite, value and side stay unchanged.
    """
    fell_below, phase_state = phase.update(loss, phase_state)
    finite = jnp.isfinite(loss)
    chosen = jnp.where(fell_below, at_step(*when_below, step), at_step(*when_above, step))
    return (
        jnp.where(finite, chosen, current),
        jnp.where(finite, fell_below, below),
        phase_state,
    )
