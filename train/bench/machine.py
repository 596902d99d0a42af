"""A copy and a matrix product by XLA, to compare other programs with."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.bench.timing import Donated, compile_timed


def copy_program(number_of_bytes: int, times: int) -> Donated:
    """Make a program that moves this many bytes in place, as an optimizer does: it reads half and writes half.

    Args:
      number_of_bytes: Bytes moved each time.
      times: Number of times per call.
    """

    def run(array: jax.Array, factor: jax.Array) -> tuple[jax.Array, None]:
        # The factor is an argument, so that the compiler cannot fold it into the program.
        return jax.lax.scan(lambda x, _: (x * factor, None), array, None, length=times)

    array = jnp.ones(number_of_bytes // 8, jnp.float32)
    factor = jnp.float32(1)
    return Donated(compile_timed(jax.jit(run, donate_argnums=0), array, factor)[0], array, factor)


def matrix_program(size: int, times: int, dtype: Any) -> tuple[functools.partial, int]:
    """Make a program that multiplies square matrices, one after the other.

    Args:
      size: Rows and columns.
      times: Number of products.
      dtype: Dtype of the factors and the product.

    Returns:
      The program, and the number of its floating-point operations.
    """

    def run(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (x @ right, None), left, None, length=times)[0]

    rng = np.random.default_rng(0)
    # Random numbers: a chip takes less power on regular ones and so runs faster. The products neither grow nor shrink.
    left, right = (
        jnp.asarray(rng.standard_normal((size, size), np.float32) / np.float32(size) ** 0.5, dtype) for _ in range(2)
    )
    program = compile_timed(jax.jit(run), left, right)[0]
    return functools.partial(program, left, right), 2 * size**3 * times


def matrix_rate_program(dtype: Any) -> tuple[functools.partial, int]:
    """Make the `matrix_program` whose rate stands for this machine.

    On a GPU the products are large enough for the peak rate. On a CPU they are smaller, and other libraries may be
    faster.
    """
    return matrix_program(8192, 10, dtype) if jax.default_backend() == "gpu" else matrix_program(1024, 4, dtype)
