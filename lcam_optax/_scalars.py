"""Scalars of the optimizer state: their dtype, their counters, and the checks of Python numbers.

Floats are float32 whatever the parameters are (float64 under `jax_enable_x64`): a bfloat16 loss mean would put
losses on the wrong side. All are strongly typed from `init` on, so that a second step compiles nothing.
"""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ScalarOrSchedule = jax.typing.ArrayLike | Callable[[jax.Array], jax.typing.ArrayLike]


def at_step(scalar_or_schedule: Any, step: jax.Array) -> jax.Array:
    """Read a number or a schedule at a step, in the scalar dtype of the state.

    Raises:
      ValueError: If it is no scalar.
    """
    if callable(scalar_or_schedule):
        scalar_or_schedule = scalar_or_schedule(step)
    number = jnp.asarray(scalar_or_schedule)
    if number.ndim:
        raise ValueError(f"Expected a number, a scalar array or a schedule of such, got shape {number.shape}.")
    return number.astype(float)


def initial(scalar_or_schedule: Any) -> jax.Array:
    """The value at the start, in a buffer of its own: a state that is donated must not take anybody's array with it."""
    return jnp.copy(at_step(scalar_or_schedule, counter()))


def initial_seed(seed: Any) -> jax.Array:
    """A seed as uint32, modulo 2^32, in a buffer of its own."""
    if isinstance(seed, int):
        return jnp.asarray(seed % 2**32, jnp.uint32)
    return jnp.array(seed).astype(jnp.uint32)


def require_unit_interval(name: str, value: Any) -> None:
    """Refuse a Python number outside [0, 1) as the state holds it; arrays, tracers and schedules pass unseen."""
    if is_number(value) and not 0 <= np.asarray(value, jnp.result_type(float)) < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}.")


def require_whole(name: str, value: Any) -> None:
    """Refuse a Python number that is not a whole one of at least 1 and an int32; arrays and tracers pass unseen."""
    if is_number(value) and not (1 <= value < 2**31 and value % 1 == 0):
        raise ValueError(f"{name} must be a whole number of at least 1 and below 2^31, got {value}.")


def wider(left: jax.Array, right: jax.Array) -> jnp.dtype:
    """The dtype that holds what either of two arrays holds."""
    with jax.numpy_dtype_promotion("standard"):  # asked for here, so right under "strict" too
        return jnp.promote_types(left.dtype, right.dtype)


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
