"""The programs that measure the peak rates of a machine."""

import jax.numpy as jnp
import numpy as np

from train.bench.machine import copy_program, matrix_program


def test_the_copy_moves_the_bytes_it_was_asked_for():
    copy = copy_program(8000, times=3)
    copy()
    assert copy.state.nbytes == 4000  # read and written
    np.testing.assert_array_equal(copy.state, np.ones(1000))


def test_matrix_products_are_counted_and_keep_their_size():
    program, flops = matrix_program(64, 10, jnp.bfloat16)
    assert flops == 10 * 2 * 64**3
    found = np.asarray(program(), np.float32)
    assert found.shape == (64, 64)
    assert 1e-3 < found.std() < 10
