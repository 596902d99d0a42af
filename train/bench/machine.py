"""What the machine can do at best: the copy and the matrix product that other programs are held against."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.bench.timing import Donated, compile_timed


def copy_program(number_of_bytes: int, times: int) -> Donated:
    """A program that moves as many bytes: half of them read, half written, in place as an optimizer does it.

    Args:
      number_of_bytes: Moved each time.
      times: How often within the program.
    """

    def run(array: jax.Array, factor: jax.Array) -> tuple[jax.Array, None]:
        # The factor is an argument, so that nothing can be folded.
        return jax.lax.scan(lambda x, _: (x * factor, None), array, None, length=times)

    array = jnp.ones(number_of_bytes // 8, jnp.float32)
    factor = jnp.float32(1)
    return Donated(compile_timed(jax.jit(run, donate_argnums=0), array, factor)[0], array, factor)


def matrix_program(size: int, times: int, dtype: Any) -> tuple[functools.partial, int]:
    """A program of products of square matrices, one after the other.

    Args:
      size: Rows and columns.
      times: Products.
      dtype: Of the factors and the product.

    Returns:
      The program, and its floating-point operations.
    """

    def run(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (x @ right, None), left, None, length=times)[0]

    rng = np.random.default_rng(0)
    # On orderly numbers a chip takes less power and so runs faster; these keep their size from product to product.
    left, right = (
        jnp.asarray(rng.standard_normal((size, size), np.float32) / np.float32(size) ** 0.5, dtype) for _ in range(2)
    )
    program = compile_timed(jax.jit(run), left, right)[0]
    return functools.partial(program, left, right), 2 * size**3 * times


def matrix_rate_program(dtype: Any) -> tuple[functools.partial, int]:
    """`matrix_program` at a size that shows the rate of this machine."""
    return matrix_program(8192, 10, dtype) if jax.default_backend() == "gpu" else matrix_program(1024, 4, dtype)
