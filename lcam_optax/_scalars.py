"""Scalars of the optimizer state: dtypes, counters, and conversion of settings.

Floats are float32 for parameters of any dtype (float64 under `jax_enable_x64`), because a bfloat16 loss mean would put
losses on the wrong side. All scalars are strongly typed from `init` on, so the second step does not compile again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

ScalarOrSchedule = jax.typing.ArrayLike | Callable[[jax.Array], jax.typing.ArrayLike]


def as_float(number: jax.typing.ArrayLike) -> jax.Array:
    """Convert a number to the scalar dtype of the state.

    It takes the real part, because `optax.inject_hyperparams` makes real numbers complex if the parameters are complex.
    """
    return jnp.real(jnp.asarray(number)).astype(float)


def as_arrays(tree: Any) -> Any:
    """Convert the leaves of a tree to JAX arrays. NumPy's arithmetic rounds and warns differently."""
    return jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jnp.asarray(x), tree)


def at_step(name: str, scalar_or_schedule: Any, step: jax.Array) -> jax.Array:
    """Read the setting `name`, a number or a schedule, at a step. The result has the scalar dtype of the state.

    Raises:
      ValueError: If a schedule does not return a scalar.
    """
    if not callable(scalar_or_schedule):
        return as_float(scalar_or_schedule)
    number = as_float(scalar_or_schedule(step))
    if number.ndim:
        raise ValueError(f"{name} must return a scalar at each step, got an array of shape {number.shape}.")
    return number


def initial(number: jax.typing.ArrayLike) -> jax.Array:
    """Copy a number into the state. Without the copy, donating the state would delete the caller's array."""
    return jnp.copy(as_float(number))


def initial_seed(seed: Any) -> jax.Array:
    """Convert a seed to uint32 in its own buffer: an int modulo 2^32, or the int that a key was made from."""
    if isinstance(seed, int):
        return jnp.asarray(seed % 2**32, jnp.uint32)
    if is_key(seed):
        # 0 and n for `jax.random.key(n)`; two independent random words for a key that was split or folded.
        words = jax.random.key_data(seed)
        return words[0] ^ words[1]
    return jnp.array(seed).astype(jnp.uint32)


def wider(left: jax.Array, right: jax.Array) -> jnp.dtype:
    """The dtype that can represent the values of both arrays."""
    with jax.numpy_dtype_promotion("standard"):  # explicit, so also allowed under "strict"
        return jnp.promote_types(left.dtype, right.dtype)


def working_dtype(left: jax.Array, right: jax.Array) -> jnp.dtype:
    """The dtype to compute in: the wider of two, at least float32. bfloat16 would round a momentum of 0.999 to 1."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(wider(left, right), jnp.float32)


def moved_mean(mean: jax.Array, value: jax.Array, divisor: jax.Array) -> jax.Array:
    """Move a mean towards a value by 1 / `divisor` of the distance.

    The distance is clipped to the finite range. Two finite losses may be further apart, and an infinite mean would
    never become finite again.
    """
    largest = jnp.finfo(value.dtype).max
    return mean + jax.lax.clamp(-largest, value - mean, largest) / divisor


def scalar(value: float) -> jax.Array:
    """A strongly typed scalar of the state."""
    return jnp.asarray(value, float)


def counter() -> jax.Array:
    """A count of zero, int32."""
    return jnp.zeros((), jnp.int32)


def incremented(count: jax.Array) -> jax.Array:
    """Add one, but stay at the largest int32 instead of wrapping."""
    return jnp.where(count < jnp.iinfo(jnp.int32).max, count + 1, count)


def is_key(value: Any) -> bool:
    """Whether a value is a typed key, such as `jax.random.key` makes."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def copied(value: Any) -> jax.Array:
    """Copy an array or the array of a Flax NNX variable, which the next step would change. Return a shape unchanged."""
    if isinstance(value, jax.ShapeDtypeStruct):
        return value  # type: ignore[return-value]  # from `jax.eval_shape`
    as_array = getattr(value, "__jax_array__", None)
    return jnp.copy(value if as_array is None else as_array())
