"""Scalars of the optimizer state: their dtype, their counters, and the checks of Python numbers.

Floats are float32 whatever the parameters are (float64 under `jax_enable_x64`): a bfloat16 loss mean would put
losses on the wrong side. All are strongly typed from `init` on, so that a second step compiles nothing.
"""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

ScalarOrSchedule = jax.typing.ArrayLike | Callable[[jax.Array], jax.typing.ArrayLike]


def at_step(scalar_or_schedule: Any, step: jax.Array) -> jax.Array:
    """Read a number or a schedule at a step, in the scalar dtype of the state."""
    if callable(scalar_or_schedule):
        scalar_or_schedule = scalar_or_schedule(step)
    return jnp.asarray(scalar_or_schedule).astype(float)


def require_unit_interval(name: str, value: Any) -> None:
    """Refuse a Python number outside [0, 1); arrays, tracers and schedules pass unseen."""
    if is_number(value) and not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}.")


def require_whole(name: str, value: Any) -> None:
    """Refuse a Python number that is not a whole one of at least 1; arrays and tracers pass unseen."""
    if is_number(value) and (int(value) != value or value < 1):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value}.")


def is_number(value: Any) -> bool:
    """Whether a value is a Python number, which can be looked at, rather than an array, a tracer or a schedule."""
    return isinstance(value, numbers.Real)


def scalar(value: float) -> jax.Array:
    """A strongly typed scalar of the state."""
    return jnp.asarray(value, float)


def counter() -> jax.Array:
    """A count of zero, int32."""
    return jnp.zeros((), jnp.int32)


def incremented(count: jax.Array) -> jax.Array:
    """Count on, and stay at the largest int32 rather than wrap."""
    return jnp.where(count < jnp.iinfo(jnp.int32).max, count + 1, count)
