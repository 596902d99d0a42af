"""Checks of settings, with their names in the messages.

Anything but a scalar is refused. Python numbers are compared with their range, and so are arrays where a Python number
is made of them. The values of other arrays and of tracers may not be known yet, as under `optax.inject_hyperparams`.
"""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lcam_optax._scalars import is_key


def is_number(value: Any) -> bool:
    """Whether a value is a Python number, rather than an array, a tracer or a schedule."""
    return isinstance(value, numbers.Real)


def require_scalar(name: str, value: Any) -> None:
    """Refuse a setting that is not one real number. The values of arrays and tracers are not checked."""
    if is_number(value):
        return
    is_array = hasattr(value, "shape") and hasattr(value, "dtype") and not is_key(value)
    if not is_array or value.shape != ():
        kind = ValueError if is_array else TypeError
        raise kind(f"{name} must be a number or a scalar array, got {_described(value)}.")


def require_scalar_or_schedule(name: str, value: Any) -> None:
    """Refuse a setting that is neither one real number nor a function of the step."""
    if not callable(value):
        require_scalar(name, value)


def require_unit_interval(name: str, value: Any) -> None:
    """Refuse a Python number that is outside [0, 1) in the dtype of the state, and what `require_scalar` refuses."""
    require_scalar(name, value)
    dtype = jnp.result_type(float)
    if is_number(value) and not 0 <= np.asarray(value, dtype) < 1:
        rounded = f", which {dtype} rounds to 1" if 0 <= value < 1 else ""
        raise ValueError(f"{name} must be in [0, 1), got {value}{rounded}.")


def require_whole(name: str, value: Any) -> None:
    """Refuse a known number that is not whole or not in [1, 2^31), and what `require_scalar` refuses."""
    require_scalar(name, value)
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
        value = value.item()
    if is_number(value) and not (1 <= value < 2**31 and value % 1 == 0):
        raise ValueError(f"{name} must be a whole number of at least 1 and below 2^31, got {value}.")


def require_optimizer(optimizer: Any) -> None:
    """Refuse what is not an Optax optimizer."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise TypeError(f"optimizer must be an Optax optimizer, such as optax.sgd(0.1), got {_described(optimizer)}.")


def real_number(value: Any, needs: str) -> jax.Array:
    """Convert one number that `update` was given to the scalar dtype of the state.

    Raises:
      TypeError: If it is no array, such as a loss in a tuple with other outputs. The message begins with `needs`.
      ValueError: If it is not one real floating-point number.
    """
    try:
        number = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{needs}, got {value!r}.") from error
    if number.ndim != 0 or not jnp.issubdtype(number.dtype, jnp.floating):
        raise ValueError(f"{needs}, got {_described(number)}.")
    return number.astype(float)


def require_seed(seed: Any) -> None:
    """Refuse a seed that is neither one integer nor one typed key."""
    is_integer = isinstance(seed, int) or (hasattr(seed, "dtype") and jnp.issubdtype(seed.dtype, jnp.integer))
    if not (is_integer or is_key(seed)) or getattr(seed, "shape", ()) != ():
        raise ValueError(
            "seed must be an int, a scalar integer array or a key such as jax.random.key(0), which "
            f"jax.random.PRNGKey(0) is not, got {_described(seed)}."
        )


def _described(value: Any) -> str:
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    return f"an array of shape {value.shape} and dtype {value.dtype}" if is_array else repr(value)
